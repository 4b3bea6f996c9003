"""The JSON-RPC methods: Substrate's names and shapes, over one node. Whatever comes in, at worst an error goes out."""

import json
from collections.abc import Callable
from typing import Any

from chain.devnode.blocks import Block
from chain.devnode.extrinsics import InvalidTransaction
from chain.devnode.items import check_entry
from chain.devnode.metadata import metadata_hex
from chain.devnode.node import Node, PoolRefused, ReorgRefused, account_id
from chain.devnode.pallets.system import SPEC_NAME, SS58_PREFIX
from chain.devnode.runtime import TRANSACTION_VERSION
from chain.devnode.scale import MalformedBytes
from chain.devnode.views import ChainView

MAX_REQUEST_BYTES = 1 << 20
MAX_KEYS = 1000
MAX_REORG = 1000

PARSE_ERROR, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
INVALID_TRANSACTION = 1010

# Answered by the session, for they need its socket, its endpoint or its event loop.
SOCKET_METHODS = (
    "author_submitAndWatchExtrinsic",
    "author_unwatchExtrinsic",
    "chain_subscribeFinalizedHeads",
    "chain_subscribeNewHeads",
    "chain_unsubscribeFinalizedHeads",
    "chain_unsubscribeNewHeads",
    "dev_newBlock",
    "dev_setFaults",
)

VERSION = {
    "specName": SPEC_NAME,
    "implName": SPEC_NAME,
    "authoringVersion": 1,
    "implVersion": 1,
    "apis": [],
    "transactionVersion": TRANSACTION_VERSION,
    "stateVersion": 1,
}


class RpcError(Exception):
    """An answer of the error kind."""

    def __init__(self, code: int, message: str, data: str = "") -> None:
        super().__init__(message)
        self.body: dict[str, Any] = {"code": code, "message": message}
        if data:
            self.body["data"] = data


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def header_json(block: Block) -> dict[str, Any]:
    return {
        "parentHash": hexed(block.parent),
        "number": hex(block.number),
        "stateRoot": hexed(block.state_root),
        "extrinsicsRoot": hexed(block.extrinsics_root),
        "digest": {"logs": []},
    }


class Parameters:
    """Positional parameters of one request, each checked when it is asked for."""

    def __init__(self, values: Any) -> None:
        if values is None:
            values = []
        if not isinstance(values, list):
            raise RpcError(INVALID_PARAMS, "params must be a list")
        self.values = values

    def optional(self, index: int) -> Any:
        return self.values[index] if index < len(self.values) else None

    def hex(self, index: int) -> bytes:
        return unhex(self.optional(index))

    def integer(self, index: int, most: int) -> int:
        value = self.optional(index)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise RpcError(INVALID_PARAMS, f"parameter {index} must be an integer in 0..{most}")
        return value


def unhex(value: Any) -> bytes:
    if not isinstance(value, str):
        raise RpcError(INVALID_PARAMS, "want a hex string")
    try:
        return bytes.fromhex(value.removeprefix("0x"))
    except ValueError as error:
        raise RpcError(INVALID_PARAMS, f"not hex: {error}") from error


