"""The whole network as processes on a tiny model: rounds with cheaters, kills in every phase, the result file."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers

from hivetune.rounds import Phase
from neurons.localnet.drive import Driver, Moment
from neurons.localnet.options import DemoOptions
from neurons.localnet.processes import Member, Network
from neurons.localnet.setup import Localnet, build
from neurons.results import RoundResult

WORDS = "the miner trains a small adapter on its shard and commits the digest before the deadline"
FULL_MATRIX = "HIVETUNE_FULL_MATRIX"
WASM_VARIABLE = "SUBTENSOR_RUNTIME_WASM"


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama over bytes: small enough that a round takes seconds."""
    folder = tmp_path_factory.mktemp("base")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate([*alphabet, "<end>"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        vocab_size=257,
        max_position_embeddings=256,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight topics of word salad, each with its own letters, as a folder of text files."""
    folder = tmp_path_factory.mktemp("text")
    generator = random.Random(0)
    for topic in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"):
        (folder / topic).mkdir()
        for page in range(30):
            words = (generator.choice([*WORDS.split(), topic]) for _ in range(250))
            (folder / topic / f"{page}.txt").write_text(" ".join(words))
    return folder


def options(tiny_base: Path, text: Path, folder: Path, **changes: object) -> DemoOptions:
    """A demo that fits a test."""
    small = {
        "base": str(tiny_base),
        "corpus": str(text),
        "steps": 25,
        "sequence_length": 64,
        "learning_rate": 3e-3,
        "score_sequences": 32,
        "precision": "float32",
        "folder": folder / "net",
        "cache": folder / "cache",
    }
    return DemoOptions.model_validate(small | changes)


def demo_command(chosen: DemoOptions) -> list[str]:
    """The demo as a user starts it."""
    values = chosen.model_dump(exclude={"json_path"}, exclude_defaults=True) | (
        {"json": chosen.json_path} if chosen.json_path else {}
    )
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
    return [sys.executable, "-u", "-m", "neurons.cli", "demo", *flags]


def test_the_network_runs_on_the_real_runtime(tiny_base: Path, text: Path, tmp_path: Path) -> None:
    """Two rounds with miners, validators and averager; the chain is Subtensor itself."""
    wasm = os.environ.get(WASM_VARIABLE, "")
    if not wasm:
        pytest.skip(f"set {WASM_VARIABLE} to a Subtensor runtime's wasm to run the network on it")
    pytest.importorskip("wasmtime", reason="the runtime's host needs the extra `runtime`")
    from tools.substrate_host.running import running_substrate_host

    with running_substrate_host(Path(wasm), block_time_s=1.0) as host:
        chosen = options(tiny_base, text, tmp_path, json_path=tmp_path / "result.json", chain_url=host.url)
        result = play_demo(chosen)
    assert len(result["rounds"]) == 2
    for one in result["rounds"]:
        assert one["validators_agree"]
        assert one["release"]["published"]
        earned = {submission["role"]: submission["emission"] for submission in one["submissions"]}
        assert earned["miner"] > 0
        assert earned["free-rider"] == earned["copier"] == 0


def play_demo(chosen: DemoOptions) -> dict[str, Any]:
    """The result file of a whole demo."""
    assert chosen.json_path is not None
    run = subprocess.run(demo_command(chosen), capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert not _running(chosen.folder), "the demo left processes behind"
    result: dict[str, Any] = json.loads(chosen.json_path.read_text())
    return result


def test_two_rounds_pay_the_honest_and_neither_the_free_rider_nor_the_copier(
    tiny_base: Path, text: Path, tmp_path: Path
) -> None:
    result = play_demo(options(tiny_base, text, tmp_path, json_path=tmp_path / "result.json"))
    assert len(result["rounds"]) == 2
    for number, one in enumerate(result["rounds"]):
        assert one["round"] == number
        assert one["validators_agree"]
        by_role = {submission["role"]: submission for submission in one["submissions"]}
        honest = [submission for submission in one["submissions"] if submission["role"] == "miner"]
        assert len(one["submissions"]) == 4
        assert all(submission["verdict"] == "paid" and submission["lower"] > 0 for submission in honest)
        assert all(submission["emission"] > 0 for submission in honest)
        assert sum(submission["weight"] for submission in honest) == pytest.approx(1.0)
        assert (by_role["free-rider"]["reason"], by_role["free-rider"]["emission"]) == ("untrained", 0)
        assert (by_role["copier"]["reason"], by_role["copier"]["emission"]) == ("wrong_owner", 0)
        assert abs(one["completeness_error"]) < 0.02
        assert one["release"]["published"]
        assert one["release"]["lower"] > 0
        assert set(one["seconds"]) == {phase.value for phase in Phase}
    final = result["final"]
    assert final["loss_after"] < final["loss_before"]
    assert final["lower"] > 0
    earned = {result["roles"][hotkey]: amount for hotkey, amount in result["rewards"].items()}
    assert earned["free-rider"] == earned["copier"] == earned["averager"] == 0
    assert earned["validator"] > 0


def test_interrupted_demo_ends_every_process(tiny_base: Path, text: Path, tmp_path: Path) -> None:
    chosen = options(tiny_base, text, tmp_path, miners=1, validators=1)
    with subprocess.Popen(demo_command(chosen), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "creating the subnet" in line:
                demo.send_signal(signal.SIGINT)
                break
        rest = demo.communicate(timeout=60)[0]
    assert demo.returncode == 130, rest
    assert "Traceback" not in rest
    assert not _running(tmp_path / "net")


@pytest.fixture
def localnet(tiny_base: Path, text: Path, tmp_path: Path) -> Iterator[Localnet]:
    """A running network of two honest miners with topics of their own, one validator and the averager."""
    chosen = options(tiny_base, text, tmp_path, miners=2, validators=1, shards="domains")
    with _network() as network:
        yield build(chosen, network, lambda _: None)


@contextmanager
def _network() -> Iterator[Network]:
    network = Network()
    try:
        yield network
    finally:
        network.stop()


class Killer:
    """Kills processes with SIGKILL when their phase comes, and starts them again at once."""

    def __init__(self, localnet: Localnet, plan: dict[tuple[int, Phase], str]) -> None:
        self._members = {member.name: member for member in localnet.network.members}
        self._plan = dict(plan)
        self.killed: list[str] = []

    def moment(self, moment: Moment) -> None:
        if moment.now is None:
            return
        name = self._plan.pop((moment.now.round_id, Phase(moment.phase)), None)
        if name is not None:
            kill_and_restart(self._members[name])
            self.killed.append(f"{name} in {moment.phase}")


def kill_and_restart(member: Member) -> None:
    assert member.process is not None
    member.process.kill()
    member.process.wait()
    member.start()


def kill_plan() -> dict[tuple[int, Phase], str]:
    """One kill a phase. By default each process dies once or more; the whole matrix of 20 takes five rounds."""
    names = ["miner-1", "hub", "validator-1", "averager", "chain"]
    rounds = len(names) if os.environ.get(FULL_MATRIX) else 2
    phases = list(Phase)
    shift = [2, 0] if rounds == 2 else range(rounds)
    return {
        (round_id, phase): names[(index + shift[round_id]) % len(names)]
        for round_id in range(rounds)
        for index, phase in enumerate(phases)
    }


def test_any_process_killed_in_any_phase_comes_back_and_the_next_round_completes(localnet: Localnet) -> None:
    plan = kill_plan()
    killer = Killer(localnet, plan)
    results: list[RoundResult] = []
    rounds = 1 + max(round_id for round_id, _ in plan)
    Driver(localnet=localnet, show=killer.moment).play(rounds + 1, results.append)
    assert len(killer.killed) == len(plan)
    clean = results[-1]
    assert clean.release.published, results
    assert [submission.verdict for submission in clean.submissions] == ["paid", "paid"]
    assert len({submission.shard for submission in clean.submissions}) == 2
    assert clean.completeness_error == pytest.approx(0, abs=0.02)
    published = sum(result.release.published for result in results)
    assert repeated(localnet, "release", "verify", str(published), "--threads=3")["same"]
    told = repeated(localnet, "rewards", "explain")
    assert [one["weight"] for one in told] == [submission.weight for submission in clean.submissions]
    assert [one["emission"] for one in told] == [submission.emission for submission in clean.submissions]
    assert all(one["otherwise"]["weight"] > one["weight"] > 0 and one["checks"][-1]["passed"] for one in told)
    decisions = {one["name"]: one for one in repeated(localnet, "validator", "power", "--delta=0.002")["decisions"]}
    assert 0 < decisions["credit in the merge"]["tokens"] < decisions["a loss without a pair"]["tokens"]
    assert repeated(localnet, "receipt", "verify", "--threads=3") | {"validator": ""} == {
        "validator": "",
        "round": clean.round,
        "receipts_in_chain": 1,
        "entries": 2,
        "batches": 16,
        "batches_in_all": 16,
        "not_repeatable": 0,
        "earlier_missing": 0,
        "earlier_gone": 0,
        "true": True,
    }


def repeated(localnet: Localnet, *words: str) -> Any:
    """What a command says that anybody can run, in another process."""
    command = [sys.executable, "-m", "neurons.cli", *words, "--json"]
    place = [f"--network={localnet.chain.url}", f"--netuid={localnet.ledger.netuid}", f"--hub={localnet.hub.url}"]
    run = subprocess.run([*command, *place], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def _running(folder: Path) -> list[str]:
    """Command lines of processes that name a folder."""
    found = []
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else []:
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
        if str(folder) in command and "pytest" not in command:
            found.append(command)
    return found
