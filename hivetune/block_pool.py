"""Work in fixed blocks on any number of threads: neither who computes a block nor when changes a bit of it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

BLOCK_ELEMENTS = 1 << 18  # 1 MiB of fp32: block and result stay in a core's cache
_ROW_STEP = 16  # rows of a block are a multiple, so that no kernel has a ragged end but in the last block
_ALIVE = 4  # stages: enough that no thread waits for the next one to be made

Made = TypeVar("Made")


def row_blocks(rows: int, columns: int) -> list[slice]:
    """All rows, in blocks whose size follows from the shape alone."""
    size = max(_ROW_STEP, BLOCK_ELEMENTS // max(columns, 1) // _ROW_STEP * _ROW_STEP)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def run_stages(stages: Iterable[Iterable[Callable[[], Made]]], threads: int | None = None) -> list[list[Made]]:
    """What every task of every stage returns, in order.

    A stage is made while those before it run, and only a few are alive at a time, which bounds the memory of what
    is made. Every kernel runs on one thread, here and in the pool: BLAS cuts sums by the number of its threads.
    `threads` is torch's own number when it is not given. The first failure ends the work and is raised.
    """
    made: list[list[Made]] = []
    running: deque[list[Future[Made]]] = deque()
    with single_threaded_kernels() as usual:
        pool = ThreadPoolExecutor(threads or usual, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for stage in stages:
                running.append([pool.submit(task) for task in stage])
                if len(running) >= _ALIVE:
                    made.append([task.result() for task in running.popleft()])
            made += [[task.result() for task in stage] for stage in running]
        finally:
            pool.shutdown(cancel_futures=True)
    return made


def settled(tensor: Tensor) -> Tensor:
    """The same numbers as contiguous, aligned fp32: kernels may choose their order of summation by what they find."""
    return torch.empty(tensor.shape, dtype=torch.float32).copy_(tensor)


@contextmanager
def single_threaded_kernels() -> Iterator[int]:
    """One thread for every torch kernel of this thread; yields the number that is usual and comes back."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield usual
    finally:
        torch.set_num_threads(usual)
