"""Libraries that know nothing of this project work against the embedded Hub, pointed at it by HF_ENDPOINT alone.

Each scenario runs in a fresh process, because those libraries read the environment at import.
"""

import hashlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub.server.app import RunningHub, running_hub
from hub.server.routing import Limits
from hub.server.tokens import mint_token

WEIGHTS = bytes(range(256)) * 20_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub"), limits=Limits(part=2 << 20)) as running:
        yield running


def run(scenario: Callable[[], None], hub: RunningHub, home: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": mint_token(hub.root, "alice"),
        "STRANGER_TOKEN": mint_token(hub.root, "bob"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, scenario.__name__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_repositories_are_created_described_and_deleted(hub: RunningHub, tmp_path: Path) -> None:
    run(manage_repositories, hub, tmp_path)


def test_commits_are_made_listed_and_guarded_by_their_parent(hub: RunningHub, tmp_path: Path) -> None:
    run(commit_and_list, hub, tmp_path)


def test_tags_and_branches_come_and_go(hub: RunningHub, tmp_path: Path) -> None:
    run(move_refs, hub, tmp_path)


def test_downloads_snapshots_and_the_file_system_give_the_same_bytes(hub: RunningHub, tmp_path: Path) -> None:
    run(download_in_every_way, hub, tmp_path)


def test_refusals_arrive_as_the_typed_errors_of_the_client(hub: RunningHub, tmp_path: Path) -> None:
    run(meet_every_error, hub, tmp_path)


def test_a_rate_limit_is_waited_out_by_the_client(tmp_path: Path) -> None:
    with running_hub(tmp_path / "limited", rate_limits={"api": (3, 1)}) as limited:
        run(list_until_limited, limited, tmp_path)


def test_transformers_and_peft_load_what_they_pushed(hub: RunningHub, tmp_path: Path) -> None:
    run(load_model_and_adapter, hub, tmp_path)


def test_datasets_loads_a_parquet_repository(hub: RunningHub, tmp_path: Path) -> None:
    run(load_parquet_dataset, hub, tmp_path)


def manage_repositories() -> None:
    from huggingface_hub import HfApi

    api = HfApi()
    assert api.whoami()["name"] == "alice"
    assert str(api.create_repo("alice/repo")).endswith("/alice/repo")
    api.create_repo("alice/repo", exist_ok=True)
    api.create_repo("alice/data", repo_type="dataset", private=True)
    model, data = api.model_info("alice/repo", files_metadata=True), api.dataset_info("alice/data")
    assert (model.id, model.private, data.id, data.private) == ("alice/repo", False, "alice/data", True)
    assert api.repo_info("alice/repo", revision=model.sha).sha == model.sha
    assert [(file.rfilename, file.size is not None) for file in model.siblings or []] == [(".gitattributes", True)]
    api.auth_check("alice/repo", write=True)
    assert api.repo_exists("alice/repo")
    assert api.file_exists("alice/repo", ".gitattributes")
    api.delete_repo("alice/repo")
    assert not api.repo_exists("alice/repo")
    api.delete_repo("alice/data", repo_type="dataset")


def commit_and_list() -> None:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoFile, RepoFolder

    api = HfApi()
    api.create_repo("alice/commits")
    root = api.repo_info("alice/commits").sha
    additions = [CommitOperationAdd("a/w.bin", WEIGHTS), CommitOperationAdd("README.md", b"---\nlicense: mit\n---\n")]
    first = api.create_commit("alice/commits", additions, commit_message="first", parent_commit=root)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "deep").mkdir()
        Path(folder, "deep", "big.safetensors").write_bytes(WEIGHTS * 2)
        Path(folder, "config.json").write_text("{}")
        api.upload_folder(repo_id="alice/commits", folder_path=folder, commit_message="folder")
    api.upload_file(path_or_fileobj=io.BytesIO(b"hi"), path_in_repo="note.txt", repo_id="alice/commits")
    deletion = [CommitOperationDelete("note.txt"), CommitOperationDelete("a/")]
    last = api.create_commit("alice/commits", deletion, commit_message="delete")
    wanted = [".gitattributes", "README.md", "config.json", "deep/big.safetensors"]
    assert api.list_repo_files("alice/commits") == wanted
    titles = [commit.title for commit in api.list_repo_commits("alice/commits")]
    assert titles == ["delete", "Upload note.txt with huggingface_hub", "folder", "first", "initial commit"]
    top = list(api.list_repo_tree("alice/commits", expand=True))
    assert [item.path for item in top if isinstance(item, RepoFolder)] == ["deep"]
    inside = list(api.list_repo_tree("alice/commits", "a", revision=first.oid))
    assert [item.path for item in inside] == ["a/w.bin"]
    info = api.get_paths_info("alice/commits", ["deep/big.safetensors", "none", "deep"], expand=True)
    digest = hashlib.sha256(WEIGHTS * 2).hexdigest()
    assert [(item.path, item.lfs.sha256) for item in info if isinstance(item, RepoFile) and item.lfs] == [
        ("deep/big.safetensors", digest)
    ]
    fresh = [CommitOperationAdd("a", b"1")]
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_commit("alice/commits", fresh, commit_message="stale", parent_commit=first.oid)
    assert refused.value.response.status_code == 412
    assert api.repo_info("alice/commits").sha == last.oid


def move_refs() -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    api = HfApi()
    api.create_repo("alice/refs")
    head = api.repo_info("alice/refs").sha
    api.create_tag("alice/refs", tag="v/1")
    api.create_tag("alice/refs", tag="v/1", exist_ok=True)
    api.create_branch("alice/refs", branch="dev/x", revision="v/1")
    refs = api.list_repo_refs("alice/refs")
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v/1", head)]
    assert [branch.name for branch in refs.branches] == ["dev/x", "main"]
    api.upload_file(path_or_fileobj=b"1", path_in_repo="n", repo_id="alice/refs", revision="dev/x")
    assert api.list_repo_files("alice/refs", revision="dev/x") == [".gitattributes", "n"]
    assert api.list_repo_files("alice/refs", revision="v/1") == [".gitattributes"]
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_tag("alice/refs", tag="v/1")
    assert refused.value.response.status_code == 409
    api.delete_tag("alice/refs", tag="v/1")
    api.delete_branch("alice/refs", branch="dev/x")
    with pytest.raises(RevisionNotFoundError):
        api.repo_info("alice/refs", revision="v/1")


def download_in_every_way() -> None:
    from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download

    api = HfApi()
    api.create_repo("alice/files", private=True)
    api.upload_file(path_or_fileobj=WEIGHTS, path_in_repo="a b/wé.bin", repo_id="alice/files")
    revision = api.upload_file(path_or_fileobj=b"", path_in_repo="empty.txt", repo_id="alice/files").oid
    assert Path(hf_hub_download("alice/files", "a b/wé.bin")).read_bytes() == WEIGHTS
    folder = Path(snapshot_download("alice/files", revision=revision, local_dir=tempfile.mkdtemp()))
    assert (folder / "a b" / "wé.bin").read_bytes() == WEIGHTS
    assert (folder / "empty.txt").read_bytes() == b""
    files = HfFileSystem()
    assert files.ls("alice/files", detail=False) == [
        f"alice/files/{name}" for name in (".gitattributes", "a b", "empty.txt")
    ]
    with files.open("alice/files/a b/wé.bin", "rb", block_size=1000) as remote:
        remote.seek(1_000_003)
        assert remote.read(17) == WEIGHTS[1_000_003:1_000_020]
    with files.open("alice/files/new.txt", "wb") as remote:
        remote.write(b"written")
    assert files.cat_file("alice/files/new.txt") == b"written"
    files.rm("alice/files/new.txt")
    assert not files.exists("alice/files/new.txt")


def meet_every_error() -> None:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    api, stranger, nobody = HfApi(), HfApi(token=os.environ["STRANGER_TOKEN"]), HfApi(token=False)
    api.create_repo("alice/open")
    api.create_repo("alice/closed", private=True)
    cases: list[tuple[type[HfHubHTTPError], int, Callable[[], object]]] = [
        (RepositoryNotFoundError, 404, lambda: api.model_info("alice/none")),
        (RepositoryNotFoundError, 404, lambda: stranger.model_info("alice/closed")),
        (RepositoryNotFoundError, 401, lambda: nobody.model_info("alice/closed")),
        (RevisionNotFoundError, 404, lambda: api.model_info("alice/open", revision="none")),
        (RemoteEntryNotFoundError, 404, lambda: hf_hub_download("alice/open", "none.txt")),
        (RemoteEntryNotFoundError, 404, lambda: list(api.list_repo_tree("alice/open", "none"))),
        (HfHubHTTPError, 401, lambda: HfApi(token="hf_wrong").whoami()),
        (HfHubHTTPError, 409, lambda: api.create_repo("alice/open")),
        (HfHubHTTPError, 403, lambda: stranger.create_repo("alice/more")),
        (
            HfHubHTTPError,
            403,
            lambda: stranger.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="alice/open"),
        ),
        (HfHubHTTPError, 403, lambda: stranger.delete_repo("alice/open")),
    ]
    for kind, status, call in cases:
        with pytest.raises(kind) as refused:
            call()
        assert refused.value.response.status_code == status


