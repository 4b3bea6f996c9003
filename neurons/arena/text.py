"""The arena's text: made-up languages, the same on every machine, with enough order in them to be learned.

A domain is a vocabulary and a grammar of its own over words that all share, so that training on one domain helps the
others a little, as it does with real text.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from hivetune.corpus import Document

DOMAINS = ("known-a", "known-b", "marsh", "harbour", "orchard", "foundry", "archive", "summit")
KNOWN_DOMAINS = 2  # of them the base knows well, the miners get the others
_VOWELS, _CONSONANTS = "aeiou", "bdfgklmnprstvz"
_SHARED_WORDS = 24
_OWN_WORDS = 40
_FOLLOWERS = 3  # words that may follow a word
_SENTENCE = (5, 12)  # words
_DOCUMENT_SENTENCES = 2  # one or two rows: whoever reads any text of some length reads as many documents as others


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """A domain's words, and which may follow which."""

    name: str
    words: tuple[str, ...]
    followers: tuple[tuple[int, ...], ...]


def make_languages(names: Sequence[str], seed: int) -> list[Language]:
    """A language for every name; the first words of all are the same."""
    generator = random.Random(f"languages {seed}")
    shared = _words(generator, _SHARED_WORDS)
    made = []
    for name in names:
        words = (*shared, *_words(generator, _OWN_WORDS))
        followers = tuple(tuple(generator.sample(range(len(words)), _FOLLOWERS)) for _ in words)
        made.append(Language(name=name, words=words, followers=followers))
    return made


def write_documents(language: Language, count: int, seed: int) -> list[Document]:
    """So many documents of a language, each a few sentences."""
    generator = random.Random(f"{language.name} {seed}")
    return [
        Document(
            domain=language.name, text=" ".join(_sentence(language, generator) for _ in range(_DOCUMENT_SENTENCES))
        )
        for _ in range(count)
    ]


def _words(generator: random.Random, count: int) -> tuple[str, ...]:
    found: set[str] = set()
    while len(found) < count:
        syllables = generator.randint(1, 3)
        found.add("".join(generator.choice(_CONSONANTS) + generator.choice(_VOWELS) for _ in range(syllables)))
    return tuple(generator.sample(sorted(found), count))


def _sentence(language: Language, generator: random.Random) -> str:
    word = generator.randrange(len(language.words))
    sentence = []
    for _ in range(generator.randint(*_SENTENCE)):
        sentence.append(language.words[word])
        word = generator.choice(language.followers[word])
    return " ".join(sentence).capitalize() + "."
