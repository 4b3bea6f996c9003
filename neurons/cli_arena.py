"""The command that plays cheaters against the network."""

from neurons.arena.options import ArenaOptions
from neurons.commands import settings_command


def _run(options: ArenaOptions) -> None:
    from neurons.arena.command import run_arena

    run_arena(options)


arena = settings_command(
    "arena", ArenaOptions, _run, "Play cheating miners and validators against the network, and see what they earn."
)
