"""The demo on a real runtime: `python -m tools.demo_on_runtime FILE.wasm [flags of hivetune demo]`."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hivetune.errors import ConfigError
from tools.substrate_host.running import running_substrate_host

BLOCK_S = 1.0


def main(arguments: Sequence[str]) -> int:
    """The demo's exit code; 2 with one line when the runtime does not start."""
    if not arguments:
        sys.stderr.write("usage: python -m tools.demo_on_runtime FILE.wasm [flags of hivetune demo]\n")
        return 2
    wasm, *flags = arguments
    try:
        with running_substrate_host(Path(wasm), block_time_s=BLOCK_S) as host:
            command = [sys.executable, "-m", "neurons.cli", "demo", f"--chain-url={host.url}", *flags]
            return subprocess.run(command, check=False).returncode
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
