"""Commands about validators' receipts."""

import click

from neurons.commands import settings_command
from neurons.receipt_options import ReceiptOptions, ReceiptVerifyOptions


def _show(options: ReceiptOptions) -> None:
    from neurons.receipt_commands import show_receipt

    show_receipt(options)


def _verify(options: ReceiptVerifyOptions) -> None:
    from neurons.receipt_commands import verify_receipt

    verify_receipt(options)


@click.group()
def receipt() -> None:
    """What validators say of a round."""


receipt.add_command(settings_command("show", ReceiptOptions, _show, "A validator's account of a round, by submission."))
receipt.add_command(
    settings_command(
        "verify",
        ReceiptVerifyOptions,
        _verify,
        "Score the round again from public files and hold every number of the receipt against it.",
    )
)
