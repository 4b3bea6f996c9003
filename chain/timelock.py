"""Weights that the chain opens by itself: encrypted to a round of the drand beacon, which nobody can know early.

Encryption is the optional extra `timelock`; bittensor-core does as well as bittensor-drand.
"""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType

from chain.weights import encode_compact, encode_u16s
from hivetune.errors import ConfigError

PACKAGES = ("bittensor_drand", "bittensor_core")
QUICKNET_GENESIS_S = 1_692_803_367  # drand's quicknet, which Subtensor follows
QUICKNET_PERIOD_S = 3
PULSE_DELAY_ROUNDS = 24  # pulses reach the chain's state late; Bittensor's client allows as much
MAX_COMMIT_BYTES = 5_000

Encrypt = Callable[[bytes, int], bytes]


def find_encryption() -> Encrypt | None:
    """(data, drand round) to ciphertext; None when no package that can is installed."""
    for name in PACKAGES:
        try:
            package = importlib.import_module(name)
        except ImportError:
            continue
        return _encryption(package)
    return None


def _encryption(package: ModuleType) -> Encrypt:
    def encrypt(data: bytes, reveal_round: int) -> bytes:
        wrapped, _ = package.encrypt_at_round(data, reveal_round)
        return _ciphertext(bytes(wrapped))

    return encrypt


def _ciphertext(wrapped: bytes) -> bytes:
    """The packages wrap it as SCALE (Vec<u8>, u64 round); the chain takes the vector's content."""
    mode = wrapped[0] & 3
    width = 1 << mode
    size = int.from_bytes(wrapped[:width], "little") >> 2
    if mode > 2 or len(wrapped) != width + size + 8:
        raise ConfigError(f"the timelock package returns {len(wrapped)} bytes of a shape that is not known here")
    return wrapped[width : width + size]


def payload(values: Mapping[int, int], version_key: int, public_key: bytes | None) -> bytes:
    """What is encrypted; newer runtimes want the hotkey in front, so that nobody can send a copy as their own."""
    weights = encode_u16s(list(values)) + encode_u16s(list(values.values())) + version_key.to_bytes(8, "little")
    return weights if public_key is None else encode_compact(len(public_key)) + public_key + weights


def reveal_round(*, now_s: float, blocks: int, block_time_s: float) -> int:
    """The drand round to encrypt to, so that the chain knows it `blocks` from now.

    A round that comes too late would lose the weights; one too early only shows them a little sooner.
    """
    revealed_s = now_s + blocks * block_time_s
    return max(1, int((revealed_s - QUICKNET_GENESIS_S) // QUICKNET_PERIOD_S) - PULSE_DELAY_ROUNDS)
