"""Which endpoints a network's name means, and which chain has to answer there."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from hivetune.errors import ConfigError

LOCAL = "local"
LOCAL_URL = "ws://127.0.0.1:9944"
GENESIS_HASH = re.compile(r"0x[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoints:
    """Where a network is reached."""

    urls: tuple[str, ...]  # distinct; the first is preferred
    genesis_hash: str  # of the chain that has to answer, 0x and 64 hex digits; "" when any may


# Endpoints and genesis hashes as Bittensor's own client and the runtime's migrations have them.
NETWORKS = {
    "finney": Endpoints(
        urls=("wss://entrypoint-finney.opentensor.ai:443",),
        genesis_hash="0x2f0555cc76fc2840a25a6ea3b9637146806f1f44b090c175ffde2a7e5ab36c03",
    ),
    "test": Endpoints(
        urls=("wss://test.finney.opentensor.ai:443",),
        genesis_hash="0x8f9cf856bf558a14440e75569c9e58594757048d7b3a84b5d25f6bd978263105",
    ),
    LOCAL: Endpoints(urls=(LOCAL_URL,), genesis_hash=""),
}
ALLOWED = f"{', '.join(NETWORKS)}, or ws:// and wss:// URLs separated by commas"


def resolve(network: str, genesis_hash: str = "") -> Endpoints:
    """Endpoints of a network given by name or by URLs; a given genesis hash pins it."""
    known = NETWORKS.get(network)
    pin = checked_hash(genesis_hash)
    if known is None:
        return Endpoints(urls=split_urls(network), genesis_hash=pin)
    if pin and known.genesis_hash and pin != known.genesis_hash:
        raise ConfigError(f"genesis hash {pin} is not that of {network}, which is {known.genesis_hash}")
    return Endpoints(urls=known.urls, genesis_hash=pin or known.genesis_hash)


def checked_hash(genesis_hash: str) -> str:
    """In lower case; empty stays empty."""
    found = genesis_hash.lower()
    if found and not GENESIS_HASH.fullmatch(found):
        raise ConfigError(f"genesis hash {genesis_hash!r}, want 0x and 64 hex digits")
    return found


def split_urls(text: str) -> tuple[str, ...]:
    urls = tuple(part.strip() for part in text.split(","))
    for url in urls:
        if not is_endpoint(url):
            raise ConfigError(f"network {text!r}: {url!r} is none of {ALLOWED}")
    if len({url.rstrip("/").lower() for url in urls}) < len(urls):
        raise ConfigError(f"network {text!r} names an endpoint twice")
    return urls


def is_endpoint(url: str) -> bool:
    """A WebSocket URL with a host, and a port that can be one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    spaced = any(character.isspace() for character in url)
    return url.startswith(("ws://", "wss://")) and bool(parts.hostname) and port != 0 and not spaced
