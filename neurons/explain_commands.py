"""`hivetune rewards explain`: from a submission to its pay, number by number."""

from rich.table import Table

from chain.ledger import Ledger
from hivetune.errors import ConfigError
from hivetune.records import Receipt
from hivetune.rounds import round_by_id
from hub.client import HubClient
from neurons.explanation import Check, Counterfactual, Explanation, Paid, explain
from neurons.observer import Observer, earned_rao
from neurons.output import show
from neurons.results import RAO
from neurons.subnet_options import ExplainOptions
from validator.pay import Earlier
from validator.round_scoring import pay_history, remembered_rounds


def explain_rewards(options: ExplainOptions) -> None:
    """Print how every submission of a round, or one hotkey's, came to its pay."""
    ledger = Ledger(options.network, options.netuid, genesis_hash=options.genesis_hash)
    observer = Observer(ledger=ledger, hub=HubClient(options.hub))
    found = read_explanations(observer, options.hotkey, options.round)
    show(found, lambda: [_table(one) for one in found], as_json=options.as_json)


def read_explanations(observer: Observer, hotkey: str, round_id: int | None) -> list[Explanation]:
    """One for every submission, or the one of `hotkey`; ConfigError when the round's receipts hold none."""
    metagraph = observer.ledger.metagraph()
    if round_id is None:
        last = observer.receipts(None, metagraph)
        if not last:
            raise ConfigError("no validator has published a receipt yet")
        round_id = last[0].round_id
    receipts = observer.receipts(round_id, metagraph)
    if not receipts:
        raise ConfigError(f"no validator has a receipt of round {round_id}")
    earlier = _earlier(observer, receipts[0])
    paid = _paid(observer, round_id)
    digests = [receipt.digest() for receipt in receipts]
    wanted = [hotkey] if hotkey else [entry.hotkey for entry in receipts[0].entries]
    found = [one for key in wanted if (one := explain(key, receipts, digests, earlier, paid)) is not None]
    if hotkey and not found:
        raise ConfigError(f"{hotkey} made no submission in round {round_id}")
    return found


def _earlier(observer: Observer, receipt: Receipt) -> list[Earlier]:
    """Rounds before, as the same validator told them."""
    release = observer.release()
    now = round_by_id(release.rounds, receipt.round_id)
    metagraph = observer.ledger.metagraph()
    before = [
        told
        for round_id in range(max(0, now.round_id - remembered_rounds(release)), now.round_id)
        for told in observer.receipts(round_id, metagraph)
        if told.validator == receipt.validator
    ]
    return pay_history(before, release, now)


def _paid(observer: Observer, round_id: int) -> Paid | None:
    """None before the round has ended."""
    last_block = round_by_id(observer.release().rounds, round_id).last_block
    if last_block > observer.ledger.head().number:
        return None
    metagraph = observer.ledger.metagraph(observer.ledger.block_hash(last_block))
    earned = {hotkey: rao / RAO for hotkey, rao in earned_rao(metagraph).items()}
    # A neuron's emission is in the proportion of its incentive, as a miner, and its dividends, as a validator.
    to_miners = sum(
        neuron.emission_rao / RAO * neuron.incentive / (neuron.incentive + neuron.dividends)
        for neuron in metagraph.neurons
        if neuron.incentive > 0 and neuron.hotkey != metagraph.owner_hotkey
    )
    consensus = {neuron.hotkey: neuron.consensus for neuron in metagraph.neurons}
    return Paid(emission=earned, consensus=consensus, to_miners=to_miners)


def _table(one: Explanation) -> Table:
    title = f"Round {one.round}, uid {one.uid}, {one.hotkey}"
    table = Table(title=title, box=None, title_justify="left", show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _lines(one):
        table.add_row(name, text)
    table.add_row("", "")
    return table


def _lines(one: Explanation) -> list[tuple[str, str]]:
    verdict = one.verdict if not one.reason else f"{one.verdict}: {one.reason}, {one.detail}"
    at = f" at {one.revision[:8]}" if one.revision else ""
    file = f"{one.repo}{at}, sha256 {one.file_sha256[:16]}" if one.file_sha256 else "none"
    lines = [
        ("verdict", verdict),
        ("submission", f"{file}, shard {one.shard}"),
        ("checks", ", ".join(_check(check) for check in one.checks)),
        ("alone", _bounds(one.improvement, one.improvement_lower, one.improvement_upper)),
        ("credit", _bounds(one.credit, one.lower, one.upper)),
        ("share", f"{one.share:.4f} of this round's credit{_earlier_text(one)}"),
        ("weight", f"{one.weight:.4f}"),
    ]
    for word in one.words:
        credit = "" if word.credit is None else f" credit {word.credit:+.4f},"
        said = word.verdict if not word.reason else f"{word.verdict}: {word.reason}".removeprefix(": ")
        told = f"{said},{credit} weight {word.weight:.4f}, receipt {word.receipt_sha256[:16]}"
        lines.append((f"by {word.validator[:8]}", told))
    if one.emission is None or one.consensus is None:
        lines.append(("chain", "the round is not paid yet"))
    else:
        lines.append(("chain", f"consensus {one.consensus:.4f}, paid {one.emission:.4f} tokens"))
    if one.otherwise is not None:
        lines.append(("otherwise", _otherwise(one.otherwise)))
    return lines


def _check(check: Check) -> str:
    return f"{check.name} {'-' if check.passed is None else 'ok' if check.passed else 'FAILED'}"


def _bounds(mean: float | None, lower: float | None, upper: float | None) -> str:
    if mean is None or lower is None or upper is None:
        return "never measured"
    return f"{mean:+.4f} nats a token, between {lower:+.4f} and {upper:+.4f}"


def _earlier_text(one: Explanation) -> str:
    if not one.earlier_shares:
        return ""
    told = ", ".join(f"{share:.4f} in round {round_id}" for round_id, share in sorted(one.earlier_shares.items()))
    return f"; before: {told}"


def _otherwise(found: Counterfactual) -> str:
    paid = "" if found.tokens is None else f", about {found.tokens:.4f} tokens"
    return (
        f"{found.more_nats:.4f} nats a token more of credit: share {found.share:.4f}, weight {found.weight:.4f}{paid}"
    )
