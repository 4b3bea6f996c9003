"""Routes around file bytes: how a file is to be sent, the LFS batch, and downloads."""

from urllib.parse import quote

from starlette.responses import FileResponse, JSONResponse, Response

from hub.server.commits import branch_head, read_files
from hub.server.errors import HubError, entry_not_found
from hub.server.names import is_digest
from hub.server.repos import Repo, claimed_size
from hub.server.routing import REPO_API, REPO_FILES, Call, JsonFields, route
from hub.server.signing import PartName

_LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".parquet", ".arrow", ".gguf", ".zip", ".gz", ".npz", ".npy")
_CHUNK_BYTES = 1 << 20


class BlobResponse(FileResponse):
    """Starlette's file response (Range, HEAD, If-Range) with chunks large enough for adapters of tens of MB."""

    chunk_size = _CHUNK_BYTES


def preupload(call: Call) -> Response:
    """Regular or LFS for each file; `oid` lets the client skip files that have not changed."""
    repo = call.repo(write=True)
    connection = call.services.database.connection()
    files = read_files(connection, branch_head(connection, repo.id, call.params["revision"]))
    answers = []
    for wanted in call.json().children("files"):
        path, size = wanted.text("path"), wanted.size("size")
        lfs = size > call.services.limits.inline or path.endswith(_LFS_SUFFIXES)
        answer: dict[str, object] = {
            "path": path,
            "uploadMode": "lfs" if lfs else "regular",
            "shouldIgnore": False,
        }
        if (entry := files.get(path)) is not None:
            answer["oid"] = entry.sha256 if entry.lfs else entry.oid
        answers.append(answer)
    return JSONResponse({"files": answers})


def lfs_batch(call: Call) -> Response:
    """Upload links (git-lfs `docs/api/batch.md`, with the Hub's multipart extension); none for what is held already."""
    repo = call.repo(write=True)
    fields = call.json()
    transfers = fields.texts("transfers") if "transfers" in fields.values else []
    multipart = "multipart" in transfers
    objects = [_batch_object(call, repo, wanted, multipart=multipart) for wanted in fields.children("objects")]
    return JSONResponse(
        {"transfer": "multipart" if multipart else "basic", "objects": objects},
        media_type="application/vnd.git-lfs+json",
    )


def _batch_object(call: Call, repo: Repo, wanted: JsonFields, *, multipart: bool) -> dict[str, object]:
    services = call.services
    sha256, size = wanted.text("oid"), wanted.size("size")
    answer: dict[str, object] = {"oid": sha256, "size": size}
    if not is_digest(sha256) or size > services.limits.file:
        message = f"Want a sha256 and at most {services.limits.file} bytes"
        return answer | {"error": {"code": 422, "message": message}}
    if claimed_size(services.database, repo.id, sha256) is not None and services.blobs.holds(sha256):
        return answer

    def link(part: PartName) -> str:
        return call.base_url + services.signer.link(repo_id=repo.id, sha256=sha256, size=size, part=part)

    if not multipart or size <= services.limits.part:
        return answer | {"actions": {"upload": {"href": link("all"), "header": {}}}}
    count = -(-size // services.limits.part)
    header = {"chunk_size": str(services.limits.part)}
    header |= {f"{number:05d}": link(number) for number in range(1, count + 1)}
    return answer | {"actions": {"upload": {"href": link("done"), "header": header}}}


def download(call: Call) -> Response:
    """`X-Repo-Commit` and `ETag` are what hf_hub_download cannot do without; Range is answered with 206."""
    repo = call.repo()
    path = call.params["path"]
    commit, files = call.tree(repo, call.params["revision"])
    entry = files.get(path)
    if entry is None:
        raise entry_not_found(path, revision=commit.oid)
    if not call.services.blobs.holds(entry.sha256):
        raise HubError(500, f"The bytes of {path} are missing on this server")
    headers = {
        "X-Repo-Commit": commit.oid,
        "ETag": f'"{entry.sha256 if entry.lfs else entry.oid}"',
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2])}",
        "X-Content-Type-Options": "nosniff",
    }
    if entry.lfs:
        headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
    media_type = "application/octet-stream" if entry.lfs else "text/plain; charset=utf-8"
    return BlobResponse(call.services.blobs.path(entry.sha256), headers=headers, media_type=media_type)


ROUTES = (
    route("POST", REPO_API + r"/preupload/(?P<revision>[^/]+)", preupload, access="writer"),
    route("POST", REPO_FILES + r"\.git/info/lfs/objects/batch", lfs_batch, access="writer"),
    route("GET", REPO_FILES + r"/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.+)", download, bucket="resolvers"),
)
