"""What coldkeys do: create and start a subnet, register neurons, stake, set hyperparameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from substrateinterface import Keypair

from chain.hyperparameters import ADMIN, ROWS, Call, Hyperparameter, Setter, find_call, parse_value, read_all
from chain.metagraph import PALLET, netuids
from chain.quorum import Quorum
from chain.submit import Submission, TxResult, call_arguments, call_exists
from hivetune.errors import ConfigError, RetryableError

BALANCES = "Balances"
CHAIN_WIDE = "netuid"  # setters without this argument hold for all subnets
PREFIX = "sudo_set_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A hyperparameter before and after it was set, as the chain says."""

    before: Hyperparameter
    after: Hyperparameter
    block: int


class SubnetAdmin:
    """Coldkey-signed calls. Where the key is the chain's sudo key, hyperparameters go through sudo."""

    def __init__(
        self,
        network: str,
        keypair: Keypair,
        *,
        genesis_hash: str = "",
        timeout_s: float = 30.0,
        submit_timeout_s: float = 120.0,
    ) -> None:
        self.quorum = Quorum(network, genesis_hash=genesis_hash, timeout_s=timeout_s)
        self._keypair = keypair
        self._submit_timeout_s = submit_timeout_s

    @property
    def coldkey(self) -> str:
        return str(self._keypair.ss58_address)

    def close(self) -> None:
        self.quorum.close()

    def register_network(self, hotkey: str) -> int:
        """Creates a subnet owned by this coldkey, with `hotkey` as its owner hotkey and uid 0; returns its netuid."""
        at = self.quorum.head().hash
        before = self.quorum.agree(lambda interface: set(netuids(interface, at)))
        result = self._submit(PALLET, "register_network", {"hotkey": hotkey})
        made = self.quorum.agree(lambda interface: _owned(interface, result.block_hash, hotkey)) - before
        if not made:
            raise RetryableError(f"register_network is in block {result.block}, but no new subnet is")
        return min(made)

    def register(self, netuid: int, hotkey: str, *, max_price_rao: int | None = None) -> TxResult:
        """Registers a hotkey of this coldkey; burns the subnet's registration price.

        The chain itself holds the limit where the runtime has such a call.
        """
        arguments: dict[str, Any] = {"netuid": netuid, "hotkey": hotkey}
        at = self.quorum.head().hash
        if max_price_rao is not None and self.quorum.agree(lambda interface: _has_limit(interface, at)):
            return self._submit(PALLET, "register_limit", {**arguments, "limit_price": max_price_rao})
        return self._submit(PALLET, "burned_register", arguments)

    def start(self, netuid: int) -> TxResult:
        """Starts emission and staking, some blocks after the subnet was created."""
        return self._submit(PALLET, "start_call", {"netuid": netuid})

    def add_stake(self, netuid: int, hotkey: str, amount_rao: int) -> TxResult:
        """Buys the subnet's alpha for this much TAO."""
        return self._submit(PALLET, "add_stake", {"hotkey": hotkey, "netuid": netuid, "amount_staked": amount_rao})

    def remove_stake(self, netuid: int, hotkey: str, amount_rao: int) -> TxResult:
        """Sells this much of the subnet's alpha for TAO."""
        return self._submit(PALLET, "remove_stake", {"hotkey": hotkey, "netuid": netuid, "amount_unstaked": amount_rao})

    def transfer(self, address: str, amount_rao: int) -> TxResult:
        """Sends TAO to an account."""
        return self._submit(BALANCES, "transfer_keep_alive", {"dest": address, "value": amount_rao})

    def set_hyperparameter(self, netuid: int, name: str, text: str) -> Change:
        """Sets a value given as text and reads it back; ConfigError says what there is and what fits."""
        at = self.quorum.head().hash
        is_sudo = self._is_sudo(at)
        before, call = self.quorum.agree(lambda interface: _settable(interface, netuid, name, at, root=is_sudo))
        values = parse_value(name, call.types, text)
        chosen = {"netuid": netuid, **dict(zip(call.arguments, values, strict=True))}
        result = self._administer(call.pallet, call.function, chosen, is_sudo=is_sudo)
        after = _named(self.quorum.agree(lambda interface: read_all(interface, netuid, result.block_hash)), name)
        wanted = tuple(values) if len(values) > 1 else values[0]
        if after.value != wanted:
            raise RetryableError(f"{name} was set to {text} in block {result.block}, but there it is {after.value}")
        return Change(before=before, after=after, block=result.block)

    def sudo_set(self, netuid: int, name: str, value: int | bool) -> TxResult:
        """Calls a setter of AdminUtils, as in `sudo_set(netuid, "tempo", 10)`; chain-wide ones ignore the netuid."""
        function = name if name.startswith(PREFIX) else f"{PREFIX}{name}"
        at = self.quorum.head().hash
        arguments = self._setters_at(at)
        if function not in arguments:
            raise ConfigError(f"no hyperparameter {name!r} on this chain, there are {sorted(arguments)}")
        chosen = {argument: netuid if argument == CHAIN_WIDE else value for argument in arguments[function]}
        return self._administer(ADMIN, function, chosen, is_sudo=self._is_sudo(at))

    def has_setter(self, name: str) -> bool:
        """Whether this runtime can set a hyperparameter, named as for `sudo_set`."""
        return f"{PREFIX}{name}" in self._setters_at(self.quorum.head().hash)

    def _setters_at(self, at: str) -> dict[str, list[str]]:
        return self.quorum.agree(lambda interface: _setters(interface, at))

    def _is_sudo(self, at: str) -> bool:
        return self.quorum.agree(lambda interface: _sudo_key(interface, at)) == self.coldkey

    def _administer(self, pallet: str, function: str, chosen: Mapping[str, Any], *, is_sudo: bool) -> TxResult:
        if not is_sudo:
            return self._submit(pallet, function, chosen)
        inner = {"call_module": pallet, "call_function": function, "call_args": dict(chosen)}
        return self._submit("Sudo", "sudo", {"call": inner})

    def _submit(self, module: str, function: str, parameters: Mapping[str, Any]) -> TxResult:
        return Submission(self.quorum, self._keypair, module, function, parameters).run(self._submit_timeout_s)


