"""Blocks cover every row once, and the pool gives results in order, few stages at a time, on one kernel thread each."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hivetune.block_pool import BLOCK_ELEMENTS, row_blocks, run_stages, settled


@given(st.integers(0, 5000), st.integers(0, 2 * BLOCK_ELEMENTS))
def test_blocks_cover_every_row_once_and_stay_small(rows: int, columns: int) -> None:
    blocks = row_blocks(rows, columns)
    assert [row for block in blocks for row in range(rows)[block]] == list(range(rows))
    assert all((block.stop - block.start) * columns <= max(BLOCK_ELEMENTS, 16 * columns) for block in blocks)


@pytest.mark.parametrize("threads", [None, 1, 2, 5])
def test_results_come_in_order(threads: int | None) -> None:
    stages = [[partial(str, 10 * stage + task) for task in range(stage % 4)] for stage in range(9)]
    assert run_stages(stages, threads) == [[str(10 * s + t) for t in range(s % 4)] for s in range(9)]


def test_kernels_run_on_one_thread_and_the_usual_number_comes_back() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def stages() -> Iterator[list[Callable[[], int]]]:
        seen.append(torch.get_num_threads())
        yield [torch.get_num_threads] * 4

    torch.set_num_threads(2)
    try:
        (found,) = run_stages(stages())
        assert [*seen, *found] == [1] * 5
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError):
            run_stages([[lambda: 1 // 0]])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_stage_is_made_only_when_few_are_unfinished() -> None:
    made, most = 0, 0
    finished: list[int] = []

    def stages() -> Iterator[list[Callable[[], None]]]:
        nonlocal made, most
        for index in range(20):
            made += 1
            most = max(most, made - len(finished))
            yield [partial(finished.append, index)]

    run_stages(stages(), 1)
    assert sorted(finished) == list(range(20))
    assert most <= 5


def test_the_first_failure_is_raised_and_ends_the_work() -> None:
    ran: list[int] = []
    gate = threading.Event()

    def fail() -> None:
        gate.wait(10)
        raise ValueError("first")

    def stages() -> Iterator[list[Callable[[], None]]]:
        yield [fail]
        for index in range(100):
            gate.set()
            yield [partial(ran.append, index)] * 10

    with pytest.raises(ValueError, match="first"):
        run_stages(stages(), 1)
    assert len(ran) < 100


@pytest.mark.parametrize("make", [lambda x: x.T, lambda x: x[:, 1:], lambda x: x.bfloat16(), lambda x: x[1:, ::2]])
def test_a_settled_tensor_is_a_plain_copy(make: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensor = make(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))
    copy = settled(tensor)
    assert copy.is_contiguous()
    assert copy.dtype == torch.float32
    assert torch.equal(copy, tensor.float())
    assert copy.data_ptr() != tensor.data_ptr()
