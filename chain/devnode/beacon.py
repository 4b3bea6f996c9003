"""Opens timelocked ciphertexts with a round's signature, where one of Bittensor's packages is installed to do it."""

import importlib
import logging
from collections.abc import Callable
from functools import cache

from chain.devnode.scale import compact

log = logging.getLogger(__name__)

PACKAGES = ("bittensor_drand", "bittensor_core")

Decrypt = Callable[[bytes, str], bytes]

# A ciphertext is a point of the curve, then vectors of which the first is a mask; the packages abort on other masks.
POINT_BYTES = 96
MASK_BYTES = (32).to_bytes(8, "little")


@cache
def find_decryption() -> Decrypt | None:
    """Asked once: what opens (ciphertext in its packages' frame, signature as hex)."""
    for name in PACKAGES:
        try:
            found: Decrypt = importlib.import_module(name).decrypt_with_signature
        except ImportError:
            continue
        return found
    log.warning("timelocked weights cannot be opened: install the extra `timelock`; they are dropped when due")
    return None


def decrypt(commit: bytes, signature: bytes) -> bytes | None:
    """What a ciphertext of the chain hides; None when the signature does not open it or nothing here can."""
    opens = find_decryption()
    if opens is None:
        return None
    if commit[POINT_BYTES : POINT_BYTES + len(MASK_BYTES)] != MASK_BYTES:
        log.warning("a timelocked commit of %d bytes has another shape", len(commit))
        return None
    framed = compact(len(commit)) + commit + bytes(8)  # SCALE (Vec<u8>, u64): the round is not looked at
    try:
        return bytes(opens(framed, signature.hex()))
    except ValueError as error:
        log.warning("a timelocked commit of %d bytes does not open: %s", len(commit), error)
        return None
