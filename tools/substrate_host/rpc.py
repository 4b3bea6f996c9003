"""The JSON-RPC methods: Substrate's names and shapes, over one node. Whatever comes in, at worst an error goes out."""

import json
from collections.abc import Callable
from typing import Any

from scalecodec.utils.ss58 import ss58_decode

from chain.devnode.scale import MalformedBytes, Reader
from tools.substrate_host.blocks import Block, header_json
from tools.substrate_host.node import Node
from tools.substrate_host.pool import PoolRefused
from tools.substrate_host.runtime import RuntimeFailed, read_metadata, read_version
from tools.substrate_host.validity import InvalidTransaction

MAX_KEYS = 1000

PARSE_ERROR, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
MALFORMED_EXTRINSIC, INVALID_TRANSACTION, CLIENT_ERROR = 1002, 1010, 4003
MALFORMED = "Verification Error: the extrinsic does not decode"
CLASSES = ("normal", "operational", "mandatory")

# Answered by the session, for they need its socket or its event loop.
SOCKET_METHODS = (
    "author_submitAndWatchExtrinsic",
    "author_unwatchExtrinsic",
    "chain_subscribeAllHeads",
    "chain_subscribeFinalizedHeads",
    "chain_subscribeNewHead",
    "chain_subscribeNewHeads",
    "chain_unsubscribeAllHeads",
    "chain_unsubscribeFinalizedHeads",
    "chain_unsubscribeNewHead",
    "chain_unsubscribeNewHeads",
    "dev_newBlock",
)


class RpcError(Exception):
    """An answer of the error kind."""

    def __init__(self, code: int, message: str, data: str = "") -> None:
        super().__init__(message)
        self.body: dict[str, Any] = {"code": code, "message": message}
        if data:
            self.body["data"] = data


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def unhex(value: Any) -> bytes:
    if not isinstance(value, str):
        raise RpcError(INVALID_PARAMS, "want a hex string")
    try:
        return bytes.fromhex(value.removeprefix("0x"))
    except ValueError as error:
        raise RpcError(INVALID_PARAMS, f"not hex: {error}") from error


class Parameters:
    """Positional parameters of one request, each checked when it is asked for."""

    def __init__(self, values: Any) -> None:
        if values is not None and not isinstance(values, list):
            raise RpcError(INVALID_PARAMS, "params must be a list")
        self._values = values or []

    def optional(self, index: int) -> Any:
        return self._values[index] if index < len(self._values) else None

    def hex(self, index: int) -> bytes:
        return unhex(self.optional(index))

    def optional_hex(self, index: int) -> bytes | None:
        return None if self.optional(index) is None else self.hex(index)

    def text(self, index: int) -> str:
        value = self.optional(index)
        if not isinstance(value, str):
            raise RpcError(INVALID_PARAMS, f"parameter {index} must be a string")
        return value

    def integer(self, index: int, most: int) -> int:
        value = self.optional(index)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise RpcError(INVALID_PARAMS, f"parameter {index} must be an integer in 0..{most}")
        return value


