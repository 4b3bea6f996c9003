"""`hivetune receipt`: what a validator says of a round, and whether it is true."""

import json
import secrets
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.table import Table

from chain.ledger import Ledger
from hivetune.commitments import ReceiptPointer
from hivetune.errors import ConfigError
from hivetune.records import Entry, Receipt
from hivetune.releases import Located, ReleaseFollower
from hivetune.rounds import round_by_id
from hub.client import HubClient
from hub.revealed import RevealedFiles
from neurons.output import make_table, say_aside, show
from neurons.receipt_chain import receipt_pointer, receipts_back, receipts_before
from neurons.receipt_options import ReceiptOptions, ReceiptVerifyOptions
from validator.earlier import EarlierFiles
from validator.receipt_arithmetic import first_contradiction
from validator.receipt_check import first_difference, unrepeatable
from validator.receipt_sample import repeat_batches
from validator.round_scoring import admit_round, pay_history, read_round, remembered_rounds, score_round


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What came of repeating a receipt's round."""

    validator: str
    round: int
    receipts_in_chain: int  # from the newest to this one, each of the digest that the one after it names
    entries: int
    batches: int  # measured again
    batches_in_all: int
    not_repeatable: int  # entries that hang on what the Hub showed at the time
    earlier_missing: int  # files of earlier rounds that the validator says it could not have
    earlier_gone: int  # those that it had, and that cannot be had any more
    true: bool


def show_receipt(options: ReceiptOptions) -> None:
    """Print a receipt whose digest the chain vouches for."""
    ledger = Ledger(options.network, options.netuid, genesis_hash=options.genesis_hash)
    _, chained = find_receipts(ledger, HubClient(options.hub), options)
    receipt = chained[-1]
    value = json.loads(receipt.to_bytes())
    show(value, lambda: _table(receipt), as_json=options.as_json)


def verify_receipt(options: ReceiptVerifyOptions) -> None:
    """Score the receipt's round again from the Hub and the chain alone; ConfigError names the first difference."""
    if options.threads:
        torch.set_num_threads(options.threads)
    ledger, hub = Ledger(options.network, options.netuid, genesis_hash=options.genesis_hash), HubClient(options.hub)
    pointer, chained = find_receipts(ledger, hub, options)
    published = chained[-1]
    with tempfile.TemporaryDirectory(prefix="hivetune-") as folder:
        repeated, batches = _repeat(published, pointer, ledger, hub, Path(folder), options)
    if difference := first_difference(published, repeated):
        raise ConfigError(f"the receipt of {published.validator} for round {published.round_id} lies: {difference}")
    left_out = unrepeatable(published, repeated.missing_earlier)
    found = Verified(
        validator=published.validator,
        round=published.round_id,
        receipts_in_chain=len(chained),
        entries=len(published.entries),
        batches=batches,
        batches_in_all=len(published.batch_tokens),
        not_repeatable=len(left_out),
        earlier_missing=len(published.missing_earlier),
        earlier_gone=len(set(repeated.missing_earlier) - set(published.missing_earlier)),
        true=True,
    )
    show(found, lambda: _sentence(found), as_json=options.as_json)


def _repeat(
    published: Receipt,
    pointer: ReceiptPointer,
    ledger: Ledger,
    hub: HubClient,
    folder: Path,
    options: ReceiptVerifyOptions,
) -> tuple[Receipt, int]:
    """The receipt as it should be, and how many batches were measured for it."""
    follower = ReleaseFollower(ledger, hub, folder / "state")
    located = _release(follower, published)
    now = round_by_id(located.release.rounds, published.round_id)
    first = now.round_id - remembered_rounds(located.release)
    inputs = read_round(ledger, located, now)
    revisions = {entry.repo: entry.revision for entry in published.entries if entry.revision}
    source = RevealedFiles(hub, own_repo=located.repo, download_s=options.fetch_seconds, revisions=revisions)
    files = EarlierFiles(source=source, folder=folder / "earlier", without=frozenset(published.missing_earlier))
    earlier = list(receipts_before(hub, published.validator, pointer, published, max(first, 0)))
    missing = files.gather(earlier, now.round_id, located.release.layout).missing
    left_out = unrepeatable(published, missing)
    kept = {hotkey: one for hotkey, one in inputs.commitments.items() if hotkey not in left_out}
    admitted = admit_round(
        replace(inputs, commitments=kept),
        follower,
        source,
        earlier=earlier,
        earlier_files=replace(files, without=frozenset(missing)),
        submissions=folder / "submissions",
        say=say_aside,
    )
    total = len(admitted.text.batches)
    if not 0 < options.sample < total:
        validator, previous = published.validator, published.previous
        repeated = score_round(
            admitted, validator=validator, previous=previous, earlier=earlier, measured={}, say=say_aside
        )
        return repeated, total
    history = pay_history(earlier, located.release, now)
    if contradiction := first_contradiction(published, located.release.scoring, history):
        raise ConfigError(f"the receipt of {published.validator} contradicts itself: {contradiction}")
    drawn = sorted(secrets.SystemRandom().sample(range(total), options.sample))
    return repeat_batches(published, admitted, drawn, say_aside), len(drawn)


def find_receipts(ledger: Ledger, hub: HubClient, options: ReceiptOptions) -> tuple[ReceiptPointer, list[Receipt]]:
    """A validator's pointer, and its receipts from the newest to the one asked for."""
    validator, pointer = receipt_pointer(ledger, options.hotkey)
    wanted = pointer.round_id if options.round is None else options.round
    chained = list(receipts_back(hub, validator, pointer, wanted))
    if not chained or chained[-1].round_id != wanted:
        raise ConfigError(f"{pointer.repo} has no receipt of round {wanted}, the last one is of {pointer.round_id}")
    return pointer, chained


def _release(follower: ReleaseFollower, published: Receipt) -> Located:
    for located in follower.history():
        if located.sha256 == published.release_sha256:
            return located
    raise ConfigError(f"the receipt names release {published.release_sha256[:16]}, which the owner never published")


def _sentence(found: Verified) -> str:
    skipped = f", {found.not_repeatable} hang on what the Hub showed then" if found.not_repeatable else ""
    if found.earlier_missing or found.earlier_gone:
        skipped += (
            f"; of the files of earlier rounds the validator did without {found.earlier_missing}, "
            f"and {found.earlier_gone} are gone since"
        )
    return (
        f"round {found.round}, validator {found.validator[:8]}: all {found.entries} entries, measured again on "
        f"{found.batches} of {found.batches_in_all} batches, are true"
        f"{skipped}; unbroken chain of receipts from the newest: {found.receipts_in_chain}"
    )


def _table(receipt: Receipt) -> Table:
    columns = ["uid", "hotkey", "verdict", "alone", "credit", "at least", "weight"]
    return make_table(columns, [_row(entry) for entry in receipt.entries], right=["uid", *columns[3:]], folds="verdict")


def _row(entry: Entry) -> list[str]:
    verdict = entry.verdict if not entry.reason else f"{entry.verdict}: {entry.reason}"
    numbers = (entry.improvement, entry.credit, entry.lower)
    shown = ["" if number is None else f"{number:+.4f}" for number in numbers]
    return [str(entry.uid), entry.hotkey[:8], verdict, *shown, f"{entry.weight:.3f}"]
