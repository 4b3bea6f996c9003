"""What the owner of a subnet does once, with the coldkey: create it, register neurons, stake, set hyperparameters."""

from typing import Any

from substrateinterface import Keypair

from chain.connection import Connection
from chain.metagraph import PALLET, netuids
from chain.submit import Submission, TxResult, finalized_head
from hivetune.errors import ConfigError, RetryableError

ADMIN = "AdminUtils"
CHAIN_WIDE = "netuid"  # setters without this argument hold for all subnets


class SubnetAdmin:
    """Coldkey-signed calls. Where the key is the chain's sudo key, hyperparameters go through sudo."""

    def __init__(self, url: str, keypair: Keypair, *, timeout_s: float = 30.0, submit_timeout_s: float = 120.0) -> None:
        self._connection = Connection(url, timeout_s)
        self._keypair = keypair
        self._submit_timeout_s = submit_timeout_s

    def close(self) -> None:
        self._connection.close()

    def register_network(self, hotkey: str) -> int:
        """Creates a subnet owned by this coldkey, with `hotkey` as its owner hotkey and uid 0; returns its netuid."""
        before = self._connection.use(lambda interface: set(netuids(interface, finalized_head(interface).hash)))
        result = self._submit(PALLET, "register_network", {"hotkey": hotkey})
        made = self._connection.use(lambda interface: self._owned(interface, result.block_hash, hotkey) - before)
        if not made:
            raise RetryableError(f"register_network is in block {result.block}, but no new subnet is")
        return min(made)

    def _owned(self, interface: Any, at: str, hotkey: str) -> set[int]:
        rows = interface.query_map(PALLET, "SubnetOwnerHotkey", block_hash=at, page_size=100)
        return {int(netuid.value) for netuid, owner in rows if owner.value == hotkey}

    def register(self, netuid: int, hotkey: str) -> TxResult:
        """Registers a hotkey of this coldkey; burns the subnet's registration price."""
        return self._submit(PALLET, "burned_register", {"netuid": netuid, "hotkey": hotkey})

    def start(self, netuid: int) -> TxResult:
        """Starts emission and staking, some blocks after the subnet was created."""
        return self._submit(PALLET, "start_call", {"netuid": netuid})

    def add_stake(self, netuid: int, hotkey: str, amount_rao: int) -> TxResult:
        return self._submit(PALLET, "add_stake", {"hotkey": hotkey, "netuid": netuid, "amount_staked": amount_rao})

    def sudo_set(self, netuid: int, name: str, value: int | bool) -> TxResult:
        """Sets a hyperparameter, as in `sudo_set(netuid, "tempo", 10)`; chain-wide ones ignore the netuid."""
        function = name if name.startswith("sudo_set_") else f"sudo_set_{name}"
        return self._connection_submit(function, netuid, value)

    def _connection_submit(self, function: str, netuid: int, value: int | bool) -> TxResult:
        arguments, is_sudo = self._connection.use(lambda interface: self._signature(interface, function))
        chosen: dict[str, Any] = {name: netuid if name == CHAIN_WIDE else value for name in arguments}
        if not is_sudo:
            return self._submit(ADMIN, function, chosen)
        inner = {"call_module": ADMIN, "call_function": function, "call_args": chosen}
        return self._submit("Sudo", "sudo", {"call": inner})

    def _signature(self, interface: Any, function: str) -> tuple[list[str], bool]:
        """The setter's argument names, and whether this key is the sudo key."""
        head = finalized_head(interface)
        interface.init_runtime(block_hash=head.hash)
        calls = interface.metadata.get_metadata_pallet(ADMIN).calls
        names = {call.name: [argument.name for argument in call.args] for call in calls}
        if function not in names:
            raise ConfigError(f"no hyperparameter {function!r}, there are {sorted(names)}")
        sudo = interface.query("Sudo", "Key", block_hash=head.hash).value
        return names[function], sudo == self._keypair.ss58_address

    def _submit(self, module: str, function: str, parameters: dict[str, Any]) -> TxResult:
        submission = Submission(
            self._connection, self._keypair, module, function, parameters, timeout_s=self._submit_timeout_s
        )
        return submission.run()
