"""The linear memory of a runtime instance, and the allocator that Substrate's hosts provide for it.

The allocator is Substrate's: a bump pointer, and a free list for each power of two. It runs inside wasm, because a
runtime allocates and frees hundreds of times a block and each call into Python costs more than the allocation.
"""

import ctypes
import struct

import wasmtime

PAGE_BYTES = 1 << 16
LARGEST_ORDER = 25  # Substrate gives nobody more than 32 MiB at once
SMALLEST_ORDER = 3
HEADER_BYTES = 8  # before every block; holds its order
HEADS_BYTES = 4 * 32
STATE_BYTES = HEADS_BYTES + 32  # list heads, then the bump pointer, at the start of the heap

# `base` is where the state lies; it is known once the runtime's own module tells where its heap starts.
ALLOCATOR = f"""
(module
  (import "env" "memory" (memory 1))
  (global $base (export "base") (mut i32) (i32.const 0))
  (func (export "malloc") (param $size i32) (result i32)
    (local $order i32) (local $head i32) (local $at i32) (local $end i32)
    (if (i32.lt_u (local.get $size) (i32.const 8)) (then (local.set $size (i32.const 8))))
    (local.set $order (i32.sub (i32.const 32) (i32.clz (i32.sub (local.get $size) (i32.const 1)))))
    (if (i32.gt_u (local.get $order) (i32.const {LARGEST_ORDER})) (then (unreachable)))
    (local.set $head (i32.add (global.get $base) (i32.shl (local.get $order) (i32.const 2))))
    (local.set $at (i32.load (local.get $head)))
    (if (local.get $at)
      (then
        (i32.store (local.get $head) (i32.load (local.get $at)))
        (return (local.get $at))))
    (local.set $at (i32.add (i32.load offset={HEADS_BYTES} (global.get $base)) (i32.const 8)))
    (local.set $end (i32.add (local.get $at) (i32.shl (i32.const 1) (local.get $order))))
    (if (i32.lt_u (local.get $end) (local.get $at)) (then (unreachable)))
    (if (i32.gt_u (i32.shr_u (local.get $end) (i32.const 16)) (i32.sub (memory.size) (i32.const 1)))
      (then
        (if (i32.eq
              (memory.grow
                (i32.add (i32.sub (i32.shr_u (local.get $end) (i32.const 16)) (memory.size)) (i32.const 17)))
              (i32.const -1))
          (then (unreachable)))))
    (i32.store (i32.sub (local.get $at) (i32.const 8)) (local.get $order))
    (i32.store offset={HEADS_BYTES} (global.get $base) (local.get $end))
    (local.get $at))
  (func (export "free") (param $at i32)
    (local $head i32)
    (local.set $head
      (i32.add (global.get $base) (i32.shl (i32.load (i32.sub (local.get $at) (i32.const 8))) (i32.const 2))))
    (i32.store (local.get $at) (i32.load (local.get $head)))
    (i32.store (local.get $head) (local.get $at))))
"""


class BadAddress(RuntimeError):  # noqa: N818 - what the runtime named
    """A runtime named memory that it does not have, or wants more than there is."""


def unpack(span: int) -> tuple[int, int]:
    """(address, size) of Substrate's 64-bit fat pointers, which arrive signed."""
    return span & 0xFFFFFFFF, span >> 32 & 0xFFFFFFFF


class Memory:
    """Checked access from Python, and the Python half of the allocator."""

    def __init__(self, store: wasmtime.Store, memory: wasmtime.Memory) -> None:
        self._store = store
        self._memory = memory
        self._base = 0
        self._bytes = memoryview(b"")
        self._pristine = b""
        self._remap()

    def _remap(self) -> None:
        address = ctypes.cast(self._memory.data_ptr(self._store), ctypes.c_void_p).value
        size = self._memory.data_len(self._store)
        self._bytes = memoryview((ctypes.c_ubyte * size).from_address(address or 0)).cast("B")

    def start_heap(self, heap_base: int) -> None:
        """Remembers everything below the heap as the instance's first state."""
        self._base = (heap_base + 15) & ~15
        self._pristine = bytes(self._bytes[:heap_base])
        self._need(self._base + STATE_BYTES)
        self.reset()

    @property
    def base(self) -> int:
        return self._base

    def reset(self) -> None:
        """As if the instance were new: static data restored, nothing allocated."""
        self._bytes[: len(self._pristine)] = self._pristine
        self._bytes[self._base : self._base + STATE_BYTES] = bytes(STATE_BYTES)
        struct.pack_into("<I", self._bytes, self._base + HEADS_BYTES, self._base + STATE_BYTES)

    def _need(self, end: int) -> None:
        if end <= len(self._bytes):
            return
        missing = end - self._memory.data_len(self._store)
        if missing > 0:
            if end > 1 << 32:
                raise BadAddress(f"the heap is full: {end} bytes wanted")
            self._memory.grow(self._store, missing // PAGE_BYTES + 16)
        self._remap()

    def _check(self, address: int, size: int) -> None:
        if address + size > len(self._bytes):
            self._remap()  # the allocator in wasm may have grown it
            if address + size > len(self._bytes):
                raise BadAddress(f"{size} bytes at {address}, the memory has {len(self._bytes)}")

    def read(self, address: int, size: int) -> bytes:
        address &= 0xFFFFFFFF
        self._check(address, size)
        return bytes(self._bytes[address : address + size])

    def take(self, span: int) -> bytes:
        """What a fat pointer points at."""
        return self.read(*unpack(span))

    def write(self, address: int, data: bytes) -> None:
        address &= 0xFFFFFFFF
        self._check(address, len(data))
        self._bytes[address : address + len(data)] = data

    def allocate(self, data: bytes) -> int:
        """A block of the runtime's heap that holds `data`; the runtime frees it."""
        order = max(SMALLEST_ORDER, (len(data) - 1).bit_length())
        if order > LARGEST_ORDER:
            raise BadAddress(f"an answer of {len(data)} bytes, at most {1 << LARGEST_ORDER}")
        head = self._base + 4 * order
        address: int = struct.unpack_from("<I", self._bytes, head)[0]
        if address:
            self._check(address, 1 << order)
            self._bytes[head : head + 4] = self._bytes[address : address + 4]
        else:
            bump: int = struct.unpack_from("<I", self._bytes, self._base + HEADS_BYTES)[0]
            address = bump + HEADER_BYTES
            end = address + (1 << order)
            self._need(end)
            struct.pack_into("<I", self._bytes, bump, order)
            struct.pack_into("<I", self._bytes, self._base + HEADS_BYTES, end)
        self._bytes[address : address + len(data)] = data
        return address

    def give(self, data: bytes) -> int:
        """A fat pointer to a copy of `data`."""
        return len(data) << 32 | self.allocate(data)
