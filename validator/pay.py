"""Pay over several rounds: a paid submission's share of this round's credit, averaged with its shares of rounds before.

One round's ranking of miners who do equal work is mostly the noise of its text; the mean of several rounds is not.
Only who is paid in this round is paid at all, so nobody lives on, or does harm with, an earlier reputation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hivetune.records import Receipt


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """A round before, as the validator's own receipt tells it."""

    deadline: int  # block; who registered later had no part in that round
    receipt: Receipt


def average_shares(
    shares: Mapping[str, float], registered_at: Mapping[str, int], earlier: Sequence[Earlier]
) -> dict[str, float]:
    """Weights by hotkey, summing to one, of those with a share in this round; empty when there are none.

    A hotkey's mean runs over this round and those before in which it was registered, with its present registration;
    in a round without a paid submission of its own its share was zero. Rounds in which nobody was paid tell nothing.
    """
    history = {hotkey: [share] for hotkey, share in shares.items()}
    for one in earlier:
        entries = {entry.hotkey: entry for entry in one.receipt.entries}
        if not any(entry.share > 0 for entry in entries.values()):
            continue
        for hotkey, found in history.items():
            if registered_at[hotkey] <= one.deadline:
                entry = entries.get(hotkey)
                found.append(entry.share if entry is not None else 0.0)
    means = {hotkey: sum(found) / len(found) for hotkey, found in history.items()}
    total = sum(means.values())
    return {hotkey: mean / total for hotkey, mean in means.items()}
