"""Nothing that could execute a stranger's bytes stands in the code, and the rules that say so see each kind."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loaders import loaders

ROOT = Path(__file__).parent.parent
FOLDERS = ("hivetune", "chain", "hub", "miner", "validator", "averager", "neurons", "tools", "benchmarks", "docker")
# Samples that ruff's own rules find; the import is on the line before.
FOR_RUFF = (
    "import pickle; pickle.load(file)",
    "import pickle; pickle.loads(data)",
    "import pickle; pickle.Unpickler(file).load()",
    "from pickle import loads",
    "import marshal; marshal.loads(data)",
    "import dill",
    "import joblib",
    "import cloudpickle",
    "import shelve",
    "import jsonpickle",
    "import runpy",
    "import zipimport",
    "import torch; torch.load(path)",
    "from torch import load",
    "import torch; torch.jit.load(path)",
    "import torch; torch.hub.load(repo, name)",
    "import numpy as np; np.load(path)",
    "import pandas as pd; pd.read_pickle(path)",
    "import yaml; yaml.load(data)",
    "import yaml; yaml.unsafe_load(data)",
    "import tarfile; tarfile.open(path).extractall()",
    "from importlib.util import spec_from_file_location",
    "eval(data)",
    "exec(data)",
)
# And those that the syntax tree must show.
FOR_THE_TREE = (
    *FOR_RUFF,
    "import pickle",
    "__import__(name)",
    "compile(data, name, 'exec')",
    "torch.load(path, weights_only=True)",
    "torch.save(weights, path)",
    "np.load(path, allow_pickle=True)",
    "read(path, allow_pickle=flag)",
    "read(path, weights_only=False)",
    "AutoModel.from_pretrained(name)",
    "AutoModel.from_pretrained(name, trust_remote_code=True)",
    "AutoModel.from_pretrained(name, trust_remote_code=settings.trust)",
    "AutoModel.from_pretrained(name, trust_remote_code=False, use_safetensors=False)",
    "AutoModel.from_pretrained(name, trust_remote_code=False, **options)",
    "load_dataset(name, trust_remote_code=True)",
    "api.snapshot_download(repo)",
    "from huggingface_hub import hf_hub_download",
    "shutil.unpack_archive(path)",
    "spec.loader.exec_module(module)",
)
HARMLESS = (
    "model.eval()",
    "re.compile(pattern)",
    "json.loads(data)",
    "yaml.safe_load(data)",
    "safetensors.torch.load_file(path)",
    "AutoModel.from_pretrained(name, trust_remote_code=False, use_safetensors=True)",
    "model.load_state_dict(tensors)",
)


@pytest.mark.parametrize("sample", FOR_THE_TREE)
def test_the_tree_shows_every_kind_of_loader(sample: str) -> None:
    assert list(loaders(ast.parse(sample)))


@pytest.mark.parametrize("sample", HARMLESS)
def test_what_is_harmless_passes(sample: str) -> None:
    assert list(loaders(ast.parse(sample))) == []


def test_ruff_finds_its_part_of_them() -> None:
    code = "\n".join(FOR_RUFF) + "\n"
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--output-format=json",
        "--stdin-filename=hivetune/sample.py",
        "-",
    ]
    done = subprocess.run(command, cwd=ROOT, input=code, capture_output=True, text=True, check=False)
    rules = {"S102", "S202", "S301", "S302", "S307", "S506", "TID251"}
    found = {each["location"]["row"] for each in json.loads(done.stdout) if each["code"] in rules}
    assert [sample for row, sample in enumerate(FOR_RUFF, 1) if row not in found] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_loader_stands_in_the_code(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    against = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in paths
        for line, name in loaders(ast.parse(path.read_text()))
    ]
    assert against == []


def test_models_are_loaded_in_one_place() -> None:
    """From a release's verified folder, and by an owner who starts a subnet: never from a miner's repository."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    callers = {
        path.relative_to(ROOT).as_posix()
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "from_pretrained"
    }
    assert callers == {"hivetune/model.py"}