class Methods:
    """Answers requests for a node; the session adds what needs a socket (subscriptions)."""

    def __init__(self, node: Node) -> None:
        self.node = node
        genesis = node.state.view(0)
        version = read_version(node.runtime, genesis).json()
        metadata = hexed(read_metadata(node.runtime, genesis))
        self.table: dict[str, Callable[[Parameters], Any]] = {
            "rpc_methods": lambda _: {"methods": sorted((*self.table, *SOCKET_METHODS))},
            "system_chain": lambda _: "Development",
            "system_name": lambda _: "hivetune substrate host",
            "system_version": lambda _: "1",
            "system_health": lambda _: {"peers": 0, "isSyncing": False, "shouldHavePeers": False},
            "system_properties": lambda _: {"ss58Format": 42, "tokenDecimals": 9, "tokenSymbol": "TAO"},
            "system_accountNextIndex": self._next_index,
            "chain_getHead": self._block_hash,
            "chain_getBlockHash": self._block_hash,
            "chain_getFinalizedHead": lambda _: hexed(node.finalized.hash),
            "chain_getFinalisedHead": lambda _: hexed(node.finalized.hash),
            "chain_getHeader": self._header,
            "chain_getBlock": self._block,
            "chain_getRuntimeVersion": lambda _: version,
            "state_getRuntimeVersion": lambda _: version,
            "state_getMetadata": lambda _: metadata,
            "state_getStorage": self._storage,
            "state_getStorageAt": self._storage,
            "state_getKeysPaged": self._keys,
            "state_getKeysPagedAt": self._keys,
            "state_queryStorageAt": self._query,
            "state_call": self._state_call,
            "payment_queryInfo": self._query_info,
            "author_submitExtrinsic": lambda parameters: hexed(self.submit(parameters.hex(0))),
            "author_pendingExtrinsics": lambda _: [hexed(entry.raw) for entry in node.pool.ready()],
            "dev_dropPool": lambda _: node.drop_pool(),
            "dev_setStorage": self._set_storage,
        }

    def _find(self, digest: bytes | None) -> Block | None:
        return self.node.head if digest is None else self.node.block_by_hash(digest)

    def _at(self, digest: bytes | None) -> Block:
        block = self._find(digest)
        if block is None:
            raise RpcError(CLIENT_ERROR, f"Client error: UnknownBlock: {hexed(digest or b'')}")
        return block

    def _next_index(self, parameters: Parameters) -> int:
        try:
            who = bytes.fromhex(ss58_decode(parameters.text(0)))
        except (ValueError, IndexError) as error:
            raise RpcError(INVALID_PARAMS, f"not an address: {error}") from error
        if len(who) != 32:
            raise RpcError(INVALID_PARAMS, f"an account of {len(who)} bytes, want 32")
        return self.node.next_nonce(who)

    def _block_hash(self, parameters: Parameters) -> str | None:
        number = parameters.optional(0)
        if number is None:
            return hexed(self.node.head.hash)
        if isinstance(number, str):
            number = int.from_bytes(unhex(number.removeprefix("0x").rjust(16, "0")), "big")
        if isinstance(number, bool) or not isinstance(number, int):
            raise RpcError(INVALID_PARAMS, "want a block number")
        block = self.node.block_by_number(number)
        return None if block is None else hexed(block.hash)

    def _header(self, parameters: Parameters) -> dict[str, Any] | None:
        block = self._find(parameters.optional_hex(0))
        return None if block is None else header_json(block)

    def _block(self, parameters: Parameters) -> dict[str, Any] | None:
        block = self._find(parameters.optional_hex(0))
        if block is None:
            return None
        body = {"header": header_json(block), "extrinsics": [hexed(raw) for raw in block.extrinsics]}
        return {"block": body, "justifications": None}

    def _storage(self, parameters: Parameters) -> str | None:
        block = self._at(parameters.optional_hex(1))
        value = self.node.state.get_at(parameters.hex(0), block.number)
        return None if value is None else hexed(value)

    def _keys(self, parameters: Parameters) -> list[str]:
        prefix, count = parameters.hex(0), parameters.integer(1, MAX_KEYS)
        block = self._at(parameters.optional_hex(3))
        after = parameters.optional_hex(2) or b""
        return [hexed(key) for key in self.node.state.keys_at(prefix, block.number, after=after, count=count)]

    def _query(self, parameters: Parameters) -> list[dict[str, Any]]:
        keys = parameters.optional(0)
        if not isinstance(keys, list):
            raise RpcError(INVALID_PARAMS, "want a list of keys")
        block = self._at(parameters.optional_hex(1))
        changes = []
        for key in keys:
            value = self.node.state.get_at(unhex(key), block.number)
            changes.append([key, None if value is None else hexed(value)])
        return [{"block": hexed(block.hash), "changes": changes}]

    def _call(self, function: str, argument: bytes, digest: bytes | None) -> bytes:
        try:
            return self.node.call(function, argument, self._at(digest))
        except RuntimeFailed as error:
            raise RpcError(CLIENT_ERROR, f"Client error: Execution failed: {error}") from error

    def _state_call(self, parameters: Parameters) -> str:
        return hexed(self._call(parameters.text(0), parameters.hex(1), parameters.optional_hex(2)))

    def _query_info(self, parameters: Parameters) -> dict[str, Any]:
        raw = parameters.hex(0)
        argument = raw + len(raw).to_bytes(4, "little")
        reader = Reader(self._call("TransactionPaymentApi_query_info", argument, parameters.optional_hex(1)))
        weight = {"ref_time": reader.compact(), "proof_size": reader.compact()}
        dispatch_class = CLASSES[reader.take(1)[0]]
        fee = int.from_bytes(reader.data[reader.offset :], "little")  # as wide as the runtime's balances
        return {"weight": weight, "class": dispatch_class, "partialFee": str(fee)}

    def _set_storage(self, parameters: Parameters) -> str:
        """Pairs of a key and a value or null, put into the state by a block sealed for them; its hash."""
        pairs = parameters.optional(0)
        if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise RpcError(INVALID_PARAMS, "want a list of [key, value or null]")
        writes = {unhex(key): None if value is None else unhex(value) for key, value in pairs}
        return hexed(self.node.set_storage(writes).hash)

    def submit(self, raw: bytes) -> bytes:
        try:
            return self.node.submit(raw)
        except MalformedBytes as error:
            raise RpcError(
                MALFORMED_EXTRINSIC, "Verification Error: the extrinsic does not decode", str(error)
            ) from error
        except InvalidTransaction as error:
            raise RpcError(INVALID_TRANSACTION, "Invalid Transaction", str(error)) from error
        except PoolRefused as error:
            raise RpcError(error.code, str(error), error.data) from error


def read_request(message: str | bytes) -> tuple[int | str | None, str, Any]:
    """(id, method, parameters) of one message; RpcError for anything else."""
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
