"""Routes that list: trees, single paths, commits, refs. Also creates and deletes tags and branches."""

from typing import NotRequired, TypedDict
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, Response

from hub.server.commits import Commit, RefKind, add_ref, history, list_refs, remove_ref
from hub.server.errors import HubError, bad_request, entry_not_found
from hub.server.gitobjects import Entry, folder_ids, lfs_pointer
from hub.server.names import check_ref
from hub.server.routing import REPO_API, Call, route

_TREE_PAGE = 1000
_COMMITS_PAGE = 50
_MAX_PATHS = 1000


class LfsFields(TypedDict):
    oid: str
    size: int
    pointerSize: int


class FileFields(TypedDict):
    type: str
    oid: str
    size: int
    path: str
    lfs: NotRequired[LfsFields]


def file_fields(path: str, entry: Entry) -> FileFields:
    fields = FileFields(type="file", oid=entry.oid, size=entry.size, path=path)
    if entry.lfs:
        pointer = lfs_pointer(entry.sha256, entry.size)
        fields["lfs"] = LfsFields(oid=entry.sha256, size=entry.size, pointerSize=len(pointer))
    return fields


def tree(call: Call) -> Response:
    commit, files = call.tree(call.repo(), call.params["revision"])
    folder = call.params.get("path", "").strip("/")
    prefix = f"{folder}/" if folder else ""
    recursive = call.flag("recursive")
    tree_ids = folder_ids(files)
    if folder not in tree_ids:
        raise entry_not_found(folder, revision=commit.oid)
    items: list[dict[str, object]] = []
    for path, oid in tree_ids.items():
        if path and path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :]):
            items.append({"type": "directory", "oid": oid, "size": 0, "path": path})
    for path, entry in files.items():
        if path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :]):
            items.append({**file_fields(path, entry)})
    items.sort(key=lambda item: str(item["path"]))
    if call.flag("expand"):
        items = [item | _last_commit(commit) for item in items]
    return _page(call, items, _TREE_PAGE)


def paths_info(call: Call) -> Response:
    """Absent paths are left out of the answer."""
    if "json" in call.request.headers.get("content-type", ""):
        paths = call.json().texts("paths")
    else:
        try:
            paths = parse_qs(call.body.decode(), max_num_fields=_MAX_PATHS + 1).get("paths", [])
        except ValueError:
            raise bad_request(f"Want a form with at most {_MAX_PATHS} paths") from None
    if len(paths) > _MAX_PATHS:
        raise bad_request(f"{len(paths)} paths, at most {_MAX_PATHS}")
    commit, files = call.tree(call.repo(), call.params["revision"])
    tree_ids = folder_ids(files)
    items: list[dict[str, object]] = []
    for path in (path.strip("/") for path in paths):
        if path in files:
            items.append({**file_fields(path, files[path]), **_last_commit(commit)})
        elif path and path in tree_ids:
            items.append({"type": "directory", "oid": tree_ids[path], "size": 0, "path": path, **_last_commit(commit)})
    return JSONResponse(items)


def commits(call: Call) -> Response:
    line = history(call.services.database.connection(), call.repo().id, call.params["revision"])
    items: list[dict[str, object]] = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "authors": [{"user": commit.author}],
            "date": commit.date,
        }
        for commit in line
    ]
    return _page(call, items, _COMMITS_PAGE)


def refs(call: Call) -> Response:
    listed = list_refs(call.services.database.connection(), call.repo().id)
    items = [(ref.kind, {"name": ref.name, "ref": ref.ref, "targetCommit": ref.oid}) for ref in listed]
    return JSONResponse(
        {
            "branches": [item for kind, item in items if kind == "branch"],
            "tags": [item for kind, item in items if kind == "tag"],
            "converts": [],
            "pullRequests": [],
        }
    )


def create_ref(call: Call) -> Response:
    """A tag's route names the target and its body the tag; a branch's route names the branch and its body the start."""
    fields = call.json()
    kind = _ref_kind(call)
    if kind == "tag":
        name, target = fields.text("tag"), call.params["name"]
    else:
        name, target = call.params["name"], fields.text("startingPoint", "main")
    repo = call.repo(write=True)
    with call.services.database.writing() as connection:
        add_ref(connection, repo.id, kind, check_ref(name), target)
    return JSONResponse({})


def delete_ref(call: Call) -> Response:
    repo = call.repo(write=True)
    with call.services.database.writing() as connection:
        remove_ref(connection, repo.id, _ref_kind(call), call.params["name"])
    return JSONResponse({})


def no_xet(_call: Call) -> Response:
    raise HubError(404, "This Hub has no Xet storage: set HF_HUB_DISABLE_XET=1")


def _ref_kind(call: Call) -> RefKind:
    return "tag" if call.params["ref_kind"] == "tag" else "branch"


def _last_commit(commit: Commit) -> dict[str, object]:
    return {"lastCommit": {"id": commit.oid, "title": commit.title, "date": commit.date}}


def _page(call: Call, items: list[dict[str, object]], size: int) -> Response:
    """One page and, in the way the client follows, a Link header to the next one."""
    asked = call.request.query_params.get("p", "0")
    if not asked.isascii() or not asked.isdigit() or len(asked) > 9:
        raise bad_request(f"Page {asked!r} is not a number")
    page = int(asked)
    headers = {}
    if len(items) > (page + 1) * size:
        headers["Link"] = f'<{call.request.url.include_query_params(p=page + 1)}>; rel="next"'
    return JSONResponse(items[page * size : (page + 1) * size], headers=headers)


ROUTES = (
    route("GET", REPO_API + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", tree),
    route("POST", REPO_API + r"/paths-info/(?P<revision>[^/]+)", paths_info),
    route("GET", REPO_API + r"/commits/(?P<revision>[^/]+)", commits),
    route("GET", REPO_API + r"/refs", refs),
    route("POST", REPO_API + r"/(?P<ref_kind>tag|branch)/(?P<name>[^/]+)", create_ref, access="writer"),
    route("DELETE", REPO_API + r"/(?P<ref_kind>tag|branch)/(?P<name>[^/]+)", delete_ref, access="writer"),
    route("GET", REPO_API + r"/xet-(?:read|write)-token(?:/[^/]+)?", no_xet),
)
