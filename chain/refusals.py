"""Why a node does not even take a call into its pool, in the words that the pallet would use for it in a block."""

import re
from dataclasses import dataclass

from chain.connection import NodeRefused

BAD_FORMAT, INVALID_TRANSACTION, UNKNOWN_VALIDITY = 1001, 1010, 1011
PASSING_REASONS = ("outdated", "stale", "ancient", "future")  # of 1010: a fresh nonce and era help
UNNAMED = "InvalidTransaction"

# Subtensor's CustomTransactionError by number, as the pallet's Error names it.
NAMES = {
    1: "AmountTooLow",
    2: "NotEnoughBalanceToStake",
    3: "SubnetNotExists",
    4: "HotKeyAccountNotExists",
    5: "NotEnoughStakeToWithdraw",
    6: "TxRateLimitExceeded",
    7: "InsufficientLiquidity",
    8: "SlippageTooHigh",
    9: "TransferDisallowed",
    10: "HotKeyNotRegisteredInNetwork",
    11: "InvalidIpAddress",
    12: "ServingRateLimitExceeded",
    13: "InvalidPort",
    16: "NoWeightsCommitFound",
    17: "RevealTooEarly",
    18: "InputLengthsUnequal",
    255: "BadRequest",  # any other error, which only the node's log names
}
# The same number stands for another error where the call is a special one.
NAMES_BY_CALL = {
    "set_weights": {1: "NotEnoughStakeToSetWeights", 6: "SettingWeightsTooFast"},
    "commit_weights": {1: "NotEnoughStakeToSetWeights", 6: "CommittingWeightsTooFast"},
    "commit_crv3_weights": {1: "NotEnoughStakeToSetWeights", 6: "CommittingWeightsTooFast"},
    "commit_timelocked_weights": {1: "NotEnoughStakeToSetWeights", 6: "CommittingWeightsTooFast"},
    "reveal_weights": {1: "NotEnoughStakeToSetWeights"},
    "burned_register": {6: "TooManyRegistrationsThisInterval"},
    "register_network": {6: "NetworkTxRateLimitExceeded"},
}
_CUSTOM = re.compile(r"Custom error: (\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A node says that it did not take a call; one that passes is worth another try."""

    code: int
    message: str

    @classmethod
    def of(cls, refused: NodeRefused) -> "Refusal":
        return cls(code=refused.code, message=refused.message)

    @property
    def passes(self) -> bool:
        """Only the runtime's own verdict is final: a pool has its moods, and a node that fails may have taken it."""
        if self.code == INVALID_TRANSACTION:
            return any(word in self.message.lower() for word in PASSING_REASONS)
        return self.code not in (BAD_FORMAT, UNKNOWN_VALIDITY)

    def error_name(self, function: str) -> str:
        """The pallet's error for a refused call; InvalidTransaction where there is no such error."""
        found = _CUSTOM.search(self.message)
        if found is None:
            return UNNAMED
        number = int(found[1])
        return NAMES_BY_CALL.get(function, {}).get(number) or NAMES.get(number, UNNAMED)
