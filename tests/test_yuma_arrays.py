"""The arrays of chain/ compute bit for bit what the plain loop of plain_yuma.py does, extremes included."""

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chain import fixedpoint as fx
from chain.epochs import EpochInput
from chain.sparse import from_rows, weighted_medians
from chain.yuma import consensus, run_epoch
from tests import plain_yuma as plain

ANY = st.integers(fx.LOWEST, fx.HIGHEST) | st.sampled_from(
    [fx.LOWEST, fx.HIGHEST, -1, 0, 1, fx.ONE - 1, fx.ONE, fx.ONE + 1, 1 << 47, 1 << 62]
)
POSITIVE = ANY.map(lambda value: max(0, value)) | st.integers(0, 2 * fx.ONE)
U16 = st.sampled_from([0, 1, 32767, 32768, 65534, 65535]) | st.integers(0, 65535)


def array(*values: int) -> fx.Array:
    return np.array(values, dtype=np.int64)


@given(pairs=st.lists(st.tuples(ANY, ANY), min_size=1, max_size=5))
@example(pairs=[(fx.HIGHEST, fx.HIGHEST), (fx.LOWEST, fx.HIGHEST), (-1, 1), (1, 1)])
def test_products_are_exact_and_saturate(pairs: list[tuple[int, int]]) -> None:
    left, right = array(*(a for a, _ in pairs)), array(*(b for _, b in pairs))
    assert fx.mul(left, right).tolist() == [plain.mul(a, b) for a, b in pairs]
    assert fx.mul(left, pairs[0][1]).tolist() == [plain.mul(a, pairs[0][1]) for a, _ in pairs]


@given(pairs=st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=5))
@example(pairs=[(fx.HIGHEST, 1), (fx.HIGHEST, fx.HIGHEST), (0, 0), (1, 0), (fx.ONE, fx.ONE), (fx.ONE, 3)])
@example(pairs=[(1 << 62, 1 << 31), (1 << 62, 1 << 30), ((1 << 62) - 1, 1 << 31)])
def test_quotients_are_exact_and_saturate(pairs: list[tuple[int, int]]) -> None:
    left, right = array(*(a for a, _ in pairs)), array(*(b for _, b in pairs))
    assert fx.div(left, right).tolist() == [plain.div(a, b) for a, b in pairs]
    assert fx.div(left, pairs[0][1]).tolist() == [plain.div(a, pairs[0][1]) for a, _ in pairs]


@given(values=st.lists(POSITIVE, max_size=6))
@example(values=[fx.HIGHEST, 1])
def test_sums_saturate(values: list[int]) -> None:
    assert fx.total(array(*values)) == plain.total(values)
    groups = array(*(index % 2 for index in range(len(values))))
    assert fx.group_sums(groups, array(*values), 2).tolist() == [plain.total(values[0::2]), plain.total(values[1::2])]


@given(values=st.lists(ANY | st.integers(-22 * fx.ONE, 22 * fx.ONE), min_size=1, max_size=5))
@example(values=[0, fx.ONE, -fx.ONE, fx.ONE - 1, fx.LARGEST_EXPONENT, -fx.LARGEST_EXPONENT])
@example(values=[fx.LARGEST_EXPONENT + 1, -fx.LARGEST_EXPONENT - 1, fx.LOWEST])
def test_the_exponential_is_the_chains_series(values: list[int]) -> None:
    assert fx.exp(array(*values)).tolist() == [plain.exp(value) or 0 for value in values]


def test_the_exponential_of_one_is_coarser_and_of_much_is_given_up() -> None:
    e, given_up, largest = fx.exp(array(fx.ONE, fx.LARGEST_EXPONENT + 1, fx.LARGEST_EXPONENT)).tolist()
    assert (e, given_up) == (11674931200, 0)
    assert largest == 4994766200130743759


@given(values=st.lists(ANY, min_size=1, max_size=5))
def test_fractions_become_u16_as_on_the_chain(values: list[int]) -> None:
    assert fx.to_u16(array(*values)).tolist() == [plain.to_u16(value) for value in values]


@given(values=st.lists(st.integers(0, fx.ONE), max_size=5))
def test_the_largest_becomes_65535(values: list[int]) -> None:
    assert fx.max_upscale_u16(array(*values)).tolist() == plain.max_upscale_u16(values)


@given(rows=st.integers(1, 9), seed=st.integers(0, 10**9), beside=st.integers(-1, 1))
@settings(max_examples=300)
def test_medians_are_those_of_the_chains_quickselect(rows: int, seed: int, beside: int) -> None:
    random = Random(seed)
    stake = [random.choice([1, 5, 5, random.randrange(1, 10**9)]) for _ in range(rows)]
    scores = [[random.choice([0, 1, 1, 2, 65535]) for _ in range(rows)] for _ in range(rows)]
    above = sum(random.sample(stake, random.randint(0, rows))) + beside  # where ties are decided, and past both ends
    matrix = from_rows(tuple(tuple(enumerate(row)) for row in scores), rows)
    found = weighted_medians(matrix, array(*stake), above).tolist()
    columns = zip(*scores, strict=True)
    assert found == [plain.weighted_median(stake, column, above, sum(stake)) for column in columns]


