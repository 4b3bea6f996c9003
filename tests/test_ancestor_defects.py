"""Twenty defects of the two code bases that came before this one, each by a test that it would fail.

dtune trained DoRA adapters on another chain, DistributedTraining whole deltas on this one.
"""

import ast
import math
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from averager.selection import approved_hotkeys
from hivetune.adapter import read_adapter
from hivetune.dora import dora_delta
from hivetune.draws import draw_sequences
from hivetune.errors import RejectedSubmission
from hivetune.evaluation import Batch, losses, report
from hivetune.merging import Adapter, merge_deltas, prepare, uniform_coefficients
from hivetune.model import BaseModel, digest_of
from hivetune.statistics import Estimate
from hub.client import HubClient, NotOnHub
from tests.conftest import (
    admitted,
    capped,
    make_scoring,
    random_factors,
    untrained_layer,
    weights_of,
)
from tests.hostile_files import LAYOUT, STAMP, Canary, entry, good_file, named
from tests.strange_server import headers, server_that
from tests.test_intake import NOW, Fair, scaled
from tests.test_selection import make_metagraph, make_neuron
from tests.test_submissions import OnChain, Remote
from validator.intake import check_norm
from validator.round_scoring import submissions_of_round
from validator.scoring import Scorer, Scores, completeness_error, pay

ROOT = Path(__file__).parent.parent
SIZE = 0.02
MINERS = ("a1", "b2", "c3")


@pytest.fixture
def fair(tmp_path: Path, llama: BaseModel) -> Fair:
    fair = Fair(tmp_path, llama)
    for index, hotkey in enumerate(MINERS):
        fair.honest(hotkey, seed=index)
    return fair


@pytest.fixture(scope="module")
def few(batches: list[Batch]) -> list[Batch]:
    return batches[:2]


def scorer_of(base: BaseModel, batches: list[Batch]) -> Scorer:
    return Scorer(base, weights_of(base), batches, 2.0, make_scoring(), lambda _activity: None)


def scores_of(credits: dict[str, float], paid: tuple[str, ...]) -> Scores:
    found = {hotkey: Estimate(mean=credit, lower=credit / 2, upper=2 * credit) for hotkey, credit in credits.items()}
    return Scores(
        solo={},
        credit=found,
        credit_nats={},
        nodes=0,
        clip=0.0,
        merged=paid,
        paid=paid,
        rejected={},
        merged_loss=None,
        completeness_error=None,
    )


def reason_of(data: bytes, folder: Path) -> str:
    (folder / "file").write_bytes(data)
    with pytest.raises(RejectedSubmission) as caught:
        read_adapter(folder / "file", LAYOUT, STAMP)
    return caught.value.reason


def names_in(folder: str) -> set[str]:
    trees = [ast.parse(path.read_text()) for path in (ROOT / folder).rglob("*.py")]
    return {
        ast.unparse(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name)
    }


def test_s1_a_miners_file_is_unpickled(tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    assert reason_of(pickle.dumps(Canary(canary)), tmp_path) == "not_safetensors"
    assert not canary.exists()


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "base_model.model.lm_head.weight", "layers.0.up.weight"])
def test_s2_a_file_overwrites_parameters_that_are_not_the_adapters(tmp_path: Path, name: str) -> None:
    assert reason_of(named(name)(good_file(tmp_path)), tmp_path) == "extra_tensor"


@pytest.mark.parametrize("shape", [[], [1], [1, 5], [2, 1], [5], [1, 2, 5]])
def test_s3_shapes_are_broadcast(tmp_path: Path, shape: list[int]) -> None:
    assert reason_of(entry(shape=shape)(good_file(tmp_path)), tmp_path) == "wrong_shape"


def test_s4_the_next_miner_is_scored_on_a_contaminated_model(llama: BaseModel, few: list[Batch]) -> None:
    scorer = scorer_of(llama, few)
    honest = admitted(llama, "b-honest", random_factors(weights_of(llama), seed=1, size=SIZE))
    huge = scaled(honest.factors, 1.0, magnitude=1e38)
    breaking = Adapter(hotkey="a-breaking", factors=huge, shapes=honest.shapes, norm=honest.norm)
    before = digest_of(weights_of(llama))
    alone, _ = scorer.solos([honest], {}, scorer.looks)
    after, rejected = scorer.solos([breaking, honest], {}, scorer.looks)
    assert rejected["a-breaking"].reason == "broken_loss"
    assert after == alone
    assert digest_of(weights_of(llama)) == before


