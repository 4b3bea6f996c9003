"""The container files fit the command line and the tree; no Docker engine is needed."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from averager.settings import AveragerSettings
from miner.settings import MinerSettings
from neurons.cli import main
from validator.settings import ValidatorSettings

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCRIPTS = sorted(DOCKER.glob("*.sh"))
NODES = {"miner": MinerSettings, "validator": ValidatorSettings, "averager": AveragerSettings}


def parsed(words: list[str]) -> tuple[str, click.Context]:
    """The command that these words of a command line lead to, and its flags; click refuses what it does not know."""
    command: click.Command = main
    path: list[str] = []
    while isinstance(command, click.Group) and len(path) < len(words) and words[len(path)] in command.commands:
        command = command.commands[words[len(path)]]
        path.append(words[len(path)])
    return " ".join(path), command.make_context(path[-1], words[len(path) :])


def commands_of(script: Path) -> list[list[str]]:
    lines = script.read_text().replace("\\\n", " ").splitlines()
    calls = [match for line in lines if (match := re.match(r"\s*(?:exec )?hivetune (.+)", line))]
    return [[word for word in shlex.split(call[1].split(" > ")[0]) if word != "$@"] for call in calls]


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "entrypoint" not in service])
def test_every_service_runs_a_command_that_exists(name: str) -> None:
    command, context = parsed(SERVICES[name]["command"])
    if command in NODES:
        context.params.pop("config")
        NODES[command].load(None, context.params)


@pytest.mark.parametrize(
    "script", [path for path in SCRIPTS if path.name != "entrypoint.sh"], ids=lambda path: path.name
)
def test_every_script_runs_commands_that_exist(script: Path) -> None:
    commands = commands_of(script)
    assert commands
    for words in commands:
        parsed(words)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_valid_shell_that_stops_at_errors_and_can_be_run(script: Path) -> None:
    subprocess.run([shutil.which("sh") or "sh", "-n", str(script)], check=True)
    assert "set -eu" in script.read_text()
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_needs_services_that_can_meet_its_condition(name: str) -> None:
    for needed, rule in SERVICES[name].get("depends_on", {}).items():
        if rule["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[needed]
        else:
            assert rule["condition"] == "service_completed_successfully"
            assert "restart" not in SERVICES[needed], "a job that is restarted never completes"


def test_volumes_are_declared_used_and_made_for_the_user_who_writes_them() -> None:
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", [])]
    assert {name for name, *_ in mounts} == set(COMPOSE["volumes"])
    made = re.search(r"install -d -o hivetune (.+)", (DOCKER / "Dockerfile").read_text())
    assert made is not None
    assert {path for _, path, *_ in mounts} == set(made[1].split())


def test_every_node_has_a_token_of_its_own_and_the_jobs_make_its_wallet() -> None:
    nodes = {
        name: service for name, service in SERVICES.items() if service["command"][:1] and service["command"][0] in NODES
    }
    wallets = {name: parsed(service["command"])[1].params["wallet"] for name, service in nodes.items()}
    assert len(set(wallets.values())) == len(nodes) == 5
    for name, wallet in wallets.items():
        assert nodes[name]["environment"] == {"WALLET": wallet, "HIVETUNE_HUB_TOKEN_FILE": f"tokens/{wallet}"}
    assert set(wallets.values()) == set(SERVICES["wallets"]["command"])


def test_the_image_copies_files_that_exist_and_every_package() -> None:
    lines = re.findall(r"^COPY (.+)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in lines for source in line.split()[:-1]}
    assert all((ROOT / source).exists() for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= sources
    let_in = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert all(f"!{source}" in let_in or source.startswith("docker/") for source in sources)


def test_the_image_has_every_script_runs_as_a_user_and_starts_the_command_line() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert all(f"docker/{script.name}" in text for script in SCRIPTS)
    assert text.index("\nUSER hivetune") < text.index("\nENTRYPOINT")
    assert 'exec hivetune "$@"' in (DOCKER / "entrypoint.sh").read_text()
