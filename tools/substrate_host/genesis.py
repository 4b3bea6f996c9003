"""The first state: the runtime's own genesis preset, with development accounts that hold TAO and a sudo key."""

import json
from collections.abc import Mapping
from typing import Any

from substrateinterface import Keypair

from chain.devnode.scale import Reader, compact
from hivetune.errors import ConfigError
from tools.substrate_host.runtime import Runtime, RuntimeFailed
from tools.substrate_host.state import History, Overlay

DEV_ACCOUNTS = ("//Alice", "//Bob", "//Charlie", "//Dave", "//Eve", "//Ferdie")
ENDOWMENT_RAO = 10**15  # a million TAO
VALIDATOR_STAKE_RAO = 10**12
GRANDPA_ALICE = "5FA9nQDVg267DEd8m1ZypXLBnvN7SFxYwV7ndqSYGiN9TTpu"  # //Alice as an ed25519 key
EVM_CHAIN_ID = 42
CODE = b":code"


def build_genesis(runtime: Runtime, code: bytes, endow: Mapping[str, int]) -> dict[bytes, bytes]:
    """The state of block 0. `endow` adds balances in rao to the development accounts'."""
    overlay = Overlay(History())
    try:
        preset = _preset(runtime, overlay)
        text = json.dumps(patched(preset, endow)).encode()
        answer = runtime.call("GenesisBuilder_build_state", compact(len(text)) + text, overlay)
    except RuntimeFailed as error:
        raise ConfigError(f"the runtime builds no genesis: {error}") from error
    if answer[0] != 0:
        reader = Reader(answer[1:])
        raise ConfigError(f"the runtime refuses its genesis: {reader.take(reader.compact()).decode(errors='replace')}")
    state = {key: value for key, value in overlay.changes.items() if value is not None}
    return state | {CODE: code}


def _preset(runtime: Runtime, overlay: Overlay) -> dict[str, Any]:
    """What the runtime calls its default: every field of every pallet."""
    answer = Reader(runtime.call("GenesisBuilder_get_preset", b"\x00", overlay))
    if answer.take(1) == b"\x00":
        raise ConfigError("the runtime has no default genesis preset")
    preset = json.loads(answer.take(answer.compact()))
    assert isinstance(preset, dict)
    return preset


def patched(preset: Mapping[str, Any], endow: Mapping[str, int]) -> dict[str, Any]:
    """A development chain of the preset: Alice is its only authority and its root."""
    addresses = [str(Keypair.create_from_uri(uri).ss58_address) for uri in DEV_ACCOUNTS]
    alice = addresses[0]
    balances = dict.fromkeys(addresses, ENDOWMENT_RAO) | dict(endow)
    wanted: dict[str, dict[str, Any]] = {
        "balances": {"balances": [list(item) for item in balances.items()]},
        "sudo": {"key": alice},
        "evmChainId": {"chainId": EVM_CHAIN_ID},
        "session": {"keys": [[alice, alice, {"babe": alice, "grandpa": GRANDPA_ALICE}]]},
        "staking": {
            "minimumValidatorCount": 1,
            "validatorCount": 1,
            "stakers": [[alice, alice, VALIDATOR_STAKE_RAO, "Validator"]],
            "invulnerables": [alice],
            "forceEra": "ForceNone",
        },
    }
    return {name: {**values, **wanted.get(name, {})} for name, values in preset.items()}