def test_s5_a_submission_of_nothing_earns_a_little(llama: BaseModel) -> None:
    idle = admitted(llama, "idle", {name: untrained_layer(w) for name, w in weights_of(llama).items()})
    with pytest.raises(RejectedSubmission, match="untrained"):
        check_norm(idle.norm, make_scoring())
    assert pay(scores_of({"honest": 0.1, "idle": 0.0, "harmful": -0.1}, ("honest",))) == {"honest": 1.0}


def test_s6_only_a_miners_own_earlier_file_counts_as_a_copy(fair: Fair) -> None:
    fair.honest("0-copy", seed=1, block=NOW.deadline)
    assert fair.reasons() == {"a1": "", "b2": "", "c3": "", "0-copy": "duplicate"}


@pytest.mark.parametrize("seed", range(10))
def test_s7_the_last_miner_alone_is_merged(seed: int) -> None:
    weights = {"up": torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))}
    adapters = [_toy(f"m{index}", weights, 100 * seed + index) for index in range(4)]
    coefficients = uniform_coefficients(adapters)
    expected = sum(
        c * dora_delta(weights["up"], a.factors["up"], 2.0) for c, a in zip(coefficients, adapters, strict=True)
    )
    torch.testing.assert_close(merge_deltas(weights, adapters, coefficients, 2.0)["up"], expected)


def _toy(hotkey: str, weights: dict[str, Tensor], seed: int) -> Adapter:
    return prepare(hotkey, random_factors(weights, seed=seed), weights, 2.0)


def test_s8_the_base_is_measured_on_other_text_than_the_miners(llama: BaseModel, batches: list[Batch]) -> None:
    """Of an adapter that changes nothing the improvement is nothing, whatever the text."""
    idle = admitted(llama, "idle", {name: untrained_layer(w) for name, w in weights_of(llama).items()})
    for text in (batches[:2], batches[2:4], batches[4:]):
        solo, _ = scorer_of(llama, text).solos([idle], {}, [len(text)])
        assert abs(solo["idle"].improvement.mean) < 1e-5
        assert len(solo["idle"].batch_nats) == len(text)


def test_s9_the_base_is_measured_once_and_not_after_a_release(llama: BaseModel, few: list[Batch]) -> None:
    """A scorer lives for one round and measures the base that it is given."""
    released = capped(llama)
    assert scorer_of(released, few).base_nats == losses(released, few, {})
    assert scorer_of(llama, few).base_nats == losses(llama, few, {})
    assert scorer_of(released, few).base_loss != scorer_of(llama, few).base_loss


def test_s10_the_text_is_the_first_rows_of_a_public_file() -> None:
    domains = ["one", "two"] * 500
    drawn = [set(draw_sequences(f"0x{beacon:064x}", domains, range(1000), [100])[0]) for beacon in range(4)]
    assert all(len(rows - set(range(200))) > 50 for rows in drawn)
    assert all(len(one & other) < 40 for one in drawn for other in drawn if one is not other)


class Wrong(nn.Module):
    """A model that is certain of the wrong token, by a thousand nats, and whose loss breaks on token 5."""

    def forward(self, input_ids: Tensor, **_: object) -> Any:
        logits_BTV = torch.zeros(*input_ids.shape, 8)
        logits_BTV[..., 7] = torch.where(input_ids == 5, math.nan, 1000.0)
        return SimpleNamespace(logits=logits_BTV)

    @property
    def base_model(self) -> nn.Module:
        return self

    def get_output_embeddings(self) -> None:
        return None


WRONG = BaseModel(model=Wrong(), tokenizer=None)


def batch_from(first: int) -> Batch:
    tokens_BT = torch.tensor([[first, 1, 2, 3]])
    return Batch(tokens_BT=tokens_BT, labels_BT=torch.tensor([[1, 2, 3, -100]]), predicted=3, text_bytes=3)


def test_s11_a_large_loss_overflows_in_exp(llama: BaseModel, fair: Fair) -> None:
    found = report(WRONG, [batch_from(0)])
    assert found.loss > 709
    assert math.isfinite(found.perplexity)
    fair.enter("loud", scaled(random_factors(weights_of(llama), seed=9, size=SIZE), 100.0, magnitude=1e4))
    assert fair.reasons()["loud"] in ("ill_conditioned", "norm_too_large")
    exponentials = [path for path in ROOT.glob("validator/*.py") if "math.exp" in path.read_text()]
    assert exponentials == []


def test_s12_batches_that_break_are_left_out() -> None:
    with pytest.raises(RejectedSubmission, match="batch 1 of 3") as caught:
        losses(WRONG, [batch_from(0), batch_from(5), batch_from(0)], {})
    assert caught.value.reason == "broken_loss"


