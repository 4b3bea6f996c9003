"""Copies are known by what their deltas do, whatever their factors look like, and the honest are left alone."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from torch import Tensor

from hivetune.delta_products import DeltaProducts
from hivetune.dora import Factors, dora_delta
from hivetune.errors import RejectedSubmission
from hivetune.merging import Adapter, prepare
from hivetune.model import BaseModel
from hivetune.sketch import Sketcher, cosines, signs
from tests import copies
from tests.conftest import ALPHA, RANK, admitted, random_factors, random_layer, weights_of
from tests.test_intake import HONEST, NOW, SIZE, Fair
from validator.cone import Cone
from validator.originality import MARGIN, MAX_COSINE, Work, find_copies

SCALE = ALPHA / RANK


def flat(weights: Mapping[str, Tensor], factors: Mapping[str, Factors]) -> Tensor:
    """The whole delta as one vector, by its definition, in double precision."""
    parts = []
    for name, base_OI in weights.items():
        layer, wide_OI = factors[name], base_OI.double()
        direction_OI = wide_OI + SCALE * layer.up_OR.double() @ layer.down_RI.double()
        gain_O1 = layer.magnitude_O.double().unsqueeze(1) / direction_OI.norm(dim=1, keepdim=True)
        parts.append((gain_O1 * direction_OI - wide_OI).flatten())
    return torch.cat(parts)


def dense_cosine(weights: Mapping[str, Tensor], one: Mapping[str, Factors], other: Mapping[str, Factors]) -> float:
    first, second = flat(weights, one), flat(weights, other)
    return float(first @ second / first.norm() / second.norm())


@pytest.mark.parametrize("size", [0.5, 0.02, 1e-4])
def test_the_product_of_two_deltas_is_that_of_the_dense_ones(base: BaseModel, size: float) -> None:
    weights = weights_of(base)
    one, other = (random_factors(weights, seed=seed, size=size) for seed in (1, 2))
    products = DeltaProducts(weights, SCALE)
    first, second = (products.measure(admitted(base, "a", factors)) for factors in (one, other))
    exact = float(flat(weights, one) @ flat(weights, other))
    lengths = float(flat(weights, one).norm() * flat(weights, other).norm())
    assert abs(products.inner(first, second) - exact) < 1e-5 * lengths
    assert products.inner(first, second) == pytest.approx(products.inner(second, first), abs=1e-12 * lengths)
    assert products.cosine(first, first) == pytest.approx(1, abs=1e-12)
    assert first.squared == pytest.approx(float(flat(weights, one).square().sum()), rel=1e-4)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 999), rows=st.integers(1, 40), columns=st.integers(1, 40), rank=st.integers(1, 6),
    size=st.floats(1e-3, 0.8), share=st.floats(-1, 1),
)  # fmt: skip
def test_the_product_is_right_for_layers_of_any_shape(
    seed: int, rows: int, columns: int, rank: int, size: float, share: float
) -> None:
    base_OI = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    one, fresh = (random_layer(base_OI, seed=seed + part, size=size, rank=rank) for part in (0, 1))
    other = Factors(
        down_RI=share * one.down_RI + (1 - abs(share)) * fresh.down_RI, up_OR=one.up_OR, magnitude_O=fresh.magnitude_O
    )
    weights, products = {"layer": base_OI}, DeltaProducts({"layer": base_OI}, SCALE)
    first, second = (products.measure(prepare("a", {"layer": layer}, weights, SCALE)) for layer in (one, other))
    dense = [flat(weights, {"layer": layer}) for layer in (one, other)]
    bound = float(dense[0].norm() * dense[1].norm())
    assert abs(products.inner(first, second) - float(dense[0] @ dense[1])) <= 1e-4 * bound


def test_other_factors_of_the_same_product_change_no_cosine(llama: BaseModel, honest: list[Adapter]) -> None:
    """Badly conditioned ones neither, whose parts are far larger than what they sum to."""
    weights = weights_of(llama)
    products = DeltaProducts(weights, SCALE)
    victim, other = (products.measure(adapter) for adapter in honest[:2])
    for condition in (1.0, 10.0, 100.0):
        copy = products.measure(admitted(llama, "z", copies.regauged(honest[0].factors, 1, condition)))
        assert products.cosine(copy, victim) > 0.9999
        assert abs(products.cosine(copy, other) - products.cosine(victim, other)) < 1e-3


def test_sketches_have_nearly_the_cosines_of_the_deltas() -> None:
    weights = {
        str(index): torch.randn(300, 200, generator=torch.Generator().manual_seed(index)) / 15 for index in range(6)
    }
    one, other = (random_factors(weights, seed=seed, size=0.05) for seed in (1, 2))
    made = [one, other, *(copies.mixed([(1 - x, one), (x, other)], weights, SCALE) for x in (0.2, 0.5))]
    adapters = [prepare(str(index), factors, weights, SCALE) for index, factors in enumerate(made)]
    products = DeltaProducts(weights, SCALE)
    measured = [products.measure(adapter) for adapter in adapters]
    exact = np.array([[products.cosine(first, second) for second in measured] for first in measured])
    for seed in ("0x01", "0x02"):
        sketcher = Sketcher(weights, SCALE, seed)
        sketched = cosines(torch.stack([sketcher.sketch(adapter) for adapter in adapters]))
        assert np.abs(sketched - exact).max() < MARGIN
        assert sketcher.numbers <= 1 << 15


def test_signs_follow_from_the_seed_alone() -> None:
    bits = "".join(f"{byte:08b}" for byte in hashlib.shake_256(b"seed").digest(8))
    drawn = signs("seed", 9, 4)
    assert [
        [(1 if bit == "1" else -1) / 2 for bit in bits[4 * row : 4 * row + 4]] for row in range(9)
    ] == drawn.tolist()
    assert not torch.equal(signs("other", 9, 4), drawn)
    assert torch.equal(signs("seed", 4, 4), torch.eye(4))


@given(st.integers(0, 999), st.integers(1, 6))
def test_a_cone_explains_as_much_as_the_vectors_themselves(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((count, 8)) + 0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    target = generator.standard_normal(8)
    target /= np.linalg.norm(target)
    cone = Cone(count)
    for index, vector in enumerate(vectors):
        cone.add((vectors[:index] @ vector).tolist())
    _, distance = nnls(vectors.T, target)
    explained = cone.explain((vectors @ target).tolist())
    assert explained.cosine == pytest.approx(max(1 - distance**2, 0) ** 0.5, abs=1e-6)
    assert cone.span_cosine((vectors @ target).tolist()) >= explained.cosine - 1e-9


def reasons(llama: BaseModel, earlier: list[Adapter], works: list[Adapter]) -> list[str]:
    """What is said of works in their order of commitment."""
    weights = weights_of(llama)
    old, new = ([Work(name=a.hotkey, load=lambda a=a: a) for a in group] for group in (earlier, works))
    return [found.reason if found else "" for found in find_copies(new, old, weights, SCALE, "0xbeacon")]


def test_honest_miners_are_no_copies_of_each_other(llama: BaseModel, honest: list[Adapter]) -> None:
    assert reasons(llama, honest[:1], honest[1:]) == ["", ""]
    assert reasons(llama, [], honest) == ["", "", ""]
    assert reasons(llama, honest, []) == []


def test_every_way_to_copy_one_is_a_near_copy(llama: BaseModel, honest: list[Adapter]) -> None:
    weights, victim = weights_of(llama), honest[0]
    made = {
        "exact": dict(victim.factors),
        "one percent of noise": copies.with_noise(victim, 0.01, 1, SCALE),
        "half of noise": copies.with_noise(victim, 0.5, 1, SCALE),
        "a tenth": copies.scaled(victim.factors, weights, 0.1),
        "doubled": copies.scaled(victim.factors, weights, 2.0),
        "other factors": copies.regauged(victim.factors, 1),
        "no magnitudes": copies.without_magnitudes(victim),
        "rank by rank anew": copies.mixed([(1.0, victim.factors)], weights, SCALE),
    }
    for kind, factors in made.items():
        assert reasons(llama, [], [*honest, admitted(llama, "z", factors)]) == ["", "", "", "near_copy"], kind
        assert reasons(llama, honest, [admitted(llama, "z", factors)]) == ["near_copy"], f"{kind}, a round later"


def test_a_copy_that_comes_first_is_not_the_victim_of_one_that_comes_later(
    llama: BaseModel, honest: list[Adapter]
) -> None:
    """Griefing: what is committed later can cost nobody anything, however much of it there is."""
    copy = admitted(llama, "z", copies.with_noise(honest[0], 0.3, 1, SCALE))
    third = admitted(llama, "y", copies.with_noise(honest[0], 0.3, 2, SCALE))
    assert reasons(llama, [], [honest[0], copy, honest[1], third]) == ["", "near_copy", "", "near_copy"]


def test_a_copy_owns_nothing(llama: BaseModel, honest: list[Adapter]) -> None:
    """A chain of copies, each a little further away, ends where it is far from the original itself."""
    steps = [copies.with_noise(honest[0], share, 1, SCALE) for share in (0.5, 1.2)]
    near, far = (admitted(llama, f"z{index}", factors) for index, factors in enumerate(steps))
    products = DeltaProducts(weights_of(llama), SCALE)
    original, near_one, far_one = (products.measure(adapter) for adapter in (honest[0], near, far))
    assert products.cosine(near_one, far_one) > MAX_COSINE > products.cosine(original, far_one)
    assert reasons(llama, [], [honest[0], near, far]) == ["", "near_copy", ""]
    assert reasons(llama, [], [near, far]) == ["", "near_copy"]


def test_mixtures_of_earlier_ones_are_found_and_point_at_their_largest_part(
    llama: BaseModel, honest: list[Adapter]
) -> None:
    weights = weights_of(llama)
    first, second, third = (adapter.factors for adapter in honest)
    even = copies.mixed([(0.5, first), (0.5, second)], weights, SCALE)
    noisy = copies.with_noise(admitted(llama, "z", even), 0.3, 1, SCALE)
    three = copies.mixed([(0.4, first), (0.35, second), (0.35, third)], weights, SCALE)
    for factors in (even, noisy, three):
        assert reasons(llama, honest[:1], [*honest[1:], admitted(llama, "z", factors)]) == ["", "", "mixture"]
    # Its parts unknown, or coming later, it is as good as its own.
    assert reasons(llama, [], [admitted(llama, "z", even)]) == [""]
    works = [Work(name=a.hotkey, load=lambda a=a: a) for a in [*honest, admitted(llama, "z", three)]]
    rejection = find_copies(works, [], weights, SCALE, "0xbeacon")[-1]
    assert rejection is not None
    assert rejection.detail.endswith("the most of it is honest-0")
    assert "mixture of 3 " in rejection.detail


def test_what_would_be_taken_away_is_no_mixture(llama: BaseModel, honest: list[Adapter]) -> None:
    """Sums with negative parts are nobody's work; else enough junk would explain everything."""
    weights = weights_of(llama)
    opposite = copies.mixed([(-0.5, honest[0].factors), (-0.5, honest[1].factors)], weights, SCALE)
    assert reasons(llama, [], [*honest, admitted(llama, "z", opposite)]) == ["", "", "", ""]


