"""When and on what a benchmark was measured, in one line."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def machine(cores: int, libraries: Sequence[str]) -> str:
    """Date, processor, vector units, cores used, load, and the versions of the libraries that do the work."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found = {line.split(":")[0].strip(): line.split(":")[1].strip() for line in lines if ":" in line}
    flags = [flag for flag in _FLAGS if flag in found.get("flags", "").split()]
    model = found.get("model name", platform.machine())
    versions = ", ".join(f"{library} {importlib.metadata.version(library)}" for library in libraries)
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    cpu = f"{model} ({' '.join(flags)}), {cores} of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return f"{now}, {cpu}, {versions}"
