"""Files that a reader never sees half of."""

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_FLUSH_S = 0.03  # between the ends of one flush and the start of the next


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the path, flush to disk, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)


@contextmanager
def sized_file(path: Path, size: int) -> Iterator[int]:
    """The descriptor of a file of `size` bytes beside the path, to be filled in any order.

    At the end flushed to disk and renamed; after a failure nothing is left. Its space is reserved at once, so that a
    full disk is an OSError here.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w+b") as out:
            os.truncate(out.fileno(), size)
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(out.fileno(), 0, size)
            with _flushing(out.fileno()):
                yield out.fileno()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _flushing(descriptor: int) -> Iterator[None]:
    """What is written goes to disk while the rest is still computed; a flush that failed is raised at the end."""
    done = threading.Event()

    def flush() -> None:
        while not done.wait(_FLUSH_S):
            os.fsync(descriptor)

    with ThreadPoolExecutor(1) as pool:
        flushed = pool.submit(flush)
        try:
            yield
        finally:
            done.set()
        flushed.result()  # a later fsync would not repeat its error
        os.fsync(descriptor)


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """All of the bytes at that offset; any number of threads may write at once."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