def random_epoch(random: Random, n: int) -> EpochInput:
    """Any state a chain can hold, edges rather often: of time, of stake, of every setting."""
    tempo, block = random.choice([1, 3, 360, 65535]), random.randrange(2, 70000)
    edges = [0, 1, max(0, block - tempo - 1), max(0, block - tempo), block - 1, block]
    registered = [random.choice(edges) if random.random() < 0.4 else 0 for _ in range(n)]
    most = random.choice([0, 1, 3, 10**9, 10**15, (1 << 63) // n - 1])
    low, high = random.choice([(1638, 65535), (0, 0), (65535, 65535), (45875, 58982), (40000, 3000)])

    def row(highest: int) -> tuple[tuple[int, int], ...]:
        density = random.choice([0, 0.3, 1, 1])
        columns = [column for column in range(n + 1) if random.random() < density]
        if random.random() < 0.2:
            random.shuffle(columns)
        return tuple((column, random.choice([0, 1, 65535, random.randrange(highest)])) for column in columns)

    return EpochInput(
        n=n,
        block=block,
        tempo=tempo,
        stake=tuple(random.choice([0, most, random.randint(0, most)]) for _ in range(n)),
        stake_fraction=random.choice([(), tuple(random.randrange(1 << 32) for _ in range(n))]),
        weights=tuple(row(65536) for _ in range(n)),
        bonds=tuple(row(random.choice([2, 65536])) for _ in range(n)),
        last_update=tuple(random.choice([block - 1, *edges, (1 << 64) - 1]) for _ in range(n)),
        block_at_registration=tuple(registered),
        activity_cutoff=random.choice([0, 1, tempo, block, 65535]),
        permit=tuple(random.random() < 0.8 for _ in range(n)),
        max_validators=random.choice([0, 1, n // 2, n, 64]),
        kappa=random.choice([0, 1, 32767, 65534, 65535]),
        bonds_penalty=random.choice([0, 1, 30000, 65534, 65535]),
        bonds_moving_average=random.choice([0, 1, 900_000, 1_000_000, 1_500_000, 10**12, 10**18]),
        yuma3=random.random() < 0.6,
        liquid_alpha=random.random() < 0.7,
        alpha_values=(low, high),
        steepness=random.choice([0, 1000, -1000, 4177, 4179, -4179, 32767, -32768, 99, -99]),
        stake_threshold=random.choice([0, 1, most]),
        owner_uid=random.randrange(-1, n),
        emission_rao=random.choice([0, 1, 10**12, (1 << 64) - 1]),
        pending_commits=tuple((uid, random.choice(edges)) for uid in range(n) if random.random() < 0.2),
        owner_permit=random.random() < 0.5,
        last_step_block=random.choice([0, *edges]),
        clamped_exponent=random.random() < 0.5,
        clears_bonds=random.random() < 0.5,
    )


@given(seed=st.integers(0, 10**12), n=st.integers(1, 9))
@settings(max_examples=400)
def test_any_epoch_is_that_of_the_plain_loop(seed: int, n: int) -> None:
    inputs = random_epoch(Random(seed), n)
    assert run_epoch(inputs) == plain.run_epoch(inputs)


@pytest.mark.parametrize(
    "changes", [{}, {"bonds_penalty": 20_000, "steepness": 4000}, {"liquid_alpha": False}, {"yuma3": False}]
)
def test_an_epoch_of_4096_uids_is_that_of_the_plain_loop(changes: dict[str, object]) -> None:
    inputs = plain.crowd(4096, 4, **changes)
    assert run_epoch(inputs) == plain.run_epoch(inputs)


def test_an_empty_subnet_has_an_epoch_of_nothing() -> None:
    nothing = plain.crowd(0, 0)
    assert run_epoch(nothing) == plain.run_epoch(nothing)


@given(seed=st.integers(0, 10**9))
def test_consensus_between_epochs_is_that_of_the_plain_loop(seed: int) -> None:
    inputs = random_epoch(Random(seed), 6)
    weights = {uid: {to: w for to, w in row if to < 6} for uid, row in enumerate(inputs.weights) if row}
    verdicts: list[Callable[..., list[float]]] = [consensus, plain.consensus]
    found = [verdict(inputs.stake, inputs.permit, weights, inputs.kappa, 6) for verdict in verdicts]
    assert found[0] == found[1]
