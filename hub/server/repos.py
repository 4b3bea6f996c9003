"""Repositories: who may see and write them, and which blobs each of them has proved to hold."""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime

from hub.server.commits import write_commit
from hub.server.database import Database
from hub.server.errors import HubError, repo_not_found
from hub.server.gitobjects import inline_entry
from hub.server.names import RepoKind
from hub.server.store import BlobStore
from hub.server.tokens import Caller

# The Hub starts every repository with such a file, so clients must cope with it here too.
_GITATTRIBUTES = b"".join(
    b"*.%s filter=lfs diff=lfs merge=lfs -text\n" % suffix for suffix in (b"safetensors", b"bin", b"parquet", b"arrow")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Repo:
    id: int
    kind: RepoKind
    owner: str
    name: str
    private: bool
    created: str

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"


def find_repo(database: Database, kind: RepoKind, full_name: str, caller: Caller, *, write: bool = False) -> Repo:
    """The repository if the caller may read it, or write it. A private one looks like none to anybody else."""
    owner, _, name = full_name.partition("/")
    row = (
        database.connection()
        .execute("SELECT * FROM repos WHERE kind = ? AND owner = ? AND name = ?", (kind, owner, name))
        .fetchone()
    )
    anonymous = caller.owner is None
    if row is None or (row["private"] and not caller.owns(row["owner"])):
        raise repo_not_found(anonymous=anonymous)
    if write and not (caller.may_write and caller.owns(row["owner"])):
        raise HubError(401 if anonymous else 403, f"A token of {row['owner']} with write role is needed")
    return Repo(
        id=row["id"],
        kind=kind,
        owner=row["owner"],
        name=row["name"],
        private=bool(row["private"]),
        created=row["created"],
    )


def create_repo(database: Database, blobs: BlobStore, *, kind: RepoKind, owner: str, name: str, private: bool) -> bool:
    """False if it exists already; it is then left as it is."""
    blobs.put(_GITATTRIBUTES)
    entry = inline_entry(_GITATTRIBUTES)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    with database.writing() as connection:
        cursor = connection.execute(
            "INSERT OR IGNORE INTO repos(kind, owner, name, private, created) VALUES (?, ?, ?, ?, ?)",
            (kind, owner, name, int(private), now),
        )
        if cursor.rowcount == 0 or cursor.lastrowid is None:
            return False
        claim_blob(connection, cursor.lastrowid, entry.sha256, entry.size)
        write_commit(
            connection,
            repo_id=cursor.lastrowid,
            files={".gitattributes": entry},
            parent=None,
            author=owner,
            title="initial commit",
            message="",
            branch="main",
        )
    return True


def delete_repo(database: Database, blobs: BlobStore, repo: Repo) -> None:
    """Remove the repository, then the bytes that no other repository holds."""
    with database.writing() as connection:
        orphans = connection.execute(
            "SELECT sha256 FROM blobs WHERE repo = ?1 AND sha256 NOT IN (SELECT sha256 FROM blobs WHERE repo != ?1)",
            (repo.id,),
        ).fetchall()
        connection.execute("DELETE FROM repos WHERE id = ?", (repo.id,))
        connection.execute("DELETE FROM trees WHERE oid NOT IN (SELECT tree FROM commits)")
    for row in orphans:
        blobs.remove(row["sha256"])


def claim_blob(connection: sqlite3.Connection, repo_id: int, sha256: str, size: int) -> None:
    """Note that this repository was given these bytes; knowing a digest alone must not open another owner's blob."""
    try:
        connection.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?)", (repo_id, sha256, size))
    except sqlite3.IntegrityError:
        raise HubError(404, "The repository was deleted", code="RepoNotFound") from None


def claimed_size(database: Database, repo_id: int, sha256: str) -> int | None:
    row = (
        database.connection()
        .execute("SELECT size FROM blobs WHERE repo = ? AND sha256 = ?", (repo_id, sha256))
        .fetchone()
    )
    return None if row is None else int(row["size"])
