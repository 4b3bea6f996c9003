"""One file from a Hub, streamed: counted, hashed and on the clock from the first byte to the last.

huggingface_hub checks the size of a download but not its digest, so a flipped bit on a Hub's disk would pass it.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx2
from huggingface_hub import get_session
from huggingface_hub.utils._http import hf_raise_for_status

from hub.failures import CorruptDownload, HubTrouble

_BLOCK_BYTES = 1 << 20


def download_file(url: str, headers: Mapping[str, str], *, sha256: str, size: int, into: Path) -> Path:
    """Put exactly the promised bytes at `into`, or nothing. What a broken transfer left in `.part` is resumed."""
    into.parent.mkdir(parents=True, exist_ok=True)
    part = into.with_name(f"{into.name}.part")
    resumes = part.exists()
    try:
        found = _complete(url, headers, part, size)
        if found != sha256 and resumes:
            # The old half may come from another file, which is no proof against this one.
            part.unlink()
            raise HubTrouble(f"{url}: what was left of an earlier download does not fit", wait_s=0.0)
        if found != sha256:
            raise CorruptDownload(f"{url}: sha256 {found}, want {sha256}")
    except CorruptDownload:
        part.unlink()
        raise
    finally:
        if part.exists() and part.stat().st_size == 0 and size > 0:
            part.unlink()
    part.replace(into)
    return into


def read_small(url: str, headers: Mapping[str, str], *, max_bytes: int) -> bytes:
    """The whole file in memory; one that is larger is given up at the limit."""
    content = bytearray()
    with _answer(url, headers, start=0) as response:
        announced = _announced_bytes(response)
        if announced is not None and announced > max_bytes:
            raise CorruptDownload(f"{url}: {announced} bytes, at most {max_bytes}")
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > max_bytes:
                raise CorruptDownload(f"{url}: more than {max_bytes} bytes")
    return bytes(content)


def _complete(url: str, headers: Mapping[str, str], part: Path, size: int) -> str:
    """Bring the part up to `size` bytes and return its sha256."""
    with part.open("a+b") as file:
        digest, have = _read_back(file, size)
        if 0 < size == have:
            return digest.hexdigest()
        with _answer(url, headers, start=have) as response:
            if have and response.status_code != 206:
                file.truncate(0)
                digest, have = hashlib.sha256(), 0
            _check_announced(response, url, start=have, size=size)
            for chunk in response.iter_raw():
                have += len(chunk)
                if have > size:
                    raise CorruptDownload(f"{url}: more than {size} bytes")
                file.write(chunk)
                digest.update(chunk)
        if have != size:
            raise CorruptDownload(f"{url}: {have} bytes, want {size}")
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _read_back(file: BinaryIO, size: int) -> tuple["hashlib._Hash", int]:
    digest, have = hashlib.sha256(), 0
    file.seek(0)
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
        have += len(block)
    if have > size:
        file.truncate(0)
        return hashlib.sha256(), 0
    return digest, have


@contextmanager
def _answer(url: str, headers: Mapping[str, str], *, start: int) -> Iterator[httpx2.Response]:
    """The library's session drops the token when a Hub redirects to another host."""
    asked = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    with get_session().stream("GET", url, headers=asked) as response:
        if start and response.status_code == 416:
            raise CorruptDownload(f"{url}: ends before byte {start}")
        hf_raise_for_status(response)
        yield response


def _check_announced(response: httpx2.Response, url: str, *, start: int, size: int) -> None:
    if start and not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
        raise CorruptDownload(f"{url}: asked for bytes from {start}, got {response.headers.get('content-range')!r}")
    announced = _announced_bytes(response)
    if announced is not None and start + announced != size:
        raise CorruptDownload(f"{url}: {start + announced} bytes, want {size}")


def _announced_bytes(response: httpx2.Response) -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
