"""Slow references for credit: exact Shapley over all coalitions, leave-one-out, solo gains, and dense gradients.

`worth` below is what a merge of some of the adapters saves, each at the coefficient that it has in the whole merge.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from math import factorial

import numpy as np
import torch
from torch import Tensor

from hivetune.credit import aumann_shapley, gauss_legendre
from hivetune.dora import dora_delta
from hivetune.evaluation import Batch, batch_nats, losses
from hivetune.merging import Adapter, merge_deltas, moved
from hivetune.model import BaseModel
from tests.conftest import weights_of

SCALE = 2.0

Worth = Callable[[tuple[int, ...]], float]


def exact_shapley(count: int, worth: Worth) -> list[float]:
    """The mean of marginal gains over all coalitions: 2^count merges, each one measured once."""
    everyone = range(count)
    known = {who: worth(who) for size in range(count + 1) for who in combinations(everyone, size)}
    shares = []
    for one in everyone:
        share = 0.0
        for coalition, value in known.items():
            if one not in coalition:
                before, after = len(coalition), count - len(coalition) - 1
                often = factorial(before) * factorial(after) / factorial(count)
                share += often * (known[tuple(sorted((*coalition, one)))] - value)
        shares.append(share)
    return shares


def leave_one_out(count: int, worth: Worth) -> list[float]:
    """What the whole merge loses without each."""
    everyone = tuple(range(count))
    whole = worth(everyone)
    return [whole - worth(without(everyone, one)) for one in everyone]


def solo_gains(count: int, worth: Worth) -> list[float]:
    """What each saves at its coefficient with nobody else."""
    return [worth((one,)) for one in range(count)]


def without(everyone: Iterable[int], one: int) -> tuple[int, ...]:
    return tuple(other for other in everyone if other != one)


def worth_of(
    base: BaseModel,
    weights: Mapping[str, Tensor],
    adapters: Sequence[Adapter],
    coefficients: Sequence[float],
    batches: Sequence[Batch],
    scale: float = SCALE,
) -> Worth:
    """Nats that the merge of a coalition saves on the text."""
    before = sum(losses(base, batches, {}))

    def worth(coalition: tuple[int, ...]) -> float:
        if not coalition:
            return 0.0
        members = [adapters[i] for i in coalition]
        delta = merge_deltas(weights, members, [coefficients[i] for i in coalition], scale)
        return before - sum(losses(base, batches, moved(weights, delta, 1.0)))

    return worth


def gain_of(
    base: BaseModel, adapters: Sequence[Adapter], coefficients: Sequence[float], batches: Sequence[Batch]
) -> float:
    """Nats that the merge of all of them saves."""
    return worth_of(base, weights_of(base), adapters, coefficients, batches)(tuple(range(len(adapters))))


def credit_of(
    base: BaseModel,
    adapters: Sequence[Adapter],
    coefficients: Sequence[float],
    batches: Sequence[Batch],
    nodes: int = 2,
) -> np.ndarray:
    """The quick credits, summed over the text."""
    return aumann_shapley(base, weights_of(base), adapters, coefficients, batches, SCALE, nodes=nodes).sum(0)


def naive_credit(
    base: BaseModel, adapters: Sequence[Adapter], coefficients: Sequence[float], batches: Sequence[Batch]
) -> np.ndarray:
    """Dense weight gradients times dense deltas, one adapter and one batch at a time."""
    weights = weights_of(base)
    merged = merge_deltas(weights, adapters, coefficients, SCALE)
    credit_BA = np.zeros((len(batches), len(adapters)))
    for position, part in gauss_legendre(2):
        for row, batch in enumerate(batches):
            point = {name: w.requires_grad_() for name, w in moved(weights, merged, position).items()}
            gradients = torch.autograd.grad(batch_nats(base, batch, point), list(point.values()))
            for column, (adapter, coefficient) in enumerate(zip(adapters, coefficients, strict=True)):
                for name, gradient_OI in zip(point, gradients, strict=True):
                    delta_OI = dora_delta(weights[name], adapter.factors[name], SCALE)
                    credit_BA[row, column] -= part * coefficient * float((gradient_OI * delta_OI).double().sum())
    return credit_BA
