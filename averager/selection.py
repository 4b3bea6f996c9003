"""Who is in the merge: what the chain's weights carry, and nothing else."""

from chain.ledger import Metagraph
from chain.yuma import consensus


def approved_hotkeys(metagraph: Metagraph, since: int) -> list[str]:
    """Hotkeys that the stake-weighted kappa-median of the validators' weights carries, sorted; never the owner's.

    The median is Yuma's own, so less than kappa of the stake can neither add nor remove anyone. Weights set before
    block `since` speak of an earlier round: their stake counts, but supports nobody. Where weights are hidden at first,
    all that stand are of an earlier round.
    """
    visible = () if metagraph.commit_reveal else metagraph.neurons
    fresh = {neuron.uid for neuron in visible if neuron.last_update > since}
    count = len(metagraph.neurons)
    carried = consensus(
        [neuron.stake_rao for neuron in metagraph.neurons],
        [neuron.permit for neuron in metagraph.neurons],
        {uid: row for uid, row in metagraph.weights.items() if uid in fresh},
        metagraph.kappa,
        count,
    )
    return sorted(
        neuron.hotkey
        for neuron, weight in zip(metagraph.neurons, carried, strict=True)
        if weight > 0 and neuron.hotkey != metagraph.owner_hotkey
    )
