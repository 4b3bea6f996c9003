"""Yuma: recorded epochs of the chain, the pallet's own numbers, rules of one or the other runtime, and properties that
need no oracle. That the arrays compute what a plain loop does is in test_yuma_arrays.py.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.yuma import EpochInput, EpochOutput, consensus, first_difference, main, read_cases, run_epoch
from tests.plain_yuma import weighted_median

FOLDER = Path(__file__).parent / "golden"
GOLDEN = FOLDER / "yuma_spec300.json"
# Their number, so that none is lost. Of spec 300 the real runtime's; of 425 its epoch's code compiled on its own.
RECORDED = {"yuma_spec300.json": 100, "yuma_spec300_hard.json": 62, "yuma_spec425.json": 40}
RAO = 10**9


def make_input(n: int, **changes: object) -> EpochInput:
    empty: tuple[tuple[tuple[int, int], ...], ...] = ((),) * n
    start = EpochInput(
        n=n, block=100, tempo=1, stake=(0,) * n, weights=empty, bonds=empty, last_update=(99,) * n,
        block_at_registration=(0,) * n, activity_cutoff=5000, permit=(True,) * n, max_validators=n, kappa=32767,
        bonds_penalty=65535, bonds_moving_average=900_000, yuma3=False, liquid_alpha=False, alpha_values=(45875, 58982),
        steepness=1000, stake_threshold=0, owner_uid=-1, emission_rao=RAO,
    )  # fmt: skip
    return replace(start, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RECORDED)
def test_all_recorded_epochs_agree(name: str) -> None:
    cases = read_cases(FOLDER / name)
    assert [first_difference(*case) for case in cases] == [None] * RECORDED[name]


def test_the_checker_names_the_field_that_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = json.loads(GOLDEN.read_text())
    recorded["cases"] = recorded["cases"][4:6]
    recorded["cases"][1]["out"]["incentive"][0] ^= 1
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(recorded))
    assert main([str(changed)]) == 1
    assert capsys.readouterr().out == "case 1: incentive differs\n1 of 2 recorded epochs agree\n"
    assert main([str(GOLDEN)]) == 0


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"cases": [{}]}', '{"spec_version": 300, "cases": 3}', '{"spec_version": "x", "cases": []}'],
)
def test_the_checker_says_in_one_line_that_a_file_is_unreadable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    assert main([str(path)]) == 2
    assert main([str(tmp_path / "missing.json")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert str(path) in lines[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stake", [1]),
        ("stake", [2**62] * 12),
        ("stake", [-1] * 12),
        ("stake", [0.5] * 12),
        ("permit", None),
        ("kappa", "half"),
        ("weights", [[[1, 65536]]] * 12),
        ("weights", [[[-1, 1]]] * 12),
        ("weights", [[[1, 2], [1, 3]]] * 12),
        ("weights", [[[1, 2, 3]]] * 12),
        ("bonds", [[[1]]] * 12),
        ("last_update", [2**70] * 12),
        ("n", 40_000),
    ],
)
def test_the_checker_refuses_an_epoch_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str, value: object
) -> None:
    path = tmp_path / "changed.json"
    recorded = json.loads(GOLDEN.read_text())
    case = recorded["cases"][4]
    for emission in ({}, {"emission_rao": 1}):  # found out while reading, or given
        case["in"] |= {**emission, field: value}
        path.write_text(json.dumps({"spec_version": 300, "cases": [case]}))
        assert main([str(path)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_checker_leaves_out_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    recorded = json.loads(GOLDEN.read_text())
    case = recorded["cases"][4]
    case["in"]["rho"], case["out"]["norm"] = 10, ["much"]
    del case["out"]["trust"]
    path = tmp_path / "others.json"
    path.write_text(json.dumps({"cases": [case]}))
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == "1 of 1 recorded epochs agree\n"
    assert "fields left out: norm, rho" in caplog.text


def test_an_unrecorded_emission_is_the_least_that_explains_what_was_paid(tmp_path: Path) -> None:
    recorded = json.loads((FOLDER / "yuma_spec300_hard.json").read_text())
    for case in recorded["cases"]:
        case["emission_rao"] = case["in"].pop("emission_rao")
    path = tmp_path / "unknown.json"
    path.write_text(json.dumps(recorded))
    cases = read_cases(path)
    assert [first_difference(*case) for case in cases] == [None] * len(cases)
    for (inputs, _), case in zip(cases, recorded["cases"], strict=True):
        assert inputs.emission_rao <= case["emission_rao"]
    case = next(case for case in recorded["cases"] if sum(amount > 10 for amount in case["out"]["emission"]) > 1)
    case["out"]["emission"][max(range(case["in"]["n"]), key=case["out"]["emission"].__getitem__)] += 2
    path.write_text(json.dumps({"cases": [case]}))
    assert first_difference(*read_cases(path)[0]) == "emission"


def step(inputs: EpochInput, **changes: object) -> tuple[EpochOutput, EpochInput]:
    """One epoch, and the input of the next with the bonds carried over."""
    inputs = replace(inputs, **changes)  # type: ignore[arg-type]
    output = run_epoch(inputs)
    return output, replace(inputs, block=inputs.block + 1, bonds=output.bonds, last_update=(inputs.block,) * inputs.n)


def column(output: EpochOutput, uid: int, rows: int) -> list[int]:
    return [dict(output.bonds[row]).get(uid, 0) for row in range(rows)]


def test_bonds_follow_stake_and_decay_as_in_the_pallets_test() -> None:
    row = ((4, 16383), (5, 32767), (6, 49149), (7, 65535))
    inputs = make_input(
        8,
        stake=(1, 2, 3, 4, 0, 0, 0, 0),
        permit=(True,) * 4 + (False,) * 4,
        weights=(row,) * 4 + ((),) * 4,
        max_validators=4,
    )
    output, inputs = step(inputs)
    for miner in range(4, 8):
        assert column(output, miner, 4) == [16383, 32767, 49151, 65535]
    output, inputs = step(inputs, weights=(((0, 65535),), row, row, row) + ((),) * 4)
    output, inputs = step(inputs, weights=(((0, 65535),), ((1, 65535),), row, row) + ((),) * 4)
    assert column(output, 7, 4) == [12603, 28321, 49151, 65535]
    last = (((0, 65535),), ((1, 65535),), ((2, 65535),), row)
    output, inputs = step(inputs, weights=last + ((),) * 4)
    assert column(output, 7, 4) == [12602, 28320, 49150, 65535]
    last = (((0, 65535),), ((1, 65535),), ((7, 65535),), row)
    found = []
    for _ in range(3):
        output, inputs = step(inputs, weights=last + ((),) * 4)
        found.append(column(output, 7, 4)[:2])
    assert found == [[10951, 24609], [9559, 21482], [8376, 18824]]


def test_yuma_3_moves_bonds_when_the_majority_moves_first() -> None:
    first, second = ((3, 65535), (4, 0)), ((3, 0), (4, 65535))
    inputs = make_input(
        5, stake=(8, 1, 1, 0, 0), permit=(True, True, True, False, False), max_validators=3, yuma3=True,
        liquid_alpha=True, alpha_values=(6554, 19661), bonds_moving_average=975_000, bonds_penalty=0,
    )  # fmt: skip
    nobody: tuple[tuple[tuple[int, int], ...], ...] = ((), ())
    rounds = [(first,) * 3, (second, first, first), (second, second, first)] + [(second,) * 3] * 3
    bonds, dividends = [], []
    for rows in rounds:
        output, inputs = step(inputs, weights=rows + nobody)
        bonds.append([column(output, miner, 3) for miner in (3, 4)])
        dividends.append([share / 65535 for share in output.dividends[:3]])
    assert bonds[0] == [[pytest.approx(0.1013 * 65535, abs=7)] * 3, [0] * 3]
    assert [x / 65535 for x in bonds[1][0]] == pytest.approx([0.0908, 0.3697, 0.3697], abs=1e-4)
    assert [x / 65535 for x in bonds[1][1]] == pytest.approx([0.1013, 0, 0], abs=1e-4)
    assert [x / 65535 for x in bonds[5][0]] == pytest.approx([0.0588, 0.2157, 0.3089], abs=1e-4)
    assert [x / 65535 for x in bonds[5][1]] == pytest.approx([0.4139, 0.3478, 0.2742], abs=1e-4)
    assert dividends[1] == pytest.approx([1, 0, 0], abs=1e-3)
    assert dividends[2] == pytest.approx([0.9382, 0.0618, 0], abs=1e-3)
    assert dividends[5] == pytest.approx([0.8418, 0.0884, 0.0697], abs=1e-3)


def test_since_spec_425_the_owner_keeps_permit_and_stake_below_the_threshold() -> None:
    inputs = make_input(4, stake=(1, 50, 60, 70), max_validators=2, stake_threshold=10, owner_uid=0, owner_permit=True)
    assert run_epoch(inputs).permit == (True, False, True, True)
    assert run_epoch(inputs).stake_weight[0] > 0
    assert run_epoch(replace(inputs, owner_permit=False)).permit == (False, False, True, True)


def test_since_spec_425_the_owner_counts_without_the_permit_of_the_epoch_before() -> None:
    inputs = make_input(2, stake=(5, 0), weights=(((1, 1),), ()), permit=(False, False), owner_uid=0)
    assert run_epoch(inputs).incentive == (0, 0)
    assert run_epoch(replace(inputs, owner_permit=True)).incentive == (0, 65535)


def test_since_spec_425_bonds_to_uids_registered_after_the_last_epoch_are_forgotten() -> None:
    inputs = make_input(
        3, stake=(5, 5, 0), bonds=(((2, 65535),), (), ()), weights=((), ((2, 1),), ()),
        block_at_registration=(0, 0, 50), bonds_moving_average=1_000_000,
    )  # fmt: skip
    assert run_epoch(inputs).bonds[0] == ((2, 65535),)
    assert run_epoch(replace(inputs, tempo=50)).bonds[0] == ()  # registered at block - tempo
    assert run_epoch(replace(inputs, tempo=50, last_step_block=50)).bonds[0] == ((2, 65535),)
    assert run_epoch(replace(inputs, last_step_block=49)).bonds[0] == ()


def test_since_spec_425_the_exponent_of_liquid_alpha_is_clamped() -> None:
    inputs = make_input(
        2,
        stake=(5, 0),
        weights=(((1, 1),), ()),
        yuma3=True,
        liquid_alpha=True,
        steepness=32767,
        alpha_values=(0, 65535),
    )
    assert run_epoch(inputs).bonds[0] == ((1, 65535),)  # exp(163) is given up on, so the rate is the highest
    assert run_epoch(replace(inputs, clamped_exponent=True)).bonds[0] == ((1, 0),)


def test_bonds_of_a_uid_that_never_had_a_permit_are_left_until_spec_425() -> None:
    inputs = make_input(2, stake=(5, 0), bonds=((), ((0, 7),)), permit=(True, False))
    assert run_epoch(inputs).bonds[1] == ((0, 7),)
    assert run_epoch(replace(inputs, clears_bonds=True)).bonds[1] == ()
    assert run_epoch(replace(inputs, permit=(True, True))).bonds[1] == ()


def test_liquid_alpha_overlooks_entries_behind_a_higher_column() -> None:
    ordered = ((1, 30000), (2, 65535))
    inputs = make_input(
        3, stake=(5, 0, 0), weights=(ordered, (), ()), bonds=(ordered, (), ()), yuma3=True, liquid_alpha=True,
        alpha_values=(6554, 58982),
    )  # fmt: skip
    bonds, turned = (run_epoch(replace(inputs, weights=(row, (), ()))).bonds[0] for row in (ordered, ordered[::-1]))
    assert [uid for uid, _ in turned] == [2, 1]  # stored in the order of the weights
    assert dict(turned)[2] == dict(bonds)[2]
    assert dict(turned)[1] != dict(bonds)[1]


def test_a_fraction_of_a_rao_counts_in_the_shares() -> None:
    inputs = make_input(2, stake=(0, 1))
    assert run_epoch(inputs).stake_weight == (0, 65535)
    assert run_epoch(replace(inputs, stake_fraction=(1 << 31, 1 << 31))).stake_weight == (16383, 49151)


def test_among_equal_stakes_the_higher_uid_gets_the_permit() -> None:
    assert run_epoch(make_input(4, stake=(5, 5, 5, 5), max_validators=2)).permit == (False, False, True, True)


def test_weights_for_a_uid_that_registered_later_do_not_count() -> None:
    weights = (((1, 1), (2, 1)), (), ())
    inputs = make_input(3, stake=(5, 0, 0), weights=weights)
    assert run_epoch(inputs).incentive == (0, 32767, 32767)
    assert run_epoch(replace(inputs, block_at_registration=(0, 99, 0))).incentive == (0, 0, 65535)


def test_weights_committed_before_a_uid_registered_do_not_count() -> None:
    inputs = make_input(3, stake=(5, 0, 0), weights=(((1, 1), (2, 1)), (), ()), block_at_registration=(0, 50, 0))
    assert run_epoch(replace(inputs, pending_commits=((0, 40),))).incentive == (0, 0, 65535)
    assert run_epoch(replace(inputs, pending_commits=((0, 50),))).incentive == (0, 32767, 32767)


def test_consensus_is_the_largest_weight_that_kappa_of_the_stake_supports() -> None:
    weights = {0: {3: 100}, 1: {3: 30, 2: 70}, 2: {3: 10, 4: 90}, 3: {4: 100}}
    verdict = consensus([40, 40, 20, 1000, 0], [True, True, True, False, False], weights, 32767, 5)
    assert verdict == pytest.approx([0, 0, 0, 0.3, 0], abs=1e-6)


def test_consensus_drops_self_weights_before_it_normalises() -> None:
    assert consensus([1, 0], [True, False], {0: {0: 65535, 1: 1}}, 32767, 2) == [0.0, 1.0]


def test_consensus_between_epochs_is_what_the_epoch_stores() -> None:
    for inputs, recorded in read_cases(GOLDEN):
        if min(inputs.last_update) <= max(inputs.block_at_registration) or inputs.activity_cutoff < 100:
            continue
        rows = {uid: {to: w for to, w in row if uid or to} for uid, row in enumerate(inputs.weights)}
        if any(to == inputs.owner_uid for to, _ in inputs.weights[inputs.owner_uid]):
            continue  # the owner's self-weight counts in the epoch
        found = consensus(inputs.stake, inputs.permit, rows, inputs.kappa, inputs.n)
        assert tuple(int(value * 65535) for value in found) == tuple(recorded["consensus"])  # type: ignore[arg-type]


WEIGHTS = st.lists(
    st.dictionaries(st.integers(0, 5), st.integers(0, 6000), max_size=6).map(lambda row: tuple(sorted(row.items()))),
    min_size=6, max_size=6,
).map(tuple)  # fmt: skip
STAKES = st.lists(st.integers(0, 10**15), min_size=6, max_size=6).map(tuple)


@given(weights=WEIGHTS, stake=STAKES, yuma3=st.booleans(), liquid=st.booleans(), penalty=st.integers(0, 65535))
@settings(max_examples=60, deadline=None)
def test_never_more_is_paid_than_was_emitted(
    weights: tuple[tuple[tuple[int, int], ...], ...], stake: tuple[int, ...], yuma3: bool, liquid: bool, penalty: int
) -> None:
    inputs = make_input(
        6, weights=weights, stake=stake, yuma3=yuma3, liquid_alpha=liquid, bonds_penalty=penalty, emission_rao=7 * RAO
    )
    output = run_epoch(inputs)
    assert sum(output.emission) <= 7 * RAO
    assert sum(output.server_emission) + sum(output.validator_emission) <= 7 * RAO
    if any(stake):
        assert sum(output.emission) > 7 * RAO - 50


@given(weights=WEIGHTS, stake=STAKES, scale=st.integers(2, 10), yuma3=st.booleans())
@settings(max_examples=60, deadline=None)
def test_only_the_proportions_of_a_row_of_weights_matter(
    weights: tuple[tuple[tuple[int, int], ...], ...], stake: tuple[int, ...], scale: int, yuma3: bool
) -> None:
    scaled = tuple(tuple((uid, weight * scale) for uid, weight in row) for row in weights)
    inputs = make_input(6, weights=weights, stake=stake, yuma3=yuma3)
    assert run_epoch(inputs) == run_epoch(replace(inputs, weights=scaled))


@given(stake=st.lists(st.integers(1, 50), min_size=1, max_size=9), data=st.data())
@settings(max_examples=100, deadline=None)
def test_the_weighted_median_is_supported_by_the_majority(stake: list[int], data: st.DataObject) -> None:
    score = data.draw(st.lists(st.integers(0, 5), min_size=len(stake), max_size=len(stake)))
    everything = sum(stake)
    majority = data.draw(st.integers(1, everything))
    found = weighted_median(stake, score, everything - majority, everything)
    supported = [
        value
        for value in score
        if sum(s for s, v in zip(stake, score, strict=True) if v >= value) > everything - (everything - majority)
    ]
    at_least = sum(s for s, v in zip(stake, score, strict=True) if v >= found)
    assert at_least >= majority
    assert all(value <= found for value in supported)