def test_s13_a_round_in_which_nobody_improves_divides_by_zero() -> None:
    assert pay(scores_of({"harmful": -0.1, "idle": 0.0}, ())) == {}
    assert pay(scores_of({}, ())) == {}
    assert completeness_error(0.0, 0.0) == completeness_error(-0.1, -0.2) == 1.0


def test_s14_what_was_scored_can_be_rewritten(fair: Fair, tmp_path: Path) -> None:
    """Only the committed digest is taken, and only at an immutable revision."""
    for moving in ("main", "refs/pr/1", "v1", ""):
        with pytest.raises(NotOnHub, match="immutable"):
            HubClient("http://127.0.0.1:9").fetch("a/b", moving, "w", sha256="", size=1, into=tmp_path / "w")
    later = Remote(size=fair.shelf.revealed("a1/x", _where())[1].size, sha256="0" * 64)  # type: ignore[index]
    fair.shelf.said["a1/x"] = later
    assert fair.reasons()["a1"] == "wrong_digest"
    assert "a1/x" not in fair.shelf.downloads


def _where() -> str:
    return "round-000002/adapter_model.safetensors"


def test_s15_tokens_go_where_strangers_can_take_them(tmp_path: Path) -> None:
    """To the Hub alone: not to where it sends a download, and no stranger's bytes run beside them (s1)."""
    seen = []
    content = b"x" * 100

    def store(peer: Any, head: str) -> None:
        seen.append(head.lower())
        peer.sendall(headers(len(content)) + content)

    with server_that(store) as storage:
        elsewhere = storage.replace("127.0.0.1", "localhost")
        with server_that(lambda peer, _: peer.sendall(headers(0, "302 Found", Location=elsewhere + "/x"))) as url:
            client = HubClient(url, token="hf_secret")
            assert client.read_bytes("alice/x", "a" * 40, "w", max_bytes=100) == content
    assert len(seen) == 1
    assert "hf_secret" not in seen[0]


def test_s16_an_unknown_validator_copies_the_weights_of_another() -> None:
    """Weights follow from a validator's own receipt: nothing in its package reads the chain's."""
    assert not {name for name in names_in("validator") if name in ("metagraph.weights", "ledger.weights")}
    assert "metagraph.weights" in names_in("averager")


def test_s17_a_node_updates_itself_from_a_repository() -> None:
    """No role starts a process or installs anything; the demo alone does, and for its base model."""
    starting = {
        path.relative_to(ROOT).as_posix()
        for folder in ("hivetune", "chain", "hub", "miner", "validator", "averager", "neurons")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and {alias.name for alias in node.names} & {"subprocess", "git", "pip"}
    }
    assert starting == {"neurons/localnet/downloads.py", "neurons/localnet/processes.py"}
    assert not {name for name in names_in("neurons") if name.startswith(("os.exec", "os.system", "os.popen"))}


def test_s18_deltas_are_paired_with_parameters_by_their_order() -> None:
    weights = {"up": torch.ones(6, 5), "down": 2 * torch.ones(6, 5)}
    adapters = [_toy(f"m{index}", weights, index) for index in range(3)]
    shuffled = [replace(a, factors=dict(reversed(a.factors.items()))) for a in adapters]
    coefficients = uniform_coefficients(adapters)
    found = merge_deltas(weights, adapters, coefficients, 2.0)
    again = merge_deltas(weights, shuffled, coefficients, 2.0)
    assert all(torch.equal(found[name], again[name]) for name in weights)
    assert float(found["up"].norm()) > 0


def test_s19_a_newcomer_inherits_the_score_of_its_uid() -> None:
    """Whoever was registered at the deadline is judged, by hotkey; who left is not, and leaves nothing behind."""
    metagraph = make_metagraph({"validator": 1}, {})
    newcomer = make_neuron(2, "newcomer", 0, permit=False)
    metagraph = replace(metagraph, neurons=(*metagraph.neurons[:2], newcomer, *metagraph.neurons[3:]))
    commitments = {hotkey: OnChain(NOW.first_block, b"") for hotkey in ("m-a", "m-b")}
    assert set(submissions_of_round(metagraph, commitments, NOW)) == {"m-b"}
    entered = submissions_of_round(metagraph, commitments | {"newcomer": OnChain(NOW.first_block, b"")}, NOW)
    assert set(entered) == {"newcomer", "m-b"}


def test_s20_validators_vote_by_heads_and_not_by_stake() -> None:
    votes = {"large": {"m-a": 65535}} | {f"small-{index}": {"m-b": 65535} for index in range(9)}
    stakes = {"large": 1000} | {f"small-{index}": 100 for index in range(9)}
    assert approved_hotkeys(make_metagraph(stakes, votes), 50) == ["m-a"]
