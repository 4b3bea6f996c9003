"""Corpora: any text in, disjoint splits and even shards out, the same bytes for everybody."""

import hashlib
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivetune.corpus import Corpus, Document, Row, cut_shards, read_documents, read_split, write_corpus
from hivetune.cutting import cut_text, tidy
from hivetune.errors import ConfigError

WORDS = ["adapter", "base", "merge", "delta", "shard", "round", "release", "loss.", "token.\n\n", "chain", "stake."]


def prose(seed: int, chars: int) -> str:
    generator = random.Random(seed)
    text = ""
    while len(text) < chars:
        text += f"{generator.choice(WORDS)}{generator.randrange(1000)} "
    return text[:chars].strip()


def library(domains: int = 4, each: int = 12, chars: int = 900) -> list[Document]:
    return [Document(domain=f"d{i}", text=prose(i * 1000 + j, chars)) for i in range(domains) for j in range(each)]


def cut(documents: list[Document], **changes: Any) -> Corpus:
    request: dict[str, Any] = {
        "num_shards": 3, "layout": "mixed", "evaluation_fraction": 0.1, "test_fraction": 0.1, "chunk_chars": 300,
        "min_chars_per_shard": 1, "seed": 5,
    }  # fmt: skip
    return cut_shards(documents, **{**request, **changes})


def words(text: str) -> str:
    return "".join(text.split())


def shard_sizes(corpus: Corpus) -> dict[int | None, int]:
    sizes: dict[int | None, int] = defaultdict(int)
    for row in corpus.train:
        sizes[row.shard] += len(row.text)
    return sizes


@given(text=st.text(alphabet=st.sampled_from("ab \n.,\t\r"), max_size=600), chars=st.integers(20, 80))
@settings(max_examples=200, deadline=None)
def test_cutting_loses_no_word_and_keeps_its_bounds(text: str, chars: int) -> None:
    text = tidy(text)
    assert tidy(text) == text
    pieces = cut_text(text, chars)
    assert words("".join(pieces)) == words(text)
    assert all(piece == piece.strip() and 0 < len(piece) <= 1.5 * chars + 2 for piece in pieces)


@given(length=st.integers(13, 3000))
@settings(max_examples=100, deadline=None)
def test_pieces_of_a_long_text_are_never_short(length: int) -> None:
    pieces = cut_text("x" * length, 20)
    assert "".join(pieces) == "x" * length
    assert min(map(len, pieces)) >= 12


def test_paragraphs_are_better_places_to_cut_than_sentences_and_words() -> None:
    assert cut_text("one two. three\n\nfour five. six seven", 20) == ["one two. three", "four five. six seven"]
    assert cut_text("one two three. four five six seven", 20) == ["one two three.", "four five six seven"]
    assert cut_text("one two three four five six", 14) == ["one two three", "four five six"]


DOCUMENTS = st.lists(
    st.builds(
        lambda domain, seed, chars: Document(domain=domain, text=prose(seed, chars)),
        st.sampled_from(["a", "b", "c"]), st.integers(0, 40), st.integers(1, 900),
    ),
    min_size=12, max_size=40,
)  # fmt: skip