def test_near_the_limit_the_exact_cosine_decides(llama: BaseModel, honest: list[Adapter]) -> None:
    """Sketches of a small base are exact, so these numbers tell where the line is."""
    weights = weights_of(llama)
    verdicts = {}
    for share in (0.7, 0.8, 0.85, 0.9, 0.95, 1.05):
        factors = copies.with_noise(honest[0], share, 1, SCALE)
        cosine = dense_cosine(weights, honest[0].factors, factors)
        verdicts[cosine] = reasons(llama, [], [honest[0], admitted(llama, "z", factors)])[1]
    assert {reason for cosine, reason in verdicts.items() if cosine > MAX_COSINE} == {"near_copy"}
    assert "near_copy" not in {reason for cosine, reason in verdicts.items() if cosine <= MAX_COSINE}


def test_an_earlier_file_that_cannot_act_on_this_base_is_passed_over(llama: BaseModel, honest: list[Adapter]) -> None:
    def broken() -> Adapter:
        raise RejectedSubmission("ill_conditioned")

    earlier = [Work(name="broken", load=broken), Work(name="old", load=lambda: honest[0])]
    works = [Work(name="a", load=lambda: honest[1]), Work(name="b", load=lambda: honest[0])]
    found = find_copies(works, earlier, weights_of(llama), SCALE, "0xbeacon")
    assert found[0] is None
    assert found[1] is not None
    assert "old, which came first" in found[1].detail


