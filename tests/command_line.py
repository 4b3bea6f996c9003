"""Running `hivetune` in tests, without what the developer's own environment says."""

import json
from collections.abc import Mapping
from typing import Any

from click.testing import CliRunner, Result

from hivetune.settings import HUB_TOKEN_VARIABLE, VARIABLES
from neurons.cli import main
from neurons.passwords import PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE

CLEARED = {
    name: None
    for name in (
        HUB_TOKEN_VARIABLE,
        PASSWORD_VARIABLE,
        PASSWORD_FILE_VARIABLE,
        *(variable for variables in VARIABLES.values() for variable in variables),
    )
}


def run(*arguments: object, env: Mapping[str, str] | None = None, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], env={**CLEARED, **(env or {})}, input=stdin)


def succeeds(*arguments: object, env: Mapping[str, str] | None = None, stdin: str | None = None) -> str:
    """What a command prints; it fits 80 columns and is not cut."""
    result = run(*arguments, env=env, stdin=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    if "--json" not in arguments:
        assert max(map(len, result.stdout.splitlines())) <= 80, result.stdout
        assert "…" not in result.stdout
    return result.stdout


def read_json(*arguments: object, env: Mapping[str, str] | None = None, stdin: str | None = None) -> Any:
    return json.loads(succeeds(*arguments, "--json", env=env, stdin=stdin))


def fails_clearly(result: Result, *words: str) -> None:
    """Exit code 2, and the last line of stderr says what was wrong."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert "Traceback" not in result.output
    last = result.stderr.strip().splitlines()[-1]
    for word in words:
        assert word in last, last
