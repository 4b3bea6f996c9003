"""Reads any text as documents, and writes and reads the corpus that was cut from them (hivetune/cutting.py)."""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hivetune.cutting import Corpus, Document, Layout, Row, cut_shards, cut_text, tidy
from hivetune.errors import ConfigError

__all__ = [
    "Corpus", "Document", "Layout", "Row", "cut_shards", "read_documents", "read_split", "write_corpus"
]  # fmt: skip

TEXT_SUFFIXES = (".txt", ".md", ".rst")
SECTION_CHARS = 16_000  # longer files become several documents, so that one book alone can be split too
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def read_documents(source: str) -> list[Document]:
    """A folder of text files, a .jsonl, .parquet or text file, or the id of a data set on the Hub (its train split)."""
    path = Path(source).expanduser()
    try:
        documents = list(read_local(path)) if path.exists() else list(read_hub(source))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {source}: {' '.join(str(error).split())}") from error
    documents = [document for document in documents if document.text]
    if not documents:
        raise ConfigError(
            f"no text in {source}: want {', '.join(TEXT_SUFFIXES)} files, .jsonl, .parquet or a Hub data set"
        )
    return documents


def read_local(path: Path) -> Iterator[Document]:
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.suffix.lower() in TEXT_SUFFIXES and file.is_file()):
            parts = file.relative_to(path).parts
            if not any(part.startswith(".") for part in parts):
                yield from sections(parts[0] if len(parts) > 1 else file.stem, read_text(file))
    elif path.suffix.lower() == ".jsonl":
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if line.strip():
                yield as_document(parse_line(path, number, line), path.stem, f"{path} line {number}")
    elif path.suffix.lower() == ".parquet":
        for number, record in enumerate(read_parquet(path, None)):
            yield as_document(record, path.stem, f"{path} row {number}")
    else:
        yield from sections(path.stem, read_text(path))


def read_hub(source: str) -> Iterator[Document]:
    """Only what looks like an id is asked for: a mistyped path must not become a request."""
    if not HUB_ID.fullmatch(source) or source.lower().endswith((*TEXT_SUFFIXES, ".jsonl", ".parquet")):
        raise ConfigError(f"{source} does not exist")
    import datasets

    try:
        found = datasets.load_dataset(source, split="train")
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{source} is no local file and cannot be loaded as a data set: {reason}") from error
    for number, record in enumerate(found):
        yield as_document(record, source, f"data set {source} row {number}")


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: byte {error.start}") from error


def parse_line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{path} line {number} is not JSON: {error}") from error


def as_document(record: Any, domain: str, where: str) -> Document:
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        columns = ", ".join(sorted(map(str, record))) if isinstance(record, dict) else type(record).__name__
        raise ConfigError(f"{where}: want a text column, found {columns or 'nothing'}")
    stated = record.get("domain")
    return Document(domain=stated if isinstance(stated, str) and stated else domain, text=tidy(record["text"]))


def sections(domain: str, text: str) -> Iterator[Document]:
    """A file as documents of about SECTION_CHARS."""
    for section in cut_text(tidy(text), SECTION_CHARS):
        yield Document(domain=domain, text=section)


def write_corpus(corpus: Corpus, folder: Path) -> dict[str, Path]:
    """Parquet files with the names under which `datasets.load_dataset` finds the three splits."""
    import datasets

    columns = {
        "text": datasets.Value("string"),
        "domain": datasets.Value("string"),
        "document": datasets.Value("int32"),
        "shard": datasets.Value("int32"),
    }
    paths = {}
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split in ("train", "evaluation", "test"):
        rows: list[Row] = getattr(corpus, split)
        table = {name: [getattr(row, name) for row in rows] for name in columns}
        paths[split] = folder / "data" / f"{split}-00000-of-00001.parquet"
        unfinished = paths[split].with_suffix(".unfinished")
        with no_progress_bars():
            datasets.Dataset.from_dict(table, features=datasets.Features(columns)).to_parquet(str(unfinished))
        unfinished.replace(paths[split])
    return paths


def read_split(path: Path, cache_dir: Path | None = None) -> list[Row]:
    """Rows of one file that was verified before; without `cache_dir` nothing is left on disk."""
    found = []
    for record in read_parquet(path, cache_dir):
        if missing := {"text", "domain", "document"} - record.keys():
            raise ConfigError(f"{path} is no split of a corpus: it has no column {min(missing)}")
        found.append(
            Row(text=record["text"], domain=record["domain"], document=record["document"], shard=record.get("shard"))
        )
    return found


def read_parquet(path: Path, cache_dir: Path | None) -> list[dict[str, Any]]:
    import datasets

    with tempfile.TemporaryDirectory() as passing, no_progress_bars():
        try:
            found = datasets.Dataset.from_parquet(
                str(path), cache_dir=str(cache_dir or passing), keep_in_memory=cache_dir is None
            )
        except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
            raise ConfigError(f"cannot read {path}: {' '.join(str(error.__cause__ or error).split())}") from error
        return list(found.to_list())


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Local files need no bars; the setting is the library's own global one, so it is put back."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
