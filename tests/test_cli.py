"""Bad input at the command line: one clear line on stderr, exit code 2, no traceback."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import Result

from chain.devnode.server import RunningDevnode, running_devnode
from chain.keys import create_wallet, keypair_from_uri
from chain.subnet_admin import SubnetAdmin
from hivetune.settings import HUB_TOKEN_VARIABLE
from hub.server.app import running_hub
from hub.server.tokens import mint_token
from tests import command_line
from tests.command_line import fails_clearly

NOBODY = "127.0.0.1:9"  # the discard port: nothing listens there


@dataclass(frozen=True, kw_only=True)
class Place:
    """A chain with one subnet, a Hub, and a registered wallet."""

    chain: RunningDevnode
    hub: str
    wallets: Path
    token: str
    netuid: int


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    owner = create_wallet(folder / "wallets", "owner", password=None, unencrypted=True)
    create_wallet(folder / "wallets", "stranger", password=None, unencrypted=True)
    with running_devnode(folder / "chain.sqlite", block_time_s=0.05) as chain, running_hub(folder / "hub") as hub:
        admin = SubnetAdmin(chain.url, keypair_from_uri("//Alice"))
        netuid = admin.register_network(owner.hotkey)
        admin.close()
        token = mint_token(folder / "hub", "owner")
        yield Place(chain=chain, hub=hub.url, wallets=folder / "wallets", token=token, netuid=netuid)


def run(*arguments: str, token: str | None = None) -> Result:
    return command_line.run(*arguments, env={} if token is None else {HUB_TOKEN_VARIABLE: token})


def node(place: Place, **changes: object) -> list[str]:
    flags = {
        "network": place.chain.url,
        "netuid": place.netuid,
        "hub": place.hub,
        "wallet": "owner",
        "wallet-path": place.wallets,
        "state": place.wallets.parent / "state",
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return ["--allow-unlocked-coldkey", *(f"--{name}={value}" for name, value in flags.items())]


@pytest.mark.parametrize("role", ["miner", "validator", "averager"])
def test_a_missing_wallet_is_named(place: Place, role: str) -> None:
    fails_clearly(run(role, *node(place, wallet="absent"), token=place.token), "absent", "owner")


def test_a_missing_hotkey_is_named(place: Place) -> None:
    fails_clearly(run("miner", *node(place, wallet_hotkey="absent"), token=place.token), "absent")


def test_a_chain_that_is_down_is_named(place: Place) -> None:
    fails_clearly(run("miner", *node(place, network=f"ws://{NOBODY}"), token=place.token), f"ws://{NOBODY}")


def test_a_hub_that_is_down_is_named(place: Place) -> None:
    fails_clearly(run("miner", *node(place, hub=f"http://{NOBODY}"), token=place.token), NOBODY)


def test_a_missing_token_names_its_variable(place: Place) -> None:
    fails_clearly(run("validator", *node(place)), HUB_TOKEN_VARIABLE)


def test_a_wrong_token_is_refused(place: Place) -> None:
    fails_clearly(run("validator", *node(place), token="hf_wrong"), "token")


def test_an_unknown_netuid_lists_those_there(place: Place) -> None:
    fails_clearly(run("miner", *node(place, netuid=77), token=place.token), "77", str(place.netuid))


def test_an_unregistered_hotkey_says_how_to_register(place: Place) -> None:
    fails_clearly(run("miner", *node(place, wallet="stranger"), token=place.token), "not registered", "subnet register")


@pytest.mark.parametrize("role", ["miner", "validator", "averager"])
def test_a_node_refuses_to_start_beside_an_unlocked_coldkey(place: Place, role: str) -> None:
    flags = [flag for flag in node(place) if flag != "--allow-unlocked-coldkey"]
    fails_clearly(run(role, *flags, token=place.token), "owner/coldkey is not encrypted", "--allow-unlocked-coldkey")


@pytest.mark.parametrize("content", [b"$NACL" + bytes(90), None])
def test_an_encrypted_coldkey_or_none_is_no_reason_to_refuse(
    place: Place, tmp_path: Path, content: bytes | None
) -> None:
    create_wallet(tmp_path, "stranger", password=None, unencrypted=True)
    coldkey = tmp_path / "stranger" / "coldkey"
    coldkey.unlink()
    if content is not None:
        coldkey.write_bytes(content)
    flags = [flag for flag in node(place, wallet="stranger", wallet_path=tmp_path) if "unlocked" not in flag]
    fails_clearly(run("miner", *flags, token=place.token), "not registered")


def test_an_averager_without_a_release_says_so(place: Place) -> None:
    fails_clearly(run("averager", *node(place), token=place.token), "no release")


@pytest.mark.parametrize(
    ("setting", "value", "word"),
    [
        ("network", "http://x", "network"),
        ("netuid", "70000", "netuid"),
        ("hub", "ftp://x", "hub"),
        ("threads", "-1", "thr"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(place: Place, setting: str, value: str, word: str) -> None:
    fails_clearly(run("miner", *node(place, **{setting: value}), token=place.token), word, value)


def test_a_settings_file_is_read_below_the_flags(place: Place, tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text(f'wallet = "absent"\nnetuid = {place.netuid}\nsteps = 5\n')
    flags = [flag for flag in node(place) if not flag.startswith("--wallet=")]
    fails_clearly(run("miner", f"--config={config}", *flags, token=place.token), "absent")


@pytest.mark.parametrize("content", ["steps = 'many'", "unknown = 1", "not toml", "steps = 0"])
def test_a_bad_settings_file_is_named(place: Place, tmp_path: Path, content: str) -> None:
    config = tmp_path / "node.toml"
    config.write_text(content)
    fails_clearly(run("miner", f"--config={config}", *node(place), token=place.token), "setting")


def test_an_unreadable_data_set_is_named(tmp_path: Path, place: Place) -> None:
    missing = tmp_path / "missing.jsonl"
    base = tmp_path / "base"
    base.mkdir()
    result = run("demo", f"--corpus={missing}", f"--base={base}", f"--cache={tmp_path}", f"--folder={tmp_path / 'n'}")
    fails_clearly(result, str(missing))


def test_too_little_text_for_the_shards_says_how_much_there_is(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for number in range(8):
        (text / f"{number}.txt").write_text(f"page {number} " * 100)
    base = tmp_path / "base"
    base.mkdir()
    result = run("demo", f"--corpus={text}", f"--base={base}", f"--cache={tmp_path}", f"--folder={tmp_path / 'n'}")
    fails_clearly(result, "characters")


def test_a_base_that_is_no_model_is_named(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for number in range(60):
        (text / f"{number}.txt").write_text(" ".join(f"word{number}x{index}" for index in range(900)))
    base = tmp_path / "base"
    base.mkdir()
    result = run("demo", f"--corpus={text}", f"--base={base}", f"--cache={tmp_path}", f"--folder={tmp_path / 'n'}")
    fails_clearly(result, str(base), "model")


def test_rewards_of_a_chain_that_is_down_or_a_hotkey_unknown(place: Place) -> None:
    fails_clearly(run("rewards", f"--network=ws://{NOBODY}", "--netuid=1"), NOBODY)
    fails_clearly(run("rewards", f"--network={place.chain.url}", f"--netuid={place.netuid}", "--hotkey=5X"), "5X")


def test_rewards_show_every_neuron_as_json(place: Place) -> None:
    result = run("rewards", f"--network={place.chain.url}", f"--netuid={place.netuid}", "--json")
    assert result.exit_code == 0, result.output
    assert '"role": "owner"' in result.output


def test_sudo_is_needed_to_set_a_tempo(place: Place) -> None:
    options = [f"--network={place.chain.url}", f"--hub={place.hub}", "--wallet=owner", f"--wallet-path={place.wallets}"]
    result = run("subnet", "create", *options, "--base=x", "--corpus=y", "--tempo=100", token=place.token)
    fails_clearly(result, "--sudo")


def test_bad_endowments_are_named(tmp_path: Path) -> None:
    fails_clearly(run("chain", "serve", f"--state={tmp_path / 'c'}", "--endow=5X=many"), "5X=many")


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["miner"], ["hub", "serve"], ["subnet", "set"], ["stake", "add"], ["rewards"]]
)
def test_every_command_has_help(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "--help" in result.output
