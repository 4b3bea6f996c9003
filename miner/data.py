"""A shard's tokens: made once, packed, and then read through a memory map.

Shapes: N = sequences, T = tokens.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hivetune.files import sha256_of, write_atomically

_SUFFIX = ".tokens"  # int32 in the machine's byte order, nothing else
_BYTES_PER_TOKEN = 4
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges*", "special_tokens_map*", "added_tokens*")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardKey:
    """All that a shard's tokens depend on."""

    corpus_sha256: str
    tokenizer_sha256: str
    sequence_length: int
    shard: int

    def file_name(self) -> str:
        """Shards of one corpus, tokenizer and length share the part before the dash."""
        return f"{self.family()}-{self.shard}{_SUFFIX}"

    def family(self) -> str:
        """Of all that is not the shard's number."""
        name = f"{self.corpus_sha256}:{self.tokenizer_sha256}:{self.sequence_length}"
        return hashlib.sha256(name.encode()).hexdigest()[:16]


def packed_shard(folder: Path, key: ShardKey, make: Callable[[], Tensor]) -> Tensor:
    """The shard's sequences [N, T], mapped from `folder`; `make` is called when they are not there yet."""
    path = folder / key.file_name()
    if not path.exists():
        write_atomically(path, make().to(torch.int32).numpy().tobytes())
        for old in folder.glob(f"*{_SUFFIX}"):
            if not old.name.startswith(f"{key.family()}-"):
                old.unlink()
    tokens = path.stat().st_size // _BYTES_PER_TOKEN
    mapped = torch.from_file(str(path), shared=False, size=tokens, dtype=torch.int32)
    return mapped.view(-1, key.sequence_length)


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 over the files that make a base's tokenizer."""
    paths = sorted({path for pattern in _TOKENIZER_FILES for path in folder.glob(pattern) if path.is_file()})
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}:{sha256_of(path)}\n".encode())
    return digest.hexdigest()
