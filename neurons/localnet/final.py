"""The first release against the last one, on text that no miner trained on and no validator scored with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hivetune.corpus import Row, read_split
from hivetune.evaluation import TextReport, report
from hivetune.model import load_base
from hivetune.releases import Located, ReleaseFollower
from hivetune.round_text import draw_text
from hivetune.statistics import token_mean

_SEQUENCES = 64
_BATCH_SEQUENCES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Final:
    """Release 0 against the last release on the test text; pairs are (before, after)."""

    release: int
    loss_before: float
    loss_after: float
    improvement: float
    lower: float
    upper: float
    perplexity: tuple[float, float]
    token_accuracy: tuple[float, float]
    bits_per_byte: tuple[float, float]


def compare(first: Located, follower: ReleaseFollower, say: Callable[[str], None]) -> Final:
    """Measure both releases on the same sequences of the test split."""
    last, _ = follower.current()
    release = first.release
    rows = read_split(follower.data_file(release, release.data.test))
    count = min(_SEQUENCES, len(rows))
    say(f"measuring release 0 on {count} test sequences")
    before = _report(follower.base_folder(first), rows, count, release.data.sequence_length)
    say(f"measuring release {last.release.number}")
    after = _report(follower.base_folder(last), rows, count, release.data.sequence_length)
    gained = [b - a for b, a in zip(before.batch_nats, after.batch_nats, strict=True)]
    estimate = token_mean(gained, before.batch_tokens, release.scoring.confidence)
    return Final(
        release=last.release.number,
        loss_before=before.loss,
        loss_after=after.loss,
        improvement=estimate.mean,
        lower=estimate.lower,
        upper=estimate.upper,
        perplexity=(before.perplexity, after.perplexity),
        token_accuracy=(before.token_accuracy, after.token_accuracy),
        bits_per_byte=(before.bits_per_byte, after.bits_per_byte),
    )


def _report(folder: Path, rows: list[Row], count: int, sequence_length: int) -> TextReport:
    base = load_base(folder)
    (text,) = draw_text(
        base.tokenizer, rows, "final", [count], sequence_length=sequence_length, batch_sequences=_BATCH_SEQUENCES
    )
    return report(base, text.batches)
