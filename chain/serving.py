"""Where a neuron's service is reached, as the chain publishes it."""

import ipaddress
from dataclasses import dataclass
from typing import Any

from chain.metagraph import PALLET


@dataclass(frozen=True, kw_only=True, slots=True)
class Axon:
    """A published address; `block` is when it was published."""

    ip: str
    port: int
    block: int


def axon_arguments(netuid: int, ip: str, port: int) -> dict[str, Any]:
    """Of serve_axon; ValueError for what is no address or no port."""
    if not 0 < port < 1 << 16:
        raise ValueError(f"port {port}, want 1..65535")
    address = ipaddress.ip_address(ip)
    return {
        "netuid": netuid, "version": 1, "ip": int(address), "port": port, "ip_type": address.version,
        "protocol": 4, "placeholder1": 0, "placeholder2": 0,
    }  # fmt: skip


def read_axon(interface: Any, netuid: int, hotkey: str, at: str) -> Axon | None:
    found = interface.query(PALLET, "Axons", [netuid, hotkey], block_hash=at).value
    if not found or not int(found["port"]):
        return None
    kind = ipaddress.IPv4Address if int(found["ip_type"]) == 4 else ipaddress.IPv6Address
    return Axon(ip=str(kind(int(found["ip"]))), port=int(found["port"]), block=int(found["block"]))