class Methods:
    """Answers requests for a node as a view shows it; the server adds what needs a socket (subscriptions)."""

    def __init__(self, node: Node, view: ChainView) -> None:
        self.node = node
        self.view = view
        self.table: dict[str, Callable[[Parameters], Any]] = {
            "rpc_methods": lambda _: {"methods": sorted((*self.table, *SOCKET_METHODS))},
            "system_chain": lambda _: "Development",
            "system_name": lambda _: "hivetune devnode",
            "system_version": lambda _: "1",
            "system_health": lambda _: {"peers": 0, "isSyncing": False, "shouldHavePeers": False},
            "system_properties": lambda _: {"ss58Format": SS58_PREFIX, "tokenDecimals": 9, "tokenSymbol": "TAO"},
            "system_accountNextIndex": self._next_index,
            "chain_getHead": lambda _: hexed(view.head.hash),
            "chain_getFinalizedHead": lambda _: hexed(view.finalized.hash),
            "chain_getBlockHash": self._block_hash,
            "chain_getHeader": self._header,
            "chain_getBlock": self._block,
            "state_getRuntimeVersion": lambda _: {**VERSION, "specVersion": node.rules.spec_version},
            "state_getMetadata": lambda _: metadata_hex(node.rules),
            "state_getStorage": self._storage,
            "state_getStorageAt": self._storage,
            "state_getKeysPaged": self._keys,
            "state_queryStorageAt": self._query,
            "author_submitExtrinsic": lambda parameters: hexed(self.submit(parameters.hex(0))),
            "author_pendingExtrinsics": lambda _: [hexed(one.raw) for one in node.pool.values()],
            "dev_dropPool": lambda _: node.drop_pool(),
            "dev_reorg": self._reorg,
            "dev_setStorage": self._set_storage,
        }

    def _at(self, value: Any) -> Block:
        block = self._find(value)
        if block is None:
            raise RpcError(4003, "Client error: unknown block", str(value)[:80])
        return block

    def _next_index(self, parameters: Parameters) -> int:
        address = parameters.optional(0)
        try:
            who = account_id(str(address))
        except (ValueError, IndexError) as error:
            raise RpcError(INVALID_PARAMS, f"not an address: {error}") from error
        if len(who) != 32:
            raise RpcError(INVALID_PARAMS, f"an account of {len(who)} bytes, want 32")
        return self.view.next_nonce(who)

    def _block_hash(self, parameters: Parameters) -> str | None:
        number = parameters.optional(0)
        if number is None:
            return hexed(self.view.head.hash)
        if isinstance(number, str):
            number = int.from_bytes(unhex(number.removeprefix("0x").rjust(16, "0")), "big")
        if isinstance(number, bool) or not isinstance(number, int):
            raise RpcError(INVALID_PARAMS, "want a block number")
        found = self.view.by_number(number)
        return None if found is None else hexed(found.hash)

    def _find(self, value: Any) -> Block | None:
        return self.view.head if value is None else self.view.by_hash(unhex(value))

    def _header(self, parameters: Parameters) -> dict[str, Any] | None:
        block = self._find(parameters.optional(0))
        return None if block is None else header_json(block)

    def _block(self, parameters: Parameters) -> dict[str, Any] | None:
        block = self._find(parameters.optional(0))
        if block is None:
            return None
        body = {"header": header_json(block), "extrinsics": [hexed(raw) for raw in block.extrinsics]}
        return {"block": body, "justifications": None}

    def _storage(self, parameters: Parameters) -> str | None:
        block = self._at(parameters.optional(1))
        value = self.view.value(parameters.hex(0), block)
        return None if value is None else hexed(value)

    def _keys(self, parameters: Parameters) -> list[str]:
        prefix, count = parameters.hex(0), parameters.integer(1, MAX_KEYS)
        after = b"" if parameters.optional(2) is None else parameters.hex(2)
        block = self._at(parameters.optional(3))
        return [hexed(key) for key in self.view.keys(prefix, block, after=after, count=count)]

    def _query(self, parameters: Parameters) -> list[dict[str, Any]]:
        keys = parameters.optional(0)
        if not isinstance(keys, list):
            raise RpcError(INVALID_PARAMS, "want a list of keys")
        block = self._at(parameters.optional(1))
        changes = []
        for key in keys:
            value = self.view.value(unhex(key), block)
            changes.append([key, None if value is None else hexed(value)])
        return [{"block": hexed(block.hash), "changes": changes}]

    def _reorg(self, parameters: Parameters) -> str:
        """Replaces the last blocks by siblings; see Node.reorg for the options."""
        options = parameters.optional(0)
        if not isinstance(options, dict):
            raise RpcError(INVALID_PARAMS, 'want {"depth": N}')
        depth = Parameters([options.get("depth", 1)]).integer(0, MAX_REORG)
        length = Parameters([options.get("length", depth + 1)]).integer(0, MAX_REORG)
        drop, include = (options.get(name, False) is True for name in ("drop", "include"))
        try:
            return hexed(self.node.reorg(depth, length=length, drop=drop, include=include).hash)
        except ReorgRefused as error:
            raise RpcError(INVALID_PARAMS, str(error)) from error

    def _set_storage(self, parameters: Parameters) -> str:
        """Pairs of a key and a value or null, put into the state by a block sealed for them; its hash."""
        pairs = parameters.optional(0)
        if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise RpcError(INVALID_PARAMS, "want a list of [key, value or null]")
        writes = {unhex(key): None if value is None else unhex(value) for key, value in pairs}
        for key, value in writes.items():
            try:
                check_entry(self.node.rules, key, value)
            except MalformedBytes as error:
                raise RpcError(INVALID_PARAMS, f"{hexed(key)}: {error}") from error
        return hexed(self.node.set_storage(writes).hash)

    def submit(self, raw: bytes) -> bytes:
        try:
            return self.node.submit(raw)
        except MalformedBytes as error:
            raise RpcError(1002, "Verification Error: the extrinsic does not decode", str(error)) from error
        except InvalidTransaction as error:
            raise RpcError(INVALID_TRANSACTION, "Invalid Transaction", str(error)) from error
        except PoolRefused as error:
            raise RpcError(error.code, str(error)) from error


def read_request(message: str | bytes) -> tuple[int | str | None, str, Any]:
    """(id, method, parameters) of one message; RpcError for anything else."""
    if len(message) > MAX_REQUEST_BYTES:
        raise RpcError(INVALID_REQUEST, f"request of {len(message)} bytes, at most {MAX_REQUEST_BYTES}")
    try:
        request = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise RpcError(PARSE_ERROR, f"Parse error: {type(error).__name__}") from error
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        raise RpcError(INVALID_REQUEST, "Invalid request: want an object with a method")
    request_id = request.get("id")
    if not isinstance(request_id, (int, str, type(None))):
        raise RpcError(INVALID_REQUEST, "Invalid request: the id must be a number, a string or null")
    return request_id, request["method"], request.get("params")
