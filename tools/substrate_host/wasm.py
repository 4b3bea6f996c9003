"""Runs functions of a runtime's wasm: compiled once, instantiated once, reset between calls."""

import logging
from pathlib import Path

import wasmtime
import zstandard

from hivetune.errors import ConfigError
from tools.substrate_host.compiled import CompileCache
from tools.substrate_host.host_functions import HostFunction, HostFunctions
from tools.substrate_host.memory import ALLOCATOR, Memory
from tools.substrate_host.runtime import RuntimeFailed
from tools.substrate_host.state import Overlay

log = logging.getLogger(__name__)

COMPRESSED = bytes.fromhex("52bc537646db8e05")
MAX_WASM_BYTES = 50 << 20  # Substrate's own limit
STACK_BYTES = 2 << 20


def read_wasm(path: Path) -> tuple[bytes, bytes]:
    """The file as it is, which is what goes into the state, and the module, unpacked when Substrate packed it."""
    try:
        packed = data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"runtime {path}: {error.strerror}") from error
    if data.startswith(COMPRESSED):
        try:
            with zstandard.ZstdDecompressor().stream_reader(data[len(COMPRESSED) :]) as stream:
                data = stream.read(MAX_WASM_BYTES + 1)
        except zstandard.ZstdError as error:
            raise ConfigError(f"runtime {path}: does not unpack: {error}") from error
    if len(data) > MAX_WASM_BYTES:
        raise ConfigError(f"runtime {path}: over {MAX_WASM_BYTES} bytes unpacked")
    if not data.startswith(b"\0asm"):
        raise ConfigError(f"runtime {path}: not a wasm module")
    return packed, data


def _engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.memory_may_move = False  # Python holds its address
    config.max_wasm_stack = STACK_BYTES
    return wasmtime.Engine(config)


class WasmRuntime:
    """One runtime. Not thread-safe: the node calls it from one thread."""

    def __init__(self, wasm: bytes, cache: CompileCache | None = None) -> None:
        self._engine = _engine()
        try:
            self._module = cache.module(self._engine, wasm) if cache else wasmtime.Module(self._engine, wasm)
            self._allocator = wasmtime.Module(self._engine, ALLOCATOR)
            self._host = HostFunctions()
            self._exports: wasmtime.InstanceExports | None = None
            self._start()
        except wasmtime.WasmtimeError as error:
            raise ConfigError(f"the runtime does not load: {str(error).splitlines()[0]}") from error

    def call(self, function: str, argument: bytes, overlay: Overlay, parent_root: bytes = bytes(32)) -> bytes:
        """RuntimeFailed when there is no such function or it traps; the overlay is then as it was before."""
        if self._exports is None:
            self._start()
        assert self._exports is not None
        exported = self._exports.get(function)
        if not isinstance(exported, wasmtime.Func):
            raise RuntimeFailed(function, "the runtime has no such function")
        self._host.memory.reset()
        self._host.overlay, self._host.parent_root = overlay, parent_root
        self._host.notes.clear()
        overlay.begin()
        depth = overlay.depth
        try:
            span = exported(self._store, self._host.memory.allocate(argument), len(argument))
            result = self._host.memory.take(span)
        except (wasmtime.Trap, wasmtime.WasmtimeError, RuntimeError) as error:
            self._exports = None  # its stack pointer is anywhere
            overlay.rollback_to(depth - 1)
            raise RuntimeFailed(function, self._reason(error)) from error
        if overlay.depth != depth:
            overlay.rollback_to(depth - 1)
            raise RuntimeFailed(function, "the runtime left storage transactions open")
        overlay.commit()
        return result

    def _reason(self, error: Exception) -> str:
        panics = [" ".join(note.split()) for note in self._host.notes if "panicked" in note]
        lines = str(error).splitlines()
        return panics[-1] if panics else (lines[-1].strip() if lines else type(error).__name__)

    def _start(self) -> None:
        """A fresh instance with its own memory."""
        self._store = wasmtime.Store(self._engine)
        memory = wasmtime.Memory(self._store, wasmtime.MemoryType(wasmtime.Limits(self._memory_pages(), None)))
        linker = wasmtime.Linker(self._engine)
        linker.define(self._store, "env", "memory", memory)
        allocator = linker.instantiate(self._store, self._allocator).exports(self._store)
        linker.define(self._store, "env", "ext_allocator_malloc_version_1", allocator["malloc"])
        linker.define(self._store, "env", "ext_allocator_free_version_1", allocator["free"])
        self._define(linker)
        exports = linker.instantiate(self._store, self._module).exports(self._store)
        heap_base = exports.get("__heap_base")
        base = allocator["base"]
        if not isinstance(heap_base, wasmtime.Global) or not isinstance(base, wasmtime.Global):
            raise ConfigError("the runtime does not load: it exports no __heap_base")
        self._host.memory = Memory(self._store, memory)
        self._host.memory.start_heap(int(heap_base.value(self._store)) & 0xFFFFFFFF)
        base.set_value(self._store, self._host.memory.base)
        self._exports = exports

    def _memory_pages(self) -> int:
        for each in self._module.imports:
            if isinstance(each.type, wasmtime.MemoryType) and each.name == "memory":
                return int(each.type.limits.min)
        raise ConfigError("the runtime does not load: it imports no memory")

    def _define(self, linker: wasmtime.Linker) -> None:
        table = self._host.table()
        for each in self._module.imports:
            name = each.name or ""
            if isinstance(each.type, wasmtime.FuncType) and not name.startswith("ext_allocator_"):
                linker.define_func(each.module, name, each.type, table.get(name) or _absent(name))


def _absent(name: str) -> HostFunction:
    def trap(*_: int) -> int:
        raise RuntimeError(f"this host has no {name}")

    return trap