def test_beyond_so_many_exact_products_sketches_decide(llama: BaseModel, honest: list[Adapter]) -> None:
    """A crowd of copies cannot hold the round up."""
    crowd = [admitted(llama, f"z{seed}", copies.with_noise(honest[0], 0.3, seed, SCALE)) for seed in range(4)]
    works = [Work(name=a.hotkey, load=lambda a=a: a) for a in [*honest, *crowd]]
    found = find_copies(works, [], weights_of(llama), SCALE, "0xbeacon", max_exact=1)
    assert [one.reason if one else "" for one in found] == ["", "", "", *["near_copy"] * 4]


def test_the_order_is_that_of_the_commitments(tmp_path: Path, llama: BaseModel) -> None:
    fair = Fair(tmp_path, llama)
    for index, hotkey in enumerate(HONEST):
        fair.honest(hotkey, seed=index, block=NOW.first_block + 1)
    victim = admitted(llama, "b2", random_factors(fair.weights, seed=1, size=SIZE))
    fair.enter("0-late", copies.with_noise(victim, 0.2, 1, SCALE), block=NOW.deadline)
    assert fair.reasons() == HONEST | {"0-late": "near_copy"}
    found = fair.collect()["0-late"]
    assert found.rejection is not None
    assert "with b2, which came first" in found.rejection.detail
    assert found.adapter is None