def list_until_limited() -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    api.create_repo("alice/limited")

    def ask_until_refused() -> None:
        while True:
            api.model_info("alice/limited")  # a call that the client does not retry after a 429

    with pytest.raises(HfHubHTTPError) as refused:
        ask_until_refused()
    assert refused.value.response.status_code == 429
    assert api.list_repo_files("alice/limited") == [".gitattributes"]


def load_model_and_adapter() -> None:
    import torch
    from huggingface_hub import HfApi
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    base = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2)).eval()
    tokens_BT = torch.arange(12)[None]
    with torch.no_grad():
        base_logits_BTV = base(tokens_BT).logits
    base.push_to_hub("alice/base")
    revision = HfApi().repo_info("alice/base").sha
    loaded = AutoModelForCausalLM.from_pretrained("alice/base", revision=revision).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(tokens_BT).logits, base_logits_BTV, rtol=0, atol=0)

    adapted = get_peft_model(base, LoraConfig(r=4, use_dora=True, target_modules=["q_proj", "v_proj"], lora_alpha=8))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        wanted_BTV = adapted.eval()(tokens_BT).logits
    adapted.push_to_hub("alice/adapter")
    assert "adapter_model.safetensors" in HfApi().list_repo_files("alice/adapter")
    fetched = PeftModel.from_pretrained(loaded, "alice/adapter").eval()
    with torch.no_grad():
        found_BTV = fetched(tokens_BT).logits
    assert not torch.equal(wanted_BTV, base_logits_BTV)
    torch.testing.assert_close(found_BTV, wanted_BTV, rtol=0, atol=0)


def load_parquet_dataset() -> None:
    import pyarrow
    import pyarrow.parquet
    from datasets import load_dataset
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    api.create_repo("alice/rows", repo_type="dataset")
    additions = []
    for split, count in (("train", 30), ("test", 5)):
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table({"text": [f"{split} {row}" for row in range(count)]}), buffer)
        additions.append(CommitOperationAdd(f"data/{split}-00000-of-00001.parquet", buffer.getvalue()))
    commit = api.create_commit("alice/rows", additions, commit_message="rows", repo_type="dataset")
    rows = load_dataset("alice/rows", revision=commit.oid)
    assert {split: len(rows[split]) for split in rows} == {"train": 30, "test": 5}
    assert rows["train"][29]["text"] == "train 29"
    streamed = load_dataset("alice/rows", split="test", streaming=True)
    assert [row["text"] for row in streamed] == [f"test {row}" for row in range(5)]


if __name__ == "__main__":
    globals()[sys.argv[1]]()
