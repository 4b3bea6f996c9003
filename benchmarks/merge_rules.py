"""Ways to merge one round's deltas: hivetune's, and those of the literature to hold it against.

A rule takes a round's material and gives the step from the base, flat. But for `plain_mean` and `factor_mean`, which
stand for themselves, every direction gets the same line search for its length.
Shapes: P = all adapted weights, K = adapters, T = tensors.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from averager.genesis import DEFAULT_SCORING
from averager.merge import MERGE_PLANS, SCALES, Course, choose_scale, measure_gain, search_step
from benchmarks.swarm import Swarm
from hivetune.dora import Factors, dora_delta
from hivetune.evaluation import Batch
from hivetune.merging import Adapter, merge_deltas, uniform_coefficients
from validator.scoring import Scores

WIDE_SCALES = (0.25, 0.5, *SCALES)  # for rules that enlarge what they keep
SUSPECTS = 0.3  # share of attackers that robust rules are told to expect
DENSITY = 0.2  # that TIES keeps
DROPPED = 0.9  # by DARE
LEARNING_STEPS, LEARNING_RATE, RIDGE, PATIENCE = 20, 0.1, 0.02, 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Material:
    """One round's adapters, dense, with what validators found of them and the text to choose by."""

    swarm: Swarm
    uploads: Mapping[str, Mapping[str, Factors]]  # in hotkey order
    deltas_KP: Tensor
    admitted: Sequence[Adapter]  # by the validators
    scores: Scores
    select: Sequence[Batch]
    accept: Sequence[Batch]

    def loss(self, step_P: Tensor) -> float:
        return self.swarm.loss(step_P, self.select)


Rule = Callable[[Material], Tensor]


def dense(swarm: Swarm, factors: Mapping[str, Factors]) -> Tensor:
    """An adapter's delta, flat."""
    scale = swarm.layout.scale
    return swarm.flat({name: dora_delta(base_OI, factors[name], scale) for name, base_OI in swarm.weights.items()})


