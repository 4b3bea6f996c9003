"""The commit route: one atomic change of a branch, sent as lines of JSON (huggingface_hub `_commit_api.py`)."""

import base64
import binascii
import re
from dataclasses import dataclass, field

from starlette.responses import JSONResponse, Response

from hub.server.commits import branch_head, read_files, write_commit
from hub.server.errors import HubError, bad_request
from hub.server.gitobjects import Entry, inline_entry, lfs_entry
from hub.server.names import check_path, is_digest
from hub.server.repos import Repo, claim_blob, claimed_size
from hub.server.routing import REPO_API, Call, JsonFields, Services, route

_PARENT = re.compile(r"[0-9a-f]{7,40}")
_MAX_TITLE_CHARS = 512
_MAX_MESSAGE_CHARS = 65_536


@dataclass(kw_only=True, slots=True)
class Change:
    """What a commit asks for, checked; deletions come before additions."""

    title: str = "commit"
    message: str = ""
    parent: str | None = None
    added: dict[str, Entry] = field(default_factory=dict)
    deleted_files: list[str] = field(default_factory=list)
    deleted_folders: list[str] = field(default_factory=list)

    def applied_to(self, files: dict[str, Entry]) -> dict[str, Entry]:
        result = dict(files)
        for path in self.deleted_files:
            if result.pop(path, None) is None:
                raise HubError(404, f"A file with this name doesn't exist: {path}", code="EntryNotFound")
        for folder in self.deleted_folders:
            inside = [path for path in result if path.startswith(folder.rstrip("/") + "/")]
            if not inside:
                raise HubError(404, f"A folder with this name doesn't exist: {folder}", code="EntryNotFound")
            for path in inside:
                del result[path]
        result |= self.added
        for path in result:
            parts = path.split("/")
            if any("/".join(parts[:depth]) in result for depth in range(1, len(parts))):
                raise bad_request(f"A part of {path} is both a file and a folder")
        return result


def commit(call: Call) -> Response:
    repo = call.repo(write=True)
    if call.flag("create_pr"):
        raise bad_request("Pull requests are not supported by this server")
    change = _read_change(call.services, repo, call.body)
    branch = call.params["revision"]
    with call.services.database.writing() as connection:
        head = branch_head(connection, repo.id, branch)
        if change.parent is not None and not head.oid.startswith(change.parent):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        for entry in change.added.values():
            claim_blob(connection, repo.id, entry.sha256, entry.size)
        oid = write_commit(
            connection,
            repo_id=repo.id,
            files=change.applied_to(read_files(connection, head)),
            parent=head.oid,
            author=call.owner(),
            title=change.title,
            message=change.message,
            branch=branch,
        )
    prefix = "" if repo.kind == "model" else f"{repo.kind}s/"
    url = f"{call.base_url}/{prefix}{repo.full_name}/commit/{oid}"
    return JSONResponse({"success": True, "commitOid": oid, "commitUrl": url})


def _read_change(services: Services, repo: Repo, body: bytes) -> Change:
    change = Change()
    for line in body.split(b"\n"):
        if not line.strip():
            continue
        item = JsonFields.parse(line)
        key, value = item.text("key"), item.child("value")
        match key:
            case "header":
                change.title = value.text("summary", "commit")[:_MAX_TITLE_CHARS]
                change.message = value.text("description", "")[:_MAX_MESSAGE_CHARS]
                change.parent = _read_parent(value)
            case "file":
                change.added[check_path(value.text("path"))] = _store_inline(services, value)
            case "lfsFile":
                change.added[check_path(value.text("path"))] = _uploaded(services, repo, value)
            case "deletedFile":
                change.deleted_files.append(value.text("path"))
            case "deletedFolder":
                change.deleted_folders.append(value.text("path"))
            case _:
                raise bad_request(f"Unknown operation {key!r}")
    return change


def _read_parent(header: JsonFields) -> str | None:
    parent = header.text("parentCommit", "").lower()
    if not parent:
        return None
    if _PARENT.fullmatch(parent) is None:
        raise bad_request(f"Invalid parent commit: {parent!r}")
    return parent


def _store_inline(services: Services, value: JsonFields) -> Entry:
    if value.text("encoding", "base64") != "base64":
        raise bad_request("Inline files must be base64")
    try:
        data = base64.b64decode(value.text("content"), validate=True)
    except (binascii.Error, ValueError):
        raise bad_request("Inline content is not base64") from None
    services.blobs.put(data)
    return inline_entry(data)


def _uploaded(services: Services, repo: Repo, value: JsonFields) -> Entry:
    """Only bytes that this repository was given: a digest seen elsewhere is no way to read another owner's file."""
    sha256 = value.text("oid")
    size = claimed_size(services.database, repo.id, sha256) if is_digest(sha256) else None
    if size is None or not services.blobs.holds(sha256):
        raise bad_request(f"LFS object {sha256[:64]} was not uploaded to this repository")
    return lfs_entry(sha256, size)


ROUTES = (
    route(
        "POST",
        REPO_API + r"/commit/(?P<revision>[^/]+)",
        commit,
        access="writer",
        bucket="commits",
        large_body=True,
    ),
)
