"""Where a neuron can be reached: serve_axon, serve_prometheus and their checks."""

from typing import Any

from chain.devnode.pallet import Context, Origin, State, StorageItem, rules_of
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.scale import BYTES, U8, U16, U32, U128

IPV4, IPV6 = 4, 6
LOCALHOST = {IPV4: 0x7F000001, IPV6: 1}
MAX_CERTIFICATE_BYTES = 65
HIGHEST = {IPV4: (1 << 32) - 1, IPV6: (1 << 128) - 1}


def _is_registered(state: State, netuid: int, hotkey: bytes) -> bool:
    """By the old rules on any subnet."""
    if rules_of(state).serves_where_registered:
        return s.UIDS.has(state, netuid, hotkey)
    return any(member for _, member in s.IS_NETWORK_MEMBER.items(state, hotkey))


def _is_address(ip_type: int, ip: int) -> bool:
    if ip == LOCALHOST[ip_type]:
        return False
    return ip < HIGHEST[IPV4] if ip_type == IPV4 else ip != HIGHEST[IPV6]


def _is_time(state: State, netuid: int, before: dict[str, Any] | None, block: int) -> bool:
    limit, last = s.SERVING_RATE_LIMIT.get(state, netuid), 0 if before is None else before["block"]
    return bool(limit == 0 or last == 0 or block - last >= limit)


def check_axon(state: State, block: int, hotkey: bytes, netuid: int, ip: int, port: int, ip_type: int) -> None:
    """Also asked before a call comes into the pool."""
    SUBTENSOR.ensure(_is_registered(state, netuid, hotkey), "HotKeyNotRegisteredInNetwork")
    SUBTENSOR.ensure(ip_type in (IPV4, IPV6), "InvalidIpType")
    SUBTENSOR.ensure(_is_address(ip_type, ip), "InvalidIpAddress")
    SUBTENSOR.ensure(_is_time(state, netuid, s.AXONS.get(state, netuid, hotkey), block), "ServingRateLimitExceeded")
    SUBTENSOR.ensure(port != 0, "InvalidPort")


def check_prometheus(state: State, block: int, hotkey: bytes, netuid: int, ip: int, port: int, ip_type: int) -> None:
    SUBTENSOR.ensure(ip_type in (IPV4, IPV6), "InvalidIpType")
    SUBTENSOR.ensure(ip != 0 and _is_address(ip_type, ip), "InvalidIpAddress")
    SUBTENSOR.ensure(_is_registered(state, netuid, hotkey), "HotKeyNotRegisteredInNetwork")
    before = s.PROMETHEUS.get(state, netuid, hotkey)
    SUBTENSOR.ensure(_is_time(state, netuid, before, block), "ServingRateLimitExceeded")
    SUBTENSOR.ensure(port != 0, "InvalidPort")


def _serve(context: Context, item: StorageItem, event: str, hotkey: bytes, netuid: int, info: dict[str, int]) -> None:
    item.put(context.state, netuid, hotkey, {"block": context.block, **info})
    context.emit(SUBTENSOR, event, netuid, hotkey)


_AXON = {
    "netuid": U16,
    "version": U32,
    "ip": U128,
    "port": U16,
    "ip_type": U8,
    "protocol": U8,
    "placeholder1": U8,
    "placeholder2": U8,
}


@SUBTENSOR.call(4, **_AXON)
def serve_axon(context: Context, origin: Origin, netuid: int, **info: int) -> None:
    hotkey = origin.signed()
    check_axon(context.state, context.block, hotkey, netuid, info["ip"], info["port"], info["ip_type"])
    _serve(context, s.AXONS, "AxonServed", hotkey, netuid, info)


@SUBTENSOR.call(40, **_AXON, certificate=BYTES)
def serve_axon_tls(context: Context, origin: Origin, netuid: int, certificate: bytes, **info: int) -> None:
    """The certificate is stored where it has the runtime's shape: an algorithm and a key of at most 64 bytes."""
    hotkey = origin.signed()
    check_axon(context.state, context.block, hotkey, netuid, info["ip"], info["port"], info["ip_type"])
    if 0 < len(certificate) <= MAX_CERTIFICATE_BYTES:
        entry = {"public_key": certificate[1:], "algorithm": certificate[0]}
        s.NEURON_CERTIFICATES.put(context.state, netuid, hotkey, entry)
    _serve(context, s.AXONS, "AxonServed", hotkey, netuid, info)


@SUBTENSOR.call(5, netuid=U16, version=U32, ip=U128, port=U16, ip_type=U8)
def serve_prometheus(context: Context, origin: Origin, netuid: int, **info: int) -> None:
    hotkey = origin.signed()
    check_prometheus(context.state, context.block, hotkey, netuid, info["ip"], info["port"], info["ip_type"])
    _serve(context, s.PROMETHEUS, "PrometheusServed", hotkey, netuid, info)
