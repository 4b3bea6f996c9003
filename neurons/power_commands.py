"""`hivetune validator power`: what telling submissions apart costs in text, from a round's receipt."""

from rich.table import Table

from chain.ledger import Ledger
from hub.client import HubClient
from neurons.observer import Observer
from neurons.output import make_table, show
from neurons.receipt_commands import find_receipts
from neurons.receipt_options import PowerOptions
from validator.power import Power, power_of


def show_power(options: PowerOptions) -> None:
    """Print how many tokens each kind of decision takes."""
    ledger, hub = Ledger(options.network, options.netuid, genesis_hash=options.genesis_hash), HubClient(options.hub)
    _, chained = find_receipts(ledger, hub, options)
    plan = Observer(ledger=ledger, hub=hub).release().scoring
    found = power_of(chained[-1], plan, options.delta, options.power)
    show(found, lambda: (_sentence(found), _table(found)), as_json=options.as_json)


def _sentence(found: Power) -> str:
    return (
        f"Round {found.round}, {found.sequences} sequences, {found.tokens} tokens. Tokens that find a difference of "
        f"{found.delta:g} nats a token in {found.power:.0%} of cases, with intervals of {found.confidence:.2%}; how "
        "many times the round's text that is; and the smallest difference that the round's own text finds:"
    )


def _table(found: Power) -> Table:
    columns = ["decision", "cases", "tokens", "worst case", "rounds", "finds"]
    rows = [
        [
            one.name,
            str(one.cases),
            f"{one.tokens:,}",
            f"{one.tokens_of_worst:,}",
            f"{one.tokens / found.tokens:.1f}",
            f"{one.smallest_told:.4f}",
        ]
        for one in found.decisions
    ]
    return make_table(columns, rows, right=columns[1:], folds="decision")
