"""Entry of the validator process: `python -m neurons.validator --help`."""

from neurons.commands import run_from_flags
from neurons.wiring import build_validator
from validator.settings import ValidatorSettings

if __name__ == "__main__":
    run_from_flags("validator", ValidatorSettings, build_validator)