@given(documents=DOCUMENTS, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_splits_are_disjoint_by_document_and_nothing_but_duplicates_is_lost(
    documents: list[Document], seed: int
) -> None:
    try:
        corpus = cut(documents, seed=seed, num_shards=1)
    except ConfigError:
        return
    splits = [{words(row.text) for row in rows} for rows in (corpus.train, corpus.evaluation, corpus.test)]
    assert (
        sum(map(len, splits))
        == len(set().union(*splits))
        == sum(map(len, (corpus.train, corpus.evaluation, corpus.test)))
    )
    everything = {words(piece) for document in documents for piece in cut_text(tidy(document.text), 300)}
    assert set().union(*splits) == everything
    for document in set(documents):
        pieces = {words(piece) for piece in cut_text(tidy(document.text), 300)}
        if not any(pieces & {words(p) for p in cut_text(tidy(o.text), 300)} for o in set(documents) - {document}):
            assert sum(bool(pieces & split) for split in splits) == 1


@given(order=st.randoms(use_true_random=False), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_the_corpus_depends_on_texts_and_seed_only(order: random.Random, seed: int) -> None:
    documents = library()
    shuffled = list(documents)
    order.shuffle(shuffled)
    assert cut(shuffled, seed=seed) == cut(documents, seed=seed)
    assert cut(documents, seed=seed) != cut(documents, seed=seed + 1)


def test_evaluation_and_test_text_come_from_every_domain_in_proportion() -> None:
    corpus = cut(library(domains=5, each=40))
    total = 5 * 40 * 900
    for rows in (corpus.evaluation, corpus.test):
        assert {row.domain for row in rows} == {f"d{i}" for i in range(5)}
        assert sum(len(row.text) for row in rows) == pytest.approx(0.1 * total, rel=0.15)


def test_no_evaluation_row_is_much_shorter_than_a_chunk() -> None:
    documents = library() + [Document(domain="d0", text=prose(10_000 + i, 40)) for i in range(50)]
    corpus = cut(documents, evaluation_fraction=0.3, test_fraction=0.3)
    assert min(len(row.text) for row in corpus.evaluation + corpus.test) >= 0.59 * 300
    assert min(len(row.text) for row in corpus.train) <= 40  # short documents train


def test_mixed_shards_all_hold_all_domains_and_like_amounts() -> None:
    corpus = cut(library())
    for shard in range(3):
        assert {row.domain for row in corpus.train if row.shard == shard} == {"d0", "d1", "d2", "d3"}
    sizes = shard_sizes(corpus).values()
    assert max(sizes) < 1.2 * min(sizes)


def test_domain_shards_hold_whole_domains() -> None:
    corpus = cut(library(domains=7), layout="domains")
    shards: dict[str, set[int | None]] = defaultdict(set)
    for row in corpus.train:
        shards[row.domain].add(row.shard)
    assert {len(found) for found in shards.values()} == {1}
    assert set(shard_sizes(corpus)) == {0, 1, 2}
    assert {row.domain for row in corpus.evaluation} == set(shards)


def test_domains_too_small_to_split_alone_are_drawn_from_together() -> None:
    corpus = cut([Document(domain=f"page{i}", text=prose(i, 900)) for i in range(20)])
    assert corpus.evaluation
    assert corpus.test
    assert not {row.domain for row in corpus.train} & {row.domain for row in corpus.evaluation + corpus.test}


def test_text_that_stands_in_two_splits_stays_in_evaluation_only() -> None:
    shared = prose(99, 250)
    documents = [Document(domain="d", text=f"{shared}\n\n{prose(i, 250)}") for i in range(10)]
    corpus = cut(documents, chunk_chars=250)
    found = [row.text for rows in (corpus.evaluation, corpus.test, corpus.train) for row in rows if row.text == shared]
    assert found == [shared]
    assert shared in {row.text for row in corpus.evaluation}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_chars_per_shard": 50_000}, r"not enough text: \d+ characters .* need 3 x 50000 = 150000"),
        ({"num_shards": 500}, "smallest of 500 shards gets 0"),
        ({"layout": "domains", "num_shards": 5}, "4 domains cannot fill 5 shards"),
        ({"chunk_chars": 5000}, "48 documents with .* characters give no evaluation text"),
        ({"evaluation_fraction": 0.6, "test_fraction": 0.4}, "want fractions that leave some text"),
        ({"evaluation_fraction": -0.1}, "want fractions"),
        ({"num_shards": 0}, "0 shards"),
    ],
)
def test_what_cannot_be_cut_is_said_in_numbers(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cut(library(), **changes)


def test_written_splits_are_read_back_and_found_by_load_dataset(tmp_path: Path) -> None:
    corpus = cut(library())
    paths = write_corpus(corpus, tmp_path / "corpus")
    assert [path.name for path in paths.values()] == [
        f"{split}-00000-of-00001.parquet" for split in ("train", "evaluation", "test")
    ]
    for split, path in paths.items():
        assert read_split(path) == getattr(corpus, split)
    loaded = datasets.load_dataset(str(tmp_path / "corpus"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {s: len(getattr(corpus, s)) for s in paths}
    assert sorted(path.name for path in (tmp_path / "corpus" / "data").iterdir()) == sorted(
        p.name for p in paths.values()
    )


def test_the_same_corpus_has_the_same_bytes(tmp_path: Path) -> None:
    digests = [
        {
            split: hashlib.sha256(path.read_bytes()).hexdigest()
            for split, path in write_corpus(cut(library()), folder).items()
        }
        for folder in (tmp_path / "first", tmp_path / "second")
    ]
    assert digests[0] == digests[1]


def test_rows_of_one_document_have_its_number() -> None:
    texts = [words(document.text) for document in library()]
    for rows in (cut(library()).evaluation, cut(library()).test):
        sources = {(row.document, next(text for text in texts if words(row.text) in text)) for row in rows}
        assert sorted(number for number, _ in sources) == list(range(len(sources)))
        assert len({source for _, source in sources}) == len(sources)


def test_a_split_without_a_column_is_refused(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"], "domain": ["b"]}).to_parquet(str(tmp_path / "old.parquet"))
    with pytest.raises(ConfigError, match="no column document"):
        read_split(tmp_path / "old.parquet")


def test_a_split_that_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(ConfigError, match=r"cannot read .*train\.parquet"):
        read_split(tmp_path / "train.parquet")
    with pytest.raises(ConfigError, match=r"cannot read .*missing\.parquet"):
        read_split(tmp_path / "missing.parquet")


def test_a_folder_of_text_files_is_read_by_top_folder_or_file_name(tmp_path: Path) -> None:
    for name in ("guide.md", "notes/a.txt", "notes/deep/b.RST", ".git/c.txt", "notes/.hidden.txt", "image.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    assert {(d.domain, d.text) for d in read_documents(str(tmp_path))} == {
        ("guide", "text of guide.md"), ("notes", "text of notes/a.txt"), ("notes", "text of notes/deep/b.RST")
    }  # fmt: skip


def test_one_long_file_becomes_documents_that_can_be_split(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text(prose(1, 120_000))
    documents = read_documents(str(path))
    assert len(documents) >= 5
    assert words("".join(d.text for d in documents)) == words(path.read_text())
    corpus = cut(documents, chunk_chars=1000)
    assert corpus.evaluation


def test_jsonl_and_parquet_files_are_read_with_their_domains(tmp_path: Path) -> None:
    lines = [{"text": "first\u2028line", "domain": "a"}, {"text": "second"}, {"text": ""}]
    (tmp_path / "lines.jsonl").write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n")
    found = read_documents(str(tmp_path / "lines.jsonl"))
    assert found == [Document(domain="a", text="first\u2028line"), Document(domain="lines", text="second")]
    table = {"text": ["first", "second"], "domain": ["a", None]}
    datasets.Dataset.from_dict(table).to_parquet(str(tmp_path / "table.parquet"))
    found = read_documents(str(tmp_path / "table.parquet"))
    assert found == [Document(domain="a", text="first"), Document(domain="table", text="second")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"  \n", "no text in"),
        ("latin.txt", b"caf\xe9", "not UTF-8 text: byte 3"),
        ("broken.jsonl", b'{"text": "a"}\n{"text', "line 2 is not JSON"),
        ("columns.jsonl", b'{"body": "a"}', "want a text column, found body"),
        ("list.jsonl", b"[1]", "want a text column, found list"),
        ("number.jsonl", b'{"text": 5}', "want a text column"),
        ("bad.parquet", b"PAR1", "cannot read"),
    ],
)
def test_unreadable_text_is_one_clear_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        read_documents(str(tmp_path / name))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("source", ["./nowhere", "/no/such/folder", "missing.jsonl", "a/b/c", ""])
def test_a_mistyped_path_is_not_asked_from_the_hub(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"does not exist|no text in"):
        read_documents(source)


def test_characters_that_utf8_cannot_hold_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text('{"text": "a\\ud800b\\u0000c"}')
    assert read_documents(str(tmp_path / "odd.jsonl")) == [Document(domain="odd", text="a?bc")]


def test_rows_outside_training_have_no_shard() -> None:
    corpus = cut(library())
    assert {row.shard for row in corpus.train} == {0, 1, 2}
    assert {row.shard for row in corpus.evaluation + corpus.test} == {None}
    assert isinstance(corpus.train[0], Row)
