"""Where secrets come from: variables that Bittensor's tools read too, or a person at a terminal; never a flag."""

import base64
import binascii
import os
import sys
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import click

from chain.keys import ColdkeyState, Keypair, load_coldkey, read_wallet, wallet_folder
from hivetune.errors import ConfigError

PASSWORD_VARIABLE = "BT_WALLET_PASSWORD"
PASSWORD_FILE_VARIABLE = "BT_WALLET_PASSWORD_FILE"


def unlock_coldkey(root: Path, wallet: str, environment: Mapping[str, str] = os.environ) -> Keypair:
    """The coldkey; its password is looked for when the file is encrypted."""
    if read_wallet(root, wallet).coldkey_state is not ColdkeyState.ENCRYPTED:
        return load_coldkey(root, wallet, password=None)
    password = find_password(root, wallet, environment)
    if password is None:
        password = _ask(f"Password of {wallet}", root, wallet, confirm=False)
    return load_coldkey(root, wallet, password=password)


def new_password(root: Path, wallet: str, environment: Mapping[str, str] = os.environ) -> str:
    """The password for a coldkey that is about to be written."""
    password = find_password(root, wallet, environment)
    return _ask(f"Password for {wallet}", root, wallet, confirm=True) if password is None else password


def find_password(root: Path, wallet: str, environment: Mapping[str, str]) -> str | None:
    """From BT_WALLET_PASSWORD, else the wallet's own variable, else the file that BT_WALLET_PASSWORD_FILE names."""
    if environment.get(PASSWORD_VARIABLE):
        return environment[PASSWORD_VARIABLE]
    own = own_variable(root, wallet)
    if environment.get(own):
        return unmask(own, environment[own])
    file = environment.get(PASSWORD_FILE_VARIABLE)
    if not file:
        return None
    try:
        return Path(file).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{PASSWORD_FILE_VARIABLE}: cannot read {file}: {error}") from None


def own_variable(root: Path, wallet: str) -> str:
    """The variable of one key file, as Bittensor names it."""
    path = str(wallet_folder(root, wallet) / "coldkey")
    return f"BT_PW_{path.replace(os.sep, '_').replace('.', '_').upper()}"


def unmask(variable: str, text: str) -> str:
    """What Bittensor stored in a key file's variable: base64 of the password, xored with the variable's name."""
    try:
        masked = base64.b64decode(text, validate=True)
        return bytes(one ^ other for one, other in zip(masked, cycle(variable.encode()), strict=False)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ConfigError(f"{variable} is not what Bittensor's save_password_to_env stores there") from None


def read_phrase() -> str:
    """A recovery phrase, typed unseen at a terminal or the first line of the standard input."""
    if sys.stdin.isatty():
        return str(click.prompt("Recovery phrase", hide_input=True))
    return sys.stdin.readline()


def _ask(prompt: str, root: Path, wallet: str, *, confirm: bool) -> str:
    if not sys.stdin.isatty():
        names = f"{PASSWORD_VARIABLE}, {PASSWORD_FILE_VARIABLE} or {own_variable(root, wallet)}"
        raise ConfigError(f"the coldkey of {wallet!r} needs a password: set {names}, or run this at a terminal")
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm))
