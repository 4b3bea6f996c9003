"""The demo's tables: one a round, the releases compared, everybody's rewards."""

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hivetune.printable import printable
from neurons.localnet.final import Final
from neurons.results import RoundResult, SubmissionResult

_GOOD, _BAD = "green", "red"


def round_table(result: RoundResult, names: dict[str, str]) -> Table:
    """What became of every submission, and of the merge."""
    base = f"base loss {result.base_loss:.4f} nats a token" if result.base_loss is not None else "base not measured"
    seconds = ", ".join(f"{phase} {s:.0f} s" for phase, s in result.seconds.items())
    table = Table(
        title=f"Round {result.round}: {base}; {seconds}",
        caption=_release_line(result),
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="",
    )
    for column in ("miner", "shard", "verdict"):
        table.add_column(column, no_wrap=True)
    for column in ("solo gain", "credit", "weight", "earned"):
        table.add_column(column, justify="right", no_wrap=True)
    for submission in result.submissions:
        table.add_row(*_row(submission, names))
    return table


def final_table(final: Final, seconds: float) -> Table:
    """Release 0 against the last one."""
    interval = f"[{final.lower:+.4f}, {final.upper:+.4f}]"
    table = Table(
        title=f"On text no miner trained on, after {seconds / 60:.1f} minutes",
        caption=f"improvement {final.improvement:+.4f} nats a token, 95 % interval {interval}",
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="",
    )
    table.add_column("")
    table.add_column("release 0", justify="right")
    table.add_column(f"release {final.release}", justify="right", style=_GOOD)
    table.add_row("held-out loss (nats a token)", f"{final.loss_before:.4f}", f"{final.loss_after:.4f}")
    table.add_row("perplexity", *(f"{value:.2f}" for value in final.perplexity))
    table.add_row("token accuracy", *(f"{value:.1%}" for value in final.token_accuracy))
    table.add_row("bits per byte", *(f"{value:.4f}" for value in final.bits_per_byte))
    return table


def rewards_table(rewards: dict[str, float], names: dict[str, str]) -> Table:
    """What everybody earned."""
    table = Table(title="Rewards", box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("neuron")
    table.add_column("hotkey")
    table.add_column("earned", justify="right")
    for hotkey, earned in rewards.items():
        table.add_row(names.get(hotkey, ""), hotkey, f"{earned:.2f}")
    return table


def _row(submission: SubmissionResult, names: dict[str, str]) -> list[str | Text]:
    paid = submission.verdict == "paid"
    verdict = "paid" if paid else f"{submission.verdict}: {submission.reason}"
    return [
        names.get(submission.hotkey, printable(submission.hotkey[:10])),
        str(submission.shard),
        Text(printable(verdict), style=_GOOD if paid else _BAD),
        _interval(submission.improvement, submission.improvement_lower, submission.improvement_upper),
        _interval(submission.credit, submission.lower, submission.upper),
        f"{submission.weight:.3f}",
        f"{submission.emission:.2f}",
    ]


def _interval(mean: float | None, lower: float | None, upper: float | None) -> str:
    if mean is None or lower is None or upper is None:
        return "-"
    return f"{mean:+.4f} ±{(upper - lower) / 2:.4f}"


def _release_line(result: RoundResult) -> str:
    release = result.release
    gain = _interval(release.improvement, release.lower, release.upper)
    agree = "validators agree" if result.validators_agree else "VALIDATORS DISAGREE"
    error = f", credits add up within {abs(result.completeness_error):.2%}" if result.completeness_error else ""
    if not release.published:
        return f"no release: {printable(release.reason)} {gain}; {agree}{error}"
    return f"new release, merged at scale {release.scale}: {gain} nats; {agree}{error}"
