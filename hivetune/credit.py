"""Who earned a merge's gain: Aumann-Shapley credit along the straight path from the base to the merge.

credit_i = -integral_0^1 <grad L(W + t D), c_i D_i> dt with D = sum c_i D_i, by Gauss-Legendre (Aumann and Shapley 1974;
Sundararajan et al. 2017, arXiv:1703.01365, for the path integral). The credits add up to L(W) - L(W + D) up to the
quadrature error; two nodes leave about 0.1 % at these step sizes, the gradient at the base alone overpays by 75 %.
One backward pass a node serves every adapter, and neither weight gradients nor an adapter's dense delta are formed.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from hivetune.dora import inner_products
from hivetune.evaluation import Batch, batch_nats
from hivetune.merging import Adapter, merge_deltas, moved
from hivetune.model import BaseModel
from hivetune.taps import LayerTaps

SCREEN_NODES = 1  # to tell whose credit is surely below zero
NODES = (2, 4, 8)  # more of them where the path bends too much for fewer


def gauss_legendre(nodes: int) -> list[tuple[float, float]]:
    """Abscissas and weights of the rule on [0, 1]."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    return [((float(x) + 1) / 2, float(w) / 2) for x, w in zip(points, weights, strict=True)]


def aumann_shapley(
    base: BaseModel,
    weights: Mapping[str, Tensor],
    adapters: Sequence[Adapter],
    coefficients: Sequence[float],
    batches: Sequence[Batch],
    scale: float,
    *,
    nodes: int = NODES[0],
) -> np.ndarray:
    """Credits in nats, summed over each batch's tokens: [batches, adapters], float64.

    `weights` are the base's adapted weights, fp32 [O, I] by module name; `scale` is the layout's s.
    """
    delta = merge_deltas(weights, adapters, coefficients, scale)
    credits_BA = np.zeros((len(batches), len(adapters)))
    for position, node_weight in gauss_legendre(nodes):
        point = moved(weights, delta, position)
        for row, batch in enumerate(batches):
            with LayerTaps(base.model, list(weights)) as taps:
                nats = batch_nats(base, batch, point)
                traces = taps.backward(nats)
            products = np.zeros(len(adapters))
            for name, trace in traces:
                layer = [(c, a.factors[name], a.shapes[name]) for c, a in zip(coefficients, adapters, strict=True)]
                products += inner_products(trace.gradient_NO, trace.inputs_NI, trace.outputs_NO, layer, position, scale)
            credits_BA[row] -= node_weight * np.asarray(coefficients) * products
    return credits_BA
