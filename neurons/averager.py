"""Entry of the averager process: `python -m neurons.averager --help`."""

from averager.settings import AveragerSettings
from neurons.commands import run_from_flags
from neurons.wiring import build_averager

if __name__ == "__main__":
    run_from_flags("averager", AveragerSettings, build_averager)