def test_a_dense_delta_of_the_tests_is_the_real_one(llama: BaseModel, honest: list[Adapter]) -> None:
    weights = weights_of(llama)
    factors = honest[0].factors
    real = torch.cat([dora_delta(weights[name], factors[name], SCALE).flatten() for name in weights])
    assert float((flat(weights, factors) - real).norm()) < 1e-4 * float(real.norm())


def test_noise_that_hides_a_copy_from_one_sketch_hides_it_from_no_other() -> None:
    """Why the sketches' seed must not be known: their signs can be studied for what they blow up most."""
    weights = {
        str(index): torch.randn(300, 200, generator=torch.Generator().manual_seed(index)) / 15 for index in range(6)
    }
    victim = prepare("victim", random_factors(weights, seed=1, size=0.05), weights, SCALE)
    side = int((Sketcher(weights, SCALE, "known").numbers / len(weights)) ** 0.5)
    made = {}
    for name, layer in victim.factors.items():
        left_OK, _, _ = torch.linalg.svd(signs(f"known:{name}:out", 300, side), full_matrices=False)
        left_IK, _, _ = torch.linalg.svd(signs(f"known:{name}:in", 200, side), full_matrices=False)
        size = 0.3 * victim.shapes[name].norm_squared ** 0.5 / SCALE / 3**0.5
        made[name] = Factors(
            down_RI=torch.cat([layer.down_RI, left_IK[:, :3].T]),
            up_OR=torch.cat([layer.up_OR, size * left_OK[:, :3]], dim=1),
            magnitude_O=layer.magnitude_O,
        )
    works = [Work(name="", load=lambda a=a: a) for a in (victim, prepare("thief", made, weights, SCALE))]
    assert dense_cosine(weights, victim.factors, made) > 0.9
    assert find_copies(works, [], weights, SCALE, "known") == [None, None]
    for beacon in ("0x01", "0x02", "0x03"):
        verdict = find_copies(works, [], weights, SCALE, beacon)[1]
        assert verdict is not None
        assert verdict.reason == "near_copy"
