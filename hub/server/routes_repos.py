"""Routes on the caller and on whole repositories: whoami, create, delete, info, access checks."""

from starlette.responses import JSONResponse, Response

from hub.server.errors import HubError, invalid_credentials
from hub.server.names import check_kind, check_name
from hub.server.repos import create_repo, delete_repo, find_repo
from hub.server.routes_trees import file_fields
from hub.server.routing import REPO_API, Call, route


def whoami(call: Call) -> Response:
    if call.caller.owner is None:
        raise invalid_credentials()
    role = "write" if call.caller.may_write else "read"
    return JSONResponse(
        {
            "type": "user",
            "id": call.caller.owner,
            "name": call.caller.owner,
            "fullname": call.caller.owner,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": {"displayName": "token", "role": role}},
        }
    )


def validate_yaml(_call: Call) -> Response:
    """The client asks this for each README.md it commits; its metadata block is of no concern here."""
    return JSONResponse({"errors": [], "warnings": []})


def create(call: Call) -> Response:
    """An existing repository is a 409 that also carries its URL: the client's exist_ok reads it from there."""
    fields = call.json()
    kind = check_kind(fields.text("type", "model"))
    owner, name = check_name(fields.text("organization", call.owner())), check_name(fields.text("name"))
    if not call.caller.owns(owner):
        raise HubError(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
    private = fields.values.get("visibility") == "private" or fields.values.get("private") is True
    services = call.services
    # The token's spelling is the owner's name; the request may differ in case.
    owner = call.owner()
    is_new = create_repo(services.database, services.blobs, kind=kind, owner=owner, name=name, private=private)
    prefix = "" if kind == "model" else f"{kind}s/"
    body = {"url": f"{call.base_url}/{prefix}{owner}/{name}", "name": f"{owner}/{name}"}
    if not is_new:
        return JSONResponse(body | {"error": "You already created this repo"}, 409)
    return JSONResponse(body)


def delete(call: Call) -> Response:
    fields = call.json()
    kind = check_kind(fields.text("type", "model"))
    full_name = f"{fields.text('organization', call.owner())}/{fields.text('name')}"
    services = call.services
    delete_repo(
        services.database, services.blobs, find_repo(services.database, kind, full_name, call.caller, write=True)
    )
    return JSONResponse({})


def auth_check(call: Call) -> Response:
    call.repo(write="write" in call.params)
    return JSONResponse({})


def info(call: Call) -> Response:
    repo = call.repo()
    commit, files = call.tree(repo, call.params.get("revision", "main"))
    siblings = []
    for path, entry in sorted(files.items()):
        sibling: dict[str, object] = {"rfilename": path}
        if call.flag("blobs"):
            fields = file_fields(path, entry)
            lfs = {"lfs": {**fields["lfs"], "sha256": entry.sha256}} if isinstance(fields.get("lfs"), dict) else {}
            sibling |= {"size": entry.size, "blobId": entry.oid, **lfs}
        siblings.append(sibling)
    answer: dict[str, object] = {
        "_id": str(repo.id),
        "id": repo.full_name,
        "modelId": repo.full_name,
        "author": repo.owner,
        "sha": commit.oid,
        "lastModified": commit.date,
        "createdAt": repo.created,
        "private": repo.private,
        "gated": False,
        "disabled": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": siblings,
        "usedStorage": sum({entry.sha256: entry.size for entry in files.values()}.values()),
    }
    asked = call.request.query_params.getlist("expand")
    return JSONResponse({name: answer[name] for name in answer if not asked or name in ("_id", "id", *asked)})


ROUTES = (
    route("GET", "/api/whoami-v2", whoami),
    route("POST", "/api/validate-yaml", validate_yaml),
    route("POST", "/api/repos/create", create, access="writer"),
    route("DELETE", "/api/repos/delete", delete, access="writer"),
    route("GET", REPO_API + "/auth-check(?:/(?P<write>write))?", auth_check),
    route("GET", REPO_API + r"(?:/revision/(?P<revision>[^/]+))?", info),
)
