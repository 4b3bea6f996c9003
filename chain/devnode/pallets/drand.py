"""Drand: the pulses of the beacon that opens timelocked weights. Nobody fetches them here: tests write them."""

from chain.devnode.pallet import Hasher, Pallet
from chain.devnode.scale import U64
from chain.devnode.substrate_types import PULSE

DRAND = Pallet(
    "Drand",
    26,
    "pallet_drand",
    errors=(
        "NoneValue",
        "StorageOverflow",
        "DrandConnectionFailure",
        "UnverifiedPulse",
        "InvalidRoundNumber",
        "PulseVerificationError",
    ),
)
PULSES = DRAND.item("Pulses", (Hasher.BLAKE128, U64), value=PULSE)
LAST_STORED_ROUND = DRAND.item("LastStoredRound", value=U64, default=0)
