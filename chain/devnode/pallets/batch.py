"""Calls that do the same for several subnets: one that fails is told in an event and does not stop the others."""

from collections.abc import Callable, Iterable

from chain.devnode.pallet import Context, DispatchError
from chain.devnode.pallets.subtensor import SUBTENSOR


def run_batch(context: Context, hotkey: bytes, netuids: list[int], items: Iterable[Callable[[], None]]) -> None:
    failed = [(netuid, error) for netuid, item in zip(netuids, items, strict=True) if (error := _failure(item))]
    if failed:
        context.emit(SUBTENSOR, "BatchCompletedWithErrors")
    for netuid, error in failed:
        encoded = error.under(context.rules).encoded()
        told = (netuid, encoded) if context.rules.batch_names_subnet else (encoded,)
        context.emit(SUBTENSOR, "BatchWeightItemFailed", *told)
    context.emit(SUBTENSOR, "BatchWeightsCompleted", netuids, hotkey)


def _failure(item: Callable[[], None]) -> DispatchError | None:
    try:
        item()
    except DispatchError as error:
        return error
    return None
