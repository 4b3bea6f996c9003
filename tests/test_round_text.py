"""A round's text: what the draws say, in batches that share no document."""

from typing import Any

from hivetune.cutting import Row
from hivetune.round_text import draw_text
from tests.conftest import byte_tokenizer

ROWS = [Row(text=f"text {index:02d} of many", domain="ab"[index % 2], document=index // 4) for index in range(40)]


def drawn(counts: list[int], **changes: int) -> Any:
    sizes = {"sequence_length": 16, "batch_sequences": 2} | changes
    return draw_text(byte_tokenizer(), ROWS, "0xab", counts, **sizes)


def test_batches_hold_the_drawn_rows_in_order_and_share_no_document() -> None:
    score, select = drawn([20, 12], batch_sequences=4)
    assert not set(score.sequence_ids) & set(select.sequence_ids)
    rest = list(score.sequence_ids)
    documents = []
    for batch in score.batches:
        rows, rest = rest[: len(batch.tokens_BT)], rest[len(batch.tokens_BT) :]
        for row, tokens_T in zip(rows, batch.tokens_BT.tolist(), strict=True):
            assert byte_tokenizer().decode(tokens_T) == ROWS[row].text
        documents.append({ROWS[row].document for row in rows})
    assert not rest
    assert sum(map(len, documents)) == len(set.union(*documents))
