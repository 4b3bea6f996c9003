"""Compiled modules kept between runs: compiling takes seconds, loading a compiled one does not.

Loading a compiled module executes what is in the file. So the folder and the file must be ours alone: anything that
another user could have written is refused.
"""

import hashlib
import logging
import os
import stat
import tempfile
from importlib.metadata import version
from pathlib import Path

import wasmtime

from hivetune.errors import ConfigError

log = logging.getLogger(__name__)


def default_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"hivetune-compiled-runtimes-{os.getuid()}"


class CompileCache:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ConfigError(f"compile cache {folder}: must be a folder of yours with mode 700, for it holds code")
        self._folder = folder

    def path(self, wasm: bytes) -> Path:
        digest = hashlib.sha256(wasm).hexdigest()
        return self._folder / f"{digest}.wasmtime-{version('wasmtime')}"

    def module(self, engine: wasmtime.Engine, wasm: bytes) -> wasmtime.Module:
        """Compiled now, or when this wasm was first seen."""
        path = self.path(wasm)
        kept = _read_own(path)
        if kept is not None:
            try:
                return wasmtime.Module.deserialize(engine, kept)
            except wasmtime.WasmtimeError as error:
                log.warning("compiled module %s does not load, compiling anew: %s", path.name, error)
        log.info("compiling a runtime of %d bytes", len(wasm))
        module = wasmtime.Module(engine, wasm)
        _write_own(path, bytes(module.serialize()))
        return module


def _read_own(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"compiled module {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise ConfigError(f"compiled module {path}: must be a file that only you can write, for it is executed")
        return file.read()


def _write_own(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".compiling-")  # mode 600
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(name, path)
