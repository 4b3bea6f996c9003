"""Commands about subnets and rewards."""

import click

from neurons.commands import settings_command, settings_command_with_more
from neurons.subnet_options import (
    ExplainOptions,
    RegisterOptions,
    RewardsOptions,
    SetOptions,
    StartOptions,
    StatusOptions,
    SubnetOptions,
    ViewOptions,
)


def _create(options: SubnetOptions) -> None:
    from neurons.subnet_commands import create

    create(options)


def _register(options: RegisterOptions) -> None:
    from neurons.subnet_commands import register

    register(options)


def _start(options: StartOptions) -> None:
    from neurons.subnet_commands import start

    start(options)


def _set(options: SetOptions) -> None:
    from neurons.subnet_commands import set_value

    set_value(options)


def _status(options: StatusOptions) -> None:
    from neurons.subnet_views import status

    status(options)


def _metagraph(options: ViewOptions) -> None:
    from neurons.subnet_views import metagraph

    metagraph(options)


def _hyperparams(options: ViewOptions) -> None:
    from neurons.subnet_views import hyperparams

    hyperparams(options)


def _rewards(options: RewardsOptions) -> None:
    from neurons.rewards import show_rewards

    show_rewards(options)


def _explain(options: ExplainOptions) -> None:
    from neurons.explain_commands import explain_rewards

    explain_rewards(options)


@click.group()
def subnet() -> None:
    """Create, join and look at a subnet."""


subnet.add_command(
    settings_command(
        "create", SubnetOptions, _create, "Create a subnet, start it, and publish release 0 from a base and a corpus."
    )
)
subnet.add_command(
    settings_command(
        "register",
        RegisterOptions,
        _register,
        "Register a hotkey; burns the registration price from the wallet's coldkey.",
        config=False,
    )
)
subnet.add_command(
    settings_command(
        "start", StartOptions, _start, "Let the emission and staking of a created subnet begin.", config=False
    )
)
subnet.add_command(
    settings_command("status", StatusOptions, _status, "Show a subnet: block, round, release, neurons.", config=False)
)
subnet.add_command(
    settings_command(
        "metagraph", ViewOptions, _metagraph, "Show every neuron's stake, trust, incentive and pay.", config=False
    )
)
subnet.add_command(
    settings_command(
        "hyperparams", ViewOptions, _hyperparams, "Show every hyperparameter and who may set it.", config=False
    )
)
subnet.add_command(
    settings_command(
        "set",
        SetOptions,
        _set,
        "Set the hyperparameter NAME to VALUE; the subnet owner's coldkey signs.",
        arguments=("name", "value"),
        config=False,
    )
)
rewards = settings_command_with_more(
    "rewards",
    RewardsOptions,
    _rewards,
    "Show stake, incentive, dividends, emission, total earned and the last verdict of every neuron.",
    more=[
        settings_command(
            "explain",
            ExplainOptions,
            _explain,
            "Show how a round's submissions came to their pay, number by number, and what would have changed it.",
            config=False,
        )
    ],
    config=False,
)
