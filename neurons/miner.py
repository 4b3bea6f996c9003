"""Entry of the miner process: `python -m neurons.miner --help`."""

from miner.settings import MinerSettings
from neurons.commands import run_from_flags
from neurons.wiring import build_miner

if __name__ == "__main__":
    run_from_flags("miner", MinerSettings, build_miner)
