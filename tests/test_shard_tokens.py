"""A shard is tokenised once and mapped from then on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hivetune.errors import ConfigError
from miner.data import ShardKey, packed_shard, tokenizer_digest
from tests.conftest import byte_tokenizer

KEY = ShardKey(corpus_sha256="c" * 64, tokenizer_sha256="t" * 64, sequence_length=4, shard=3)


def tokens() -> Tensor:
    return torch.tensor([[1, 2, 3, 4], [5, 6, 49151, 2**31 - 1]])


def never() -> Tensor:
    raise AssertionError("made again")


def test_tokens_are_made_once_and_read_back(tmp_path: Path) -> None:
    made = packed_shard(tmp_path, KEY, tokens)
    again = packed_shard(tmp_path, KEY, never)
    assert torch.equal(made, tokens())
    assert torch.equal(again, tokens())
    assert again[torch.tensor([1])].tolist() == [[5, 6, 49151, 2**31 - 1]]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> Tensor:
        raise ConfigError("no text")

    with pytest.raises(ConfigError):
        packed_shard(tmp_path, KEY, fail)
    assert torch.equal(packed_shard(tmp_path, KEY, tokens), tokens())


@pytest.mark.parametrize(
    "change", [{"corpus_sha256": "d" * 64}, {"tokenizer_sha256": "u" * 64}, {"sequence_length": 8}, {"shard": 4}]
)
def test_other_text_other_tokenizer_other_file(tmp_path: Path, change: dict[str, object]) -> None:
    packed_shard(tmp_path, KEY, tokens)
    other = replace(KEY, **change)
    assert packed_shard(tmp_path, other, lambda: torch.zeros(2, other.sequence_length)).tolist()[0][0] == 0


def test_shards_of_the_corpus_stay_and_older_corpora_go(tmp_path: Path) -> None:
    packed_shard(tmp_path, KEY, tokens)
    packed_shard(tmp_path, replace(KEY, shard=1), tokens)
    assert len(list(tmp_path.iterdir())) == 2
    packed_shard(tmp_path, replace(KEY, corpus_sha256="d" * 64), tokens)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_digest_is_of_the_tokenizer_and_not_of_the_weights(tmp_path: Path) -> None:
    byte_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"round 1")
    before = tokenizer_digest(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"round 2")
    assert tokenizer_digest(tmp_path) == before
    (tmp_path / "tokenizer.json").write_text("{}")
    assert tokenizer_digest(tmp_path) != before