def _owned(interface: Any, at: str, hotkey: str) -> set[int]:
    rows = interface.query_map(PALLET, "SubnetOwnerHotkey", block_hash=at, page_size=100)
    return {int(netuid.value) for netuid, owner in rows if owner.value == hotkey}


def _has_limit(interface: Any, at: str) -> bool:
    interface.init_runtime(block_hash=at)
    return call_exists(interface, PALLET, "register_limit")


def _setters(interface: Any, at: str) -> dict[str, list[str]]:
    interface.init_runtime(block_hash=at)
    return call_arguments(interface, ADMIN)


def _sudo_key(interface: Any, at: str) -> str | None:
    interface.init_runtime(block_hash=at)
    if interface.metadata.get_metadata_pallet("Sudo") is None:
        return None
    key = interface.query("Sudo", "Key", block_hash=at).value
    return None if key is None else str(key)


def _settable(interface: Any, netuid: int, name: str, at: str, *, root: bool) -> tuple[Hyperparameter, Call]:
    """The value as it is now and its setter; ConfigError with all that this key may set when it is not among them."""
    allowed = (Setter.OWNER, Setter.ROOT) if root else (Setter.OWNER,)
    everything = read_all(interface, netuid, at)
    names = [one.name for one in everything if one.setter in allowed]
    call = find_call(interface, name, root=root) if name in names else None
    if call is not None:
        return _named(everything, name), call
    known = "is the chain's to set" if name in ROWS else "is no hyperparameter"
    raise ConfigError(f"{name!r} {known}; {'sudo' if root else 'the owner'} may set {', '.join(names)}")


def _named(everything: tuple[Hyperparameter, ...], name: str) -> Hyperparameter:
    return next(one for one in everything if one.name == name)
