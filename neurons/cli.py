"""The command line: `hivetune --help`. Every command imports what it needs when it runs, so that help is instant."""

import click

from neurons.cli_arena import arena
from neurons.cli_network import chain, demo, hub, role_commands
from neurons.cli_receipt import receipt
from neurons.cli_release import release
from neurons.cli_stake import stake
from neurons.cli_subnet import rewards, subnet
from neurons.cli_wallet import wallet


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="hivetune")
def main() -> None:
    """An incentivized training network: miners train DoRA adapters, validators score them, the chain pays."""


for command in (demo, arena, *role_commands(), rewards, receipt, release, subnet, stake, wallet, hub, chain):
    main.add_command(command)

if __name__ == "__main__":
    main()
