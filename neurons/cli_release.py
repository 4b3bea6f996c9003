"""Commands about releases."""

import click

from neurons.commands import settings_command
from neurons.release_options import ReleaseOptions, VerifyOptions


def _list(options: ReleaseOptions) -> None:
    from neurons.release_commands import list_releases

    list_releases(options)


def _verify(options: VerifyOptions) -> None:
    from neurons.release_commands import verify_release

    verify_release(options)


@click.group()
def release() -> None:
    """The subnet's releases."""


release.add_command(settings_command("list", ReleaseOptions, _list, "Every release and what it gained, newest first."))
release.add_command(
    settings_command(
        "verify",
        VerifyOptions,
        _verify,
        "Repeat the merge of release NUMBER from public files and compare every byte.",
        arguments=["number"],
    )
)
