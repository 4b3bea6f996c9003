"""Write and read tokens, one owner each; only their hashes are stored."""

import hashlib
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hivetune.errors import ConfigError
from hub.server.database import Database
from hub.server.errors import invalid_credentials
from hub.server.names import is_name

Role = Literal["read", "write"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who sent a request; `owner` is None for a request without a token."""

    owner: str | None
    may_write: bool

    def owns(self, owner: str) -> bool:
        return self.owner is not None and self.owner.lower() == owner.lower()


ANONYMOUS = Caller(owner=None, may_write=False)


def mint_token(root: Path, owner: str, *, role: Role = "write", token: str | None = None) -> str:
    """Return a token for `owner`; works before the server starts and while it runs. A given token is taken as it is."""
    if not is_name(owner):
        raise ConfigError(f"Hub owner {owner!r}: want letters, digits, '.', '_' and '-', at most 96")
    if role not in ("read", "write"):
        raise ConfigError(f"token role {role!r}: want read or write")
    minted = token if token is not None else f"hf_{secrets.token_urlsafe(32)}"
    if not minted or not minted.isascii() or any(char.isspace() for char in minted):
        raise ConfigError("a token must be ASCII without spaces")
    with closing(Database(root)) as database, database.writing() as connection:
        connection.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?)", (_hashed(minted), owner, role))
    return minted


def identify(connection: sqlite3.Connection, authorization: str | None) -> Caller:
    """The caller behind an Authorization header; a wrong token is an error, not an anonymous caller."""
    if authorization is None:
        return ANONYMOUS
    scheme, _, token = authorization.partition(" ")
    row = connection.execute("SELECT owner, role FROM tokens WHERE hash = ?", (_hashed(token),)).fetchone()
    if scheme.lower() != "bearer" or row is None:
        raise invalid_credentials()
    return Caller(owner=row["owner"], may_write=row["role"] == "write")


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
