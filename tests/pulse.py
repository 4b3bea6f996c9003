"""One pulse of the drand beacon, and what is encrypted to it: the beacon's key is fixed, so a test has no other."""

import json
from pathlib import Path

# Round 1000 of drand's quicknet with the signature that drand published for it.
ROUND = 1000
SIGNATURE = bytes.fromhex(
    "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"
)
PULSE = {"round": ROUND, "randomness": bytes(32), "signature": SIGNATURE}
# As hex. "weights" are 10 for uid 2 and 20 for uid 3, "named" the same after the hotkey //Bob//hot; "longer" has 5 and
# 20 and some bytes after them. The others are broken: fewer uids than values, a byte alone, a ciphertext cut short.
CIPHERTEXTS: dict[str, str] = json.loads((Path(__file__).parent / "golden" / "timelocked_round1000.json").read_text())
