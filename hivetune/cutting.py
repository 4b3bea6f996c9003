"""Cuts documents into a corpus: training shards, evaluation text and test text.

A document is never in two splits, so no evaluation text continues a text that somebody trained on.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hivetune.errors import ConfigError

SHORTEST = 0.6  # of chunk_chars; shorter documents only train
LONGEST = 1.5
BOUNDARIES = (re.compile(r"\n\n"), re.compile(r"(?<=[.!?:;])\s"), re.compile(r"\s"))  # the best one first
Layout = Literal["mixed", "domains"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    domain: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One chunk of a document."""

    text: str
    domain: str
    document: int  # number within the split: chunks of one document resemble each other
    shard: int | None = None  # None outside the training split


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    train: list[Row]
    evaluation: list[Row]
    test: list[Row]


def tidy(text: str) -> str:
    """The same paragraphs whatever the line ends and the space around them; only what UTF-8 can hold."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()


def cut_text(text: str, chars: int) -> list[str]:
    """Pieces of 0.6 to 1.5 times `chars` (a shorter text is one piece), cut at the best boundary near even lengths."""
    pieces = []
    text = text.strip()
    for left in range(max(1, round(len(text) / chars)) - 1, 0, -1):
        shortest, target = SHORTEST * chars, len(text) / (left + 1)
        first = int(max(shortest, len(text) - LONGEST * chars * left)) + 1
        last = int(min(LONGEST * chars, len(text) - shortest * left)) - 1
        cut = best_cut(text, first, last, target)
        pieces.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [piece for piece in (*pieces, text) if piece]


def best_cut(text: str, first: int, last: int, target: float) -> int:
    for boundary in BOUNDARIES:
        places = [match.end() for match in boundary.finditer(text, first, last)]
        if places:
            return min(places, key=lambda place: abs(place - target))
    return max(1, int(target))


def cut_shards(
    documents: Sequence[Document],
    *,
    num_shards: int,
    layout: Layout,
    evaluation_fraction: float,
    test_fraction: float,
    chunk_chars: int,
    min_chars_per_shard: int,
    seed: int,
) -> Corpus:
    """The same corpus for the same texts and seed, in whatever order they come.

    "mixed" deals every domain round all shards, "domains" gives a shard whole domains. Evaluation and test text is
    drawn from every domain that has three documents long enough; smaller domains are drawn from together.
    """
    check_request(num_shards, evaluation_fraction, test_fraction, chunk_chars)
    rank = ranking(seed)
    unique = sorted({Document(domain=d.domain, text=tidy(d.text)) for d in documents}, key=rank)
    fractions = {"evaluation": evaluation_fraction, "test": test_fraction}
    splits = split_documents(unique, fractions, SHORTEST * chunk_chars)
    for name, fraction in fractions.items():
        if fraction and not splits[name]:
            raise ConfigError(
                f"{len(unique)} documents with {sum(len(d.text) for d in unique)} characters give no {name} text: "
                f"need at least 3 documents of {SHORTEST * chunk_chars:.0f} characters"
            )
    seen: set[str] = set()
    rows = {name: cut_documents(splits[name], chunk_chars, seen) for name in ("evaluation", "test", "train")}
    deal = deal_domains if layout == "domains" else deal_mixed
    shards = deal(rows["train"], num_shards)
    check_shards(shards, min_chars_per_shard)
    return Corpus(
        train=[replace(row, shard=shard) for shard, chunks in enumerate(shards) for row in chunks],
        evaluation=[row for chunks in rows["evaluation"] for row in chunks],
        test=[row for chunks in rows["test"] for row in chunks],
    )


def check_request(num_shards: int, evaluation_fraction: float, test_fraction: float, chunk_chars: int) -> None:
    if num_shards < 1 or chunk_chars < 20:
        raise ConfigError(f"{num_shards} shards of {chunk_chars}-character chunks: want at least 1 and 20")
    if min(evaluation_fraction, test_fraction) < 0 or evaluation_fraction + test_fraction >= 1:
        raise ConfigError(
            f"evaluation {evaluation_fraction} and test {test_fraction}: want fractions that leave some text"
        )


def ranking(seed: int) -> Callable[[Document], bytes]:
    """A shuffle that depends on nothing but the seed and the document itself."""
    return lambda d: hashlib.sha256(f"{seed}\0{d.domain}\0{d.text}".encode("utf-8", "replace")).digest()


def split_documents(
    documents: Sequence[Document], fractions: dict[str, float], min_chars: float
) -> dict[str, list[Document]]:
    long: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        if len(document.text) >= min_chars:
            long[document.domain].append(document)
    pool = [d for d in documents if 0 < len(long[d.domain]) < 3 and len(d.text) >= min_chars]
    strata = [long[domain] for domain in sorted(long) if len(long[domain]) >= 3] + ([pool] if len(pool) >= 3 else [])
    splits: dict[str, list[Document]] = {name: [] for name in fractions}
    for stratum in strata:
        total, rest = sum(len(d.text) for d in stratum), list(stratum)
        for later, (name, fraction) in zip((2, 1), fractions.items(), strict=True):
            drawn = draw(rest, fraction * total, keep=later)
            splits[name] += drawn
            taken = set(drawn)
            rest = [d for d in rest if d not in taken]
    held_out = {document for drawn in splits.values() for document in drawn}
    return {**splits, "train": [d for d in documents if d not in held_out]}


def draw(documents: Sequence[Document], quota: float, *, keep: int) -> list[Document]:
    """Documents in turn up to the quota, passing over those that go far beyond it; at least one, and `keep` stay."""
    if not quota:
        return []
    drawn: list[Document] = []
    chars = 0
    for document in documents[: len(documents) - keep]:
        if chars < quota and chars + len(document.text) <= 1.25 * quota:
            drawn.append(document)
            chars += len(document.text)
    return drawn or [min(documents, key=lambda d: len(d.text))]


def cut_documents(documents: Sequence[Document], chunk_chars: int, seen: set[str]) -> list[list[Row]]:
    """Chunks by document, without those whose words were seen before."""
    result: list[list[Row]] = []
    for document in documents:
        rows = []
        for text in cut_text(document.text, chunk_chars):
            words = " ".join(text.split())
            if words not in seen:
                seen.add(words)
                rows.append(Row(text=text, domain=document.domain, document=len(result)))
        if rows:
            result.append(rows)
    return result


def chars_of(rows: Sequence[Row]) -> int:
    return sum(len(row.text) for row in rows)


def deal_mixed(documents: Sequence[list[Row]], num_shards: int) -> list[list[Row]]:
    """The next largest document of a domain goes where that domain, then all text, is scarcest."""
    shards: list[list[Row]] = [[] for _ in range(num_shards)]
    of_domain: dict[str, list[int]] = defaultdict(lambda: [0] * num_shards)
    total = [0] * num_shards
    for rows in sorted(documents, key=lambda rows: (rows[0].domain, -chars_of(rows))):
        held = of_domain[rows[0].domain]
        shard = min(range(num_shards), key=lambda index: (held[index], total[index], index))
        shards[shard] += rows
        held[shard] += chars_of(rows)
        total[shard] += chars_of(rows)
    return shards


def deal_domains(documents: Sequence[list[Row]], num_shards: int) -> list[list[Row]]:
    """The next largest domain goes to the shard with the least text."""
    domains: dict[str, list[Row]] = defaultdict(list)
    for rows in documents:
        domains[rows[0].domain] += rows
    if len(domains) < num_shards:
        raise ConfigError(
            f"{len(domains)} domains cannot fill {num_shards} shards by domain: want fewer shards or 'mixed'"
        )
    shards: list[list[Row]] = [[] for _ in range(num_shards)]
    for domain in sorted(domains, key=lambda domain: (-chars_of(domains[domain]), domain)):
        min(shards, key=chars_of).extend(domains[domain])
    return shards


def check_shards(shards: Sequence[list[Row]], min_chars: int) -> None:
    smallest, total = min(chars_of(rows) for rows in shards), sum(chars_of(rows) for rows in shards)
    if smallest < max(1, min_chars):
        raise ConfigError(
            f"not enough text: {total} characters to train on, the smallest of {len(shards)} shards gets {smallest}; "
            f"need {len(shards)} x {min_chars} = {len(shards) * min_chars} in even shards"
        )