def searched(material: Material, step_P: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """With the product's line search for its length."""
    return choose_scale(lambda scale: material.loss(scale * step_P), scales) * step_P


def clipped(deltas_KP: Tensor) -> Tensor:
    """Every delta at most as long as the median one, as `uniform_coefficients` does."""
    norm_K = deltas_KP.norm(dim=1)
    limit = statistics.median_low(norm_K.tolist())
    return deltas_KP * (limit / norm_K.clamp_min(1e-12)).clamp(max=1).unsqueeze(1)


def plain_mean(material: Material) -> Tensor:
    return material.deltas_KP.mean(0)


def ungated(material: Material) -> Tensor:
    """Clip and mean of everybody."""
    return searched(material, clipped(material.deltas_KP).mean(0))


def hivetune(material: Material) -> Tensor:
    """What the averager releases: of those whom validators pay, if it passes the accept test, else nothing."""
    paid = [adapter for adapter in material.admitted if adapter.hotkey in material.scores.paid]
    nothing_P = torch.zeros_like(material.deltas_KP[0])
    if not paid:
        return nothing_P
    swarm = material.swarm
    delta = merge_deltas(swarm.weights, paid, uniform_coefficients(paid), swarm.layout.scale)
    course = Course(base=swarm.base, weights=swarm.weights, delta=delta, previous=None)
    step = search_step(course, MERGE_PLANS["uniform"], material.select)
    gain = measure_gain(course, step, material.accept, DEFAULT_SCORING.confidence)
    return step.scale * swarm.flat(delta) if gain.improvement.lower > 0 else nothing_P


def score_weighted(material: Material) -> Tensor:
    """By what each gains alone; nothing when nobody gains anything, which is usual where shards differ."""
    solo = [material.scores.solo.get(hotkey) for hotkey in material.uploads]
    gain_K = torch.tensor([max(0.0, one.improvement.mean) if one else 0.0 for one in solo])
    if not gain_K.any():
        return torch.zeros_like(material.deltas_KP[0])
    return searched(material, gain_K / gain_K.sum() @ clipped(material.deltas_KP))


def greedy_soup(material: Material) -> Tensor:
    """The best alone, then whoever lowers the mean's loss, in the order of gains alone (Wortsman et al. 2022)."""
    deltas_KP = clipped(material.deltas_KP)
    solo = [material.scores.solo.get(hotkey) for hotkey in material.uploads]
    order = sorted(range(len(solo)), key=lambda k: -(one.improvement.mean if (one := solo[k]) else -1e9))
    kept, best = order[:1], material.loss(deltas_KP[order[0]])
    for k in order[1:]:
        if (loss := material.loss(deltas_KP[[*kept, k]].mean(0))) < best:
            kept, best = [*kept, k], loss
    return searched(material, deltas_KP[kept].mean(0))


def learned(material: Material) -> Tensor:
    """A coefficient for each miner, learned on half of the selection text."""
    return searched(material, _learn(material, [material.deltas_KP.shape[1]]))


def learned_by_tensor(material: Material) -> Tensor:
    """A coefficient for each miner and tensor."""
    return searched(material, _learn(material, material.swarm.sizes))


def _learn(material: Material, sizes: Sequence[int]) -> Tensor:
    """Adam from equal parts with a ridge towards them; the coefficients that do best on the other half of the text."""
    half = len(material.select) // 2
    fit, check = material.select[:half], material.select[half:]
    deltas_KP = clipped(material.deltas_KP) / len(material.deltas_KP)
    pieces = deltas_KP.split(list(sizes), dim=1)
    factor_KT = torch.ones(len(deltas_KP), len(sizes), requires_grad=True)
    adam = torch.optim.Adam([factor_KT], lr=LEARNING_RATE, betas=(0.8, 0.95))

    def step_of(factors_KT: Tensor) -> Tensor:
        return torch.cat([factors_KT[:, t] @ piece_KP for t, piece_KP in enumerate(pieces)])

    best_P = step_of(factor_KT.detach())
    lowest, misses = material.swarm.loss(best_P, check), 0
    for _ in range(LEARNING_STEPS):
        gradients = material.swarm.gradient(step_of(factor_KT.detach()), fit).split(list(sizes))
        slope_KT = torch.stack([piece_KP @ g_P for piece_KP, g_P in zip(pieces, gradients, strict=True)], dim=1)
        pull_KT = 2 * RIDGE / factor_KT.numel() * (factor_KT.detach() - 1)
        factor_KT.grad = slope_KT + pull_KT
        adam.step()
        with torch.no_grad():
            factor_KT.clamp_(min=0)
        now_P = step_of(factor_KT.detach())
        if (loss := material.swarm.loss(now_P, check)) < lowest:
            best_P, lowest, misses = now_P, loss, 0
        elif (misses := misses + 1) == PATIENCE:
            break
    return best_P


def trimmed_mean(material: Material) -> Tensor:
    """Of each coordinate, without its largest and smallest (Yin et al. 2018)."""
    return searched(material, _trimmed(material.deltas_KP))


def coordinate_median(material: Material) -> Tensor:
    return searched(material, material.deltas_KP.median(0).values)


def geometric_median(material: Material, iterations: int = 20) -> Tensor:
    """Weiszfeld's algorithm, smoothed (Pillutla et al. 2022)."""
    centre_P = material.deltas_KP.mean(0)
    for _ in range(iterations):
        nearness_K = 1 / (material.deltas_KP - centre_P).norm(dim=1).clamp_min(1e-6)
        centre_P = nearness_K / nearness_K.sum() @ material.deltas_KP
    return searched(material, centre_P)


def multi_krum(material: Material) -> Tensor:
    """The mean of those that lie closest to their nearest (Blanchard et al. 2017)."""
    suspects = _suspects(len(material.deltas_KP))
    distance_KK = _distances(material.deltas_KP)
    nearest = max(1, len(distance_KK) - suspects - 2)
    score_K = distance_KK.sort(dim=1).values[:, 1 : nearest + 1].square().sum(1)
    return searched(material, material.deltas_KP[score_K.argsort()[: len(score_K) - suspects]].mean(0))


def nearest_mixing(material: Material) -> Tensor:
    """Each delta becomes the mean of its nearest, then the trimmed mean (Allouah et al. 2023)."""
    keep = len(material.deltas_KP) - _suspects(len(material.deltas_KP))
    nearest_KN = _distances(material.deltas_KP).argsort(dim=1)[:, :keep]
    return searched(material, _trimmed(torch.stack([material.deltas_KP[row_N].mean(0) for row_N in nearest_KN])))


def centered_clipping(material: Material, iterations: int = 5) -> Tensor:
    """Steps towards the mean of differences that are clipped to their median (Karimireddy et al. 2021)."""
    centre_P = material.deltas_KP.median(0).values
    for _ in range(iterations):
        centre_P = centre_P + clipped(material.deltas_KP - centre_P).mean(0)
    return searched(material, centre_P)


def ties(material: Material) -> Tensor:
    """The largest fifth of each delta, where the signs agree with the elected one (Yadav et al. 2023)."""
    size_KP = material.deltas_KP.abs()
    cut_K1 = size_KP.kthvalue(int(size_KP.shape[1] * (1 - DENSITY)), dim=1, keepdim=True).values
    kept_KP = material.deltas_KP * (size_KP > cut_K1)
    agreeing_KP = (kept_KP.sign() == kept_KP.sum(0).sign()) & (kept_KP != 0)
    mean_P = (kept_KP * agreeing_KP).sum(0) / agreeing_KP.sum(0).clamp_min(1)
    return searched(material, mean_P, WIDE_SCALES)


def dare(material: Material) -> Tensor:
    """Nine in ten entries dropped, the others ten times as large (Yu et al. 2024)."""
    generator = torch.Generator().manual_seed(0)
    kept_KP = torch.rand(material.deltas_KP.shape, generator=generator) >= DROPPED
    return searched(material, (material.deltas_KP * kept_KP).mean(0) / (1 - DROPPED), WIDE_SCALES)


def factor_mean(material: Material) -> Tensor:
    """The wrong way: means of A, of B and of m."""
    means = {}
    for name in material.swarm.weights:
        layers = [factors[name] for factors in material.uploads.values()]
        means[name] = Factors(
            down_RI=torch.stack([layer.down_RI for layer in layers]).mean(0),
            up_OR=torch.stack([layer.up_OR for layer in layers]).mean(0),
            magnitude_O=torch.stack([layer.magnitude_O for layer in layers]).mean(0),
        )
    return dense(material.swarm, means)


def _suspects(adapters: int) -> int:
    return int(SUSPECTS * adapters)


def _trimmed(deltas_KP: Tensor) -> Tensor:
    suspects = _suspects(len(deltas_KP))
    return deltas_KP.sort(dim=0).values[suspects : len(deltas_KP) - suspects].mean(0)


def _distances(deltas_KP: Tensor) -> Tensor:
    return torch.cdist(deltas_KP, deltas_KP, compute_mode="donot_use_mm_for_euclid_dist")


RULES: Mapping[str, Rule] = {
    "hivetune: gate, clip, mean": hivetune,
    "clip, mean, no gate": ungated,
    "plain mean, no line search": plain_mean,
    "by score alone": score_weighted,
    "learned, by miner": learned,
    "learned, by miner and tensor": learned_by_tensor,
    "greedy soup": greedy_soup,
    "trimmed mean": trimmed_mean,
    "coordinate median": coordinate_median,
    "geometric median": geometric_median,
    "Multi-Krum": multi_krum,
    "nearest-neighbour mixing": nearest_mixing,
    "centered clipping": centered_clipping,
    "TIES": ties,
    "DARE": dare,
    "means of A, B and m": factor_mean,
}
