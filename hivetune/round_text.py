"""The text of a round: rows that the beacon draws, in batches that are independent of each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hivetune.cutting import Row
from hivetune.draws import clustered, draw_sequences
from hivetune.evaluation import Batch, batches_of


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RoundText:
    """One of a round's draws."""

    sequence_ids: tuple[int, ...]  # rows of the split, in the order of the batches
    batches: Sequence[Batch]


def draw_text(
    tokenizer: Any,
    rows: Sequence[Row],
    beacon: str,
    counts: Sequence[int],
    *,
    sequence_length: int,
    batch_sequences: int,
) -> list[RoundText]:
    """Disjoint draws of so many rows each, stratified by domain, rows of one document in one batch.

    ConfigError when there are too few rows.
    """
    documents = [row.document for row in rows]
    found = []
    for drawn in draw_sequences(beacon, [row.domain for row in rows], documents, counts):
        groups = clustered(drawn, documents, batch_sequences)
        texts = [[rows[index].text for index in group] for group in groups]
        found.append(
            RoundText(
                sequence_ids=tuple(index for group in groups for index in group),
                batches=batches_of(tokenizer, texts, sequence_length),
            )
        )
    return found
