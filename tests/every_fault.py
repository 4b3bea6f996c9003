"""Every way in which an endpoint can be bad, by a name, and what of it the ledger has to believe."""

import os

from chain.devnode.faults import GARBAGE, LIES, Fault
from tests.small_chain import SUBMIT

FULL = bool(os.environ.get("HIVETUNE_FULL_MATRIX"))  # all pairs of a fault and a call, not only a sample
HANG_S = 60.0  # ten times what a call with the tests' short timeouts may take
TIMEOUT_S = 0.8
FOREVER_S = 20.0

FAULTS: dict[str, tuple[Fault, ...]] = {
    "no answer": (Fault(kind="drop"),),
    "no answer, but done": (Fault(kind="drop", after=True),),
    "forgotten": (Fault(kind="drop", variant="forget"),),
    "no answer to what is submitted": (Fault(kind="drop", methods=SUBMIT),),
    "no answer to what is taken": (Fault(kind="drop", methods=SUBMIT, after=True),),
    "a little late": (Fault(kind="delay", seconds=0.01),),
    "late": (Fault(kind="delay", seconds=0.1),),
    "too late": (Fault(kind="delay", seconds=FOREVER_S),),
    "done, and too late": (Fault(kind="delay", seconds=FOREVER_S, after=True),),
    "submitted too late": (Fault(kind="delay", seconds=2 * TIMEOUT_S, methods=SUBMIT),),
    "in pieces": (Fault(kind="dribble", seconds=0.1),),
    "in pieces for ever": (Fault(kind="dribble", seconds=FOREVER_S),),
    "twice": (Fault(kind="duplicate"),),
    "said to be known": (Fault(kind="duplicate", variant="imported"),),
    "broken": (Fault(kind="disconnect"),),
    "broken after": (Fault(kind="disconnect", after=True),),
    "broken once": (Fault(kind="disconnect", times=1),),
    "broken after submitting": (Fault(kind="disconnect", after=True, methods=SUBMIT),),
    "error": (Fault(kind="error"),),
    "error after": (Fault(kind="error", after=True),),
    "error once": (Fault(kind="error", times=1),),
    "state is gone": (Fault(kind="error", code=4003, methods=("state_getStorageAt",)),),
    "refused": (Fault(kind="error", code=1010, message="Invalid Transaction", methods=SUBMIT),),
    "priority": (Fault(kind="error", code=1014, message="Priority is too low", methods=SUBMIT, after=True),),
    **{f"garbage {variant}": (Fault(kind="garbage", variant=variant, amount=2),) for variant in GARBAGE},
    "garbage to what is taken": (Fault(kind="garbage", variant="not_json", methods=SUBMIT),),
    "taken, told in pieces for ever": (Fault(kind="dribble", seconds=FOREVER_S, methods=SUBMIT),),
    "garbage once": (Fault(kind="garbage", variant="not_json", times=1),),
    "stale": (Fault(kind="stale_head"),),
    "behind": (Fault(kind="stale_head", variant="behind", amount=3),),
    **{f"lie {variant}": (Fault(kind="lie", variant=variant, amount=2),) for variant in LIES},
    "false chain, false storage": (Fault(kind="lie", variant="false_chain"), Fault(kind="lie", variant="storage")),
}  # fmt: skip
# Answers of the right form, which one endpoint alone can make the ledger believe; elsewhere what it returns is true.
BELIEVED = {
    "garbage null_result", "garbage wrong_type", "stale", "behind", "false chain, false storage",
    *(f"lie {variant}" for variant in LIES),
}  # fmt: skip
# Where a subnet or a setter seems not to exist, or one's own uid, waiting would not help: the operator has to look.
MAY_STOP = {"lie absent", "lie storage", "false chain, false storage"}
# Who is shown that nothing landed, or another's call numbers, sends it again or sends something else.
MISLEADING = {"lie absent", "lie left_out", "lie metadata", "lie storage", "false chain, false storage"}
