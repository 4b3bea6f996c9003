"""The documents say what the code does: commands, reasons, record fields and links."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from hivetune import records
from neurons.cli import main

ROOT = Path(__file__).parent.parent
PACKAGES = ("hivetune", "chain", "hub", "miner", "validator", "averager", "neurons")
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def leaf_commands(group: click.Group = main, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    found: dict[tuple[str, ...], click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= leaf_commands(command, (*path, name))
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found[*path, name] = command
    return found


def shown_commands(text: str) -> list[list[str]]:
    """Words after `hivetune` on the lines of shell blocks."""
    blocks = [body for language, body in FENCE.findall(text) if language in ("sh", "bash", "console", "shell", "")]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    calls = [match for line in lines if (match := re.match(r"(?:\$ )?(?:\w+=\S+ )*hivetune (.+)", line.strip()))]
    return [shlex.split(call[1], comments=True) for call in calls]


def mentioned_commands(text: str) -> list[list[str]]:
    """Words after `hivetune` in inline code; only names are to be checked, required flags may be missing."""
    return [shlex.split(call) for call in re.findall(r"`hivetune ([^`\n]+)`", FENCE.sub("", text))]


def parse(words: list[str]) -> None:
    path, command = find(words)
    if isinstance(command, click.Group) and not command.invoke_without_command:
        assert set(words[len(path) :]) <= {"--help", "-h", "--version"}
    elif not {"--help", "-h"} & set(words):
        command.make_context(path[-1], words[len(path) :])


def find(words: list[str]) -> tuple[list[str], click.Command]:
    command: click.Command = main
    path: list[str] = []
    for word in words:
        if not isinstance(command, click.Group) or word.startswith("-"):
            break
        assert word in command.commands, f"no command hivetune {' '.join([*path, word])}"
        command = command.commands[word]
        path.append(word)
    return path, command


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_shown_exists_with_its_flags(document: Path) -> None:
    text = document.read_text()
    for words in shown_commands(text):
        parse(words)
    for words in mentioned_commands(text):
        command = find(words)[1]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h", "--version"}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known


def test_the_operations_guide_shows_every_command() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    shown = [find(words)[0] for words in (*shown_commands(text), *mentioned_commands(text))]
    missing = [path for path in leaf_commands() if list(path) not in shown and path != ("demo",)]
    assert not missing
    assert "`make demo`" in text


def reason_table(heading: str) -> set[str]:
    table = PROTOCOL.split(f"\n| {heading} | meaning |\n")[1].split("\n\n")[0]
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def syntax_trees() -> Iterator[ast.Module]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            yield ast.parse(path.read_text())


def calls_of(name: str) -> Iterator[ast.Call]:
    for tree in syntax_trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == name:
                yield node


def words(nodes: list[Any]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def reasons_by_table() -> set[str]:
    """Reasons that are looked up: the values of dictionaries named ..._REASONS."""
    assigned = [
        node
        for tree in syntax_trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
    ]
    tables = [
        node for node in assigned if any(getattr(target, "id", "").endswith("_REASONS") for target in node.targets)
    ]
    return {word for node in tables for word in words(node.value.values)}


def test_rejections_in_the_code_are_those_in_the_protocol() -> None:
    literal = words([call.args[0] for call in calls_of("RejectedSubmission") if call.args])
    assert literal | reasons_by_table() == reason_table("rejected")


def test_unpaid_reasons_in_the_code_are_those_in_the_protocol() -> None:
    tuples = [
        node
        for tree in syntax_trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Tuple) and len(node.elts) == 3 and words([node.elts[0]]) == {"unpaid"}
    ]
    assert words([found.elts[1] for found in tuples]) == reason_table("unpaid")


def test_reasons_for_no_release_in_the_code_are_those_in_the_protocol() -> None:
    literal = {word for call in calls_of("_publish_nothing") for word in words(call.args)}
    assert literal == reason_table("no release")


@pytest.mark.parametrize("record", records.Record.__subclasses__(), ids=lambda record: record.__name__)
def test_the_protocol_names_every_field_of_a_record(record: type[records.Record]) -> None:
    section = PROTOCOL.split("\n## Records\n")[1].split("\n## ")[0]
    start = re.search(rf"(\*\*`{record.__name__}`\*\*|\| `{record.__name__}` \|)", section)
    assert start is not None, f"docs/protocol.md does not describe {record.__name__}"
    paragraph = section[start.end() :].split("\n\n")[0]
    described = paragraph.split("\n")[0] if start[0].startswith("|") else paragraph
    missing = [name for name in record.model_fields if f"`{name}`" not in described]
    assert not missing


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", document.read_text())):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (document.parent / file).resolve() if file else document
        assert path.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(path), f"{target}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_named_in_documents_exist(document: Path) -> None:
    """Paths in backquotes that begin with a folder of the repository; `*` stands for any name."""
    folders = "|".join((*PACKAGES, "docs", "docker", "tests", "benchmarks"))
    for path in re.findall(rf"`((?:{folders})/[\w./*-]*)`", document.read_text()):
        assert list(ROOT.glob(path.rstrip("/"))), f"{document.name}: {path} does not exist"
