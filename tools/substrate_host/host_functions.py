"""What a runtime imports from its host: storage, hashes, signatures and logs, by the names of the wasm interface.

Absent, and a trap when called: the keystore, offchain workers, and BLS12-381 (drand pulses are not verified).
"""

import logging
import struct
from collections.abc import Callable

from chain.devnode.scale import compact
from tools.substrate_host import crypto
from tools.substrate_host.memory import Memory
from tools.substrate_host.state import Overlay

runtime_log = logging.getLogger("runtime")

NONE = b"\x00"
SOME = b"\x01"
OK, ERR = b"\x00", b"\x01"
MAX_LEVEL_WARN = 2
MAX_NOTES = 20

HostFunction = Callable[..., int | None]


class HostFunctions:
    """The host's side of one runtime call at a time: `overlay` is what that call reads and writes."""

    def __init__(self) -> None:
        self.overlay: Overlay
        self.memory: Memory
        self.parent_root = bytes(32)
        self.notes: list[str] = []  # what the runtime logged during this call

    def table(self) -> dict[str, HostFunction]:
        """Every function that is there, by its import name."""
        return self._storage() | self._hashing() | self._crypto() | self._misc()

    def _storage(self) -> dict[str, HostFunction]:
        return {
            "ext_storage_set_version_1": self._set,
            "ext_storage_get_version_1": self._get,
            "ext_storage_read_version_1": self._read,
            "ext_storage_clear_version_1": lambda key: self.overlay.put(self.memory.take(key), None),
            "ext_storage_exists_version_1": lambda key: int(self.overlay.get(self.memory.take(key)) is not None),
            "ext_storage_next_key_version_1": lambda key: self._option(self.overlay.next_key(self.memory.take(key))),
            "ext_storage_append_version_1": lambda key, item: self.overlay.append(
                self.memory.take(key), self.memory.take(item)
            ),
            "ext_storage_clear_prefix_version_2": self._clear_prefix,
            "ext_storage_root_version_2": lambda _version: self.memory.give(self._root()),
            "ext_storage_start_transaction_version_1": lambda: self.overlay.begin(),
            "ext_storage_commit_transaction_version_1": lambda: self.overlay.commit(),
            "ext_storage_rollback_transaction_version_1": lambda: self.overlay.rollback(),
            "ext_storage_proof_size_storage_proof_size_version_1": lambda: 0,
            "ext_trie_blake2_256_ordered_root_version_2": self._digest(crypto.blake2_256),
            "ext_offchain_index_set_version_1": lambda _key, _value: None,
        }

    def _hashing(self) -> dict[str, HostFunction]:
        hashes = (
            crypto.twox_64,
            crypto.twox_128,
            crypto.blake2_128,
            crypto.blake2_256,
            crypto.sha2_256,
            crypto.keccak_256,
        )
        return {f"ext_hashing_{each.__name__}_version_1": self._digest(each) for each in hashes}

    def _crypto(self) -> dict[str, HostFunction]:
        return {
            "ext_crypto_sr25519_verify_version_2": self._verify(crypto.sr25519_verify),
            "ext_crypto_ed25519_verify_version_1": self._verify(crypto.ed25519_verify),
            "ext_crypto_secp256k1_ecdsa_recover_version_2": self._recover(bytes),
            "ext_crypto_secp256k1_ecdsa_recover_compressed_version_2": self._recover(crypto.compressed),
        }

    def _misc(self) -> dict[str, HostFunction]:
        return {
            "ext_misc_print_utf8_version_1": lambda text: self._log(b"print", self.memory.take(text)),
            "ext_misc_print_hex_version_1": lambda data: self._log(b"print", self.memory.take(data).hex().encode()),
            "ext_misc_runtime_version_version_1": lambda _wasm: self.memory.give(NONE),
            "ext_logging_max_level_version_1": lambda: MAX_LEVEL_WARN,
            "ext_logging_log_version_1": lambda _level, target, message: self._log(
                self.memory.take(target), self.memory.take(message)
            ),
        }

    def _option(self, value: bytes | None) -> int:
        return self.memory.give(NONE if value is None else SOME + compact(len(value)) + value)

    def _set(self, key: int, value: int) -> None:
        self.overlay.put(self.memory.take(key), self.memory.take(value))

    def _get(self, key: int) -> int:
        return self._option(self.overlay.get(self.memory.take(key)))

    def _read(self, key: int, out: int, offset: int) -> int:
        """Copies what fits of a value's rest after `offset`, and answers how long that rest is."""
        value = self.overlay.get(self.memory.take(key))
        if value is None:
            return self.memory.give(NONE)
        rest = value[offset & 0xFFFFFFFF :]
        self.memory.write(out, rest[: out >> 32 & 0xFFFFFFFF])
        return self.memory.give(SOME + struct.pack("<I", len(rest)))

    def _clear_prefix(self, prefix: int, limit: int) -> int:
        start, encoded = self.memory.take(prefix), self.memory.take(limit)
        most = None if encoded[:1] == NONE else struct.unpack("<I", encoded[1:5])[0]
        gone, left = self.overlay.clear_prefix(start, most)
        return self.memory.give(bytes([left]) + struct.pack("<I", gone))

    def _root(self) -> bytes:
        return crypto.changes_root(self.parent_root, self.overlay.changes)

    def _digest(self, function: Callable[[bytes], bytes]) -> HostFunction:
        return lambda data, *_: self.memory.allocate(function(self.memory.take(data)))

    def _verify(self, function: Callable[[bytes, bytes, bytes], bool]) -> HostFunction:
        def verify(signature: int, message: int, public_key: int) -> int:
            memory = self.memory
            return int(function(memory.read(signature, 64), memory.take(message), memory.read(public_key, 32)))

        return verify

    def _recover(self, shape: Callable[[bytes], bytes]) -> HostFunction:
        def recover(signature: int, digest: int) -> int:
            try:
                found = crypto.ecdsa_recover(self.memory.read(signature, 65), self.memory.read(digest, 32))
            except crypto.EcdsaRefused as error:
                return self.memory.give(ERR + bytes([error.code]))
            return self.memory.give(OK + shape(found))

        return recover

    def _log(self, target: bytes, message: bytes) -> None:
        """Never above INFO: a runtime that runs alone finds something amiss in every block."""
        note = f"{target.decode(errors='replace')}: {message.decode(errors='replace')}"
        runtime_log.info("%s", note)
        if len(self.notes) < MAX_NOTES:
            self.notes.append(note)
