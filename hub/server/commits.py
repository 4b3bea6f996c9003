"""Commits, trees and refs in SQLite: reading a revision and writing the next one."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Literal

from hub.server.errors import HubError, revision_not_found
from hub.server.gitobjects import Entry, commit_id, folder_ids
from hub.server.names import is_commit

RefKind = Literal["branch", "tag"]

_REF_PREFIX = {"branch": "refs/heads/", "tag": "refs/tags/"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    oid: str
    tree: str
    author: str
    title: str
    message: str
    date: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ref:
    kind: RefKind
    name: str
    ref: str
    oid: str


def resolve(connection: sqlite3.Connection, repo_id: int, revision: str) -> Commit:
    """A commit by its id, branch, tag or full ref."""
    if is_commit(revision):
        row = connection.execute("SELECT * FROM commits WHERE repo = ? AND oid = ?", (repo_id, revision)).fetchone()
    else:
        names = (f"refs/heads/{revision}", f"refs/tags/{revision}", revision)
        row = connection.execute(
            "SELECT c.* FROM refs r JOIN commits c ON c.repo = r.repo AND c.oid = r.oid "
            "WHERE r.repo = ? AND r.ref IN (?, ?, ?) ORDER BY r.ref LIMIT 1",
            (repo_id, *names),
        ).fetchone()
    if row is None:
        raise revision_not_found(revision)
    return _commit(row)


def branch_head(connection: sqlite3.Connection, repo_id: int, branch: str) -> Commit:
    """Only a branch can be committed to, not a tag or a commit of the same name."""
    return resolve(connection, repo_id, _REF_PREFIX["branch"] + branch)


def read_files(connection: sqlite3.Connection, commit: Commit) -> dict[str, Entry]:
    row = connection.execute("SELECT body FROM trees WHERE oid = ?", (commit.tree,)).fetchone()
    return {
        path: Entry(oid=oid, sha256=sha256, size=size, lfs=lfs)
        for path, (oid, sha256, size, lfs) in json.loads(row["body"]).items()
    }


def history(connection: sqlite3.Connection, repo_id: int, revision: str) -> list[Commit]:
    """Newest first."""
    rows = connection.execute(
        """WITH RECURSIVE line(oid, depth) AS (
               SELECT ?1, 0
               UNION ALL
               SELECT c.parent, depth + 1 FROM commits c JOIN line ON c.oid = line.oid
               WHERE c.repo = ?2 AND c.parent IS NOT NULL)
           SELECT c.* FROM line JOIN commits c ON c.oid = line.oid AND c.repo = ?2 ORDER BY depth""",
        (resolve(connection, repo_id, revision).oid, repo_id),
    ).fetchall()
    return [_commit(row) for row in rows]


def write_commit(
    connection: sqlite3.Connection,
    *,
    repo_id: int,
    files: Mapping[str, Entry],
    parent: str | None,
    author: str,
    title: str,
    message: str,
    branch: str,
) -> str:
    """Add a commit and move the branch to it; the caller holds the write transaction."""
    tree = folder_ids(files)[""]
    now = datetime.now(UTC)
    oid = commit_id(
        tree=tree, parent=parent, author=author, message=f"{title}\n\n{message}", unix_time=int(now.timestamp())
    )
    body = json.dumps({path: astuple(entry) for path, entry in sorted(files.items())})
    connection.execute("INSERT OR IGNORE INTO trees VALUES (?, ?)", (tree, body))
    connection.execute(
        "INSERT OR IGNORE INTO commits VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (repo_id, oid, tree, parent, author, title, message, now.strftime("%Y-%m-%dT%H:%M:%S.000Z")),
    )
    connection.execute("INSERT OR REPLACE INTO refs VALUES (?, ?, ?)", (repo_id, _REF_PREFIX["branch"] + branch, oid))
    return oid


def list_refs(connection: sqlite3.Connection, repo_id: int) -> list[Ref]:
    rows = connection.execute("SELECT ref, oid FROM refs WHERE repo = ? ORDER BY ref", (repo_id,)).fetchall()
    refs = []
    for row in rows:
        kind: RefKind = "branch" if row["ref"].startswith(_REF_PREFIX["branch"]) else "tag"
        refs.append(Ref(kind=kind, name=row["ref"].removeprefix(_REF_PREFIX[kind]), ref=row["ref"], oid=row["oid"]))
    return refs


def add_ref(connection: sqlite3.Connection, repo_id: int, kind: RefKind, name: str, target: str) -> None:
    oid = resolve(connection, repo_id, target).oid
    cursor = connection.execute("INSERT OR IGNORE INTO refs VALUES (?, ?, ?)", (repo_id, _REF_PREFIX[kind] + name, oid))
    if cursor.rowcount == 0:
        raise HubError(409, f"Reference {name} exists already")


def remove_ref(connection: sqlite3.Connection, repo_id: int, kind: RefKind, name: str) -> None:
    if kind == "branch" and name == "main":
        raise HubError(403, "The default branch cannot be deleted")
    cursor = connection.execute("DELETE FROM refs WHERE repo = ? AND ref = ?", (repo_id, _REF_PREFIX[kind] + name))
    if cursor.rowcount == 0:
        raise revision_not_found(name)


def _commit(row: sqlite3.Row) -> Commit:
    return Commit(
        oid=row["oid"],
        tree=row["tree"],
        author=row["author"],
        title=row["title"],
        message=row["message"],
        date=row["date"],
    )
