"""The library's interface to a node, with the types of a runtime read once for all endpoints that have the very same.

Reading them takes seconds, which a deadline may not leave to an endpoint that has to be opened again.
"""

from functools import cache, lru_cache
from typing import Any

from scalecodec.base import RuntimeConfigurationObject, ScaleBytes
from scalecodec.type_registry import load_type_registry_preset
from substrateinterface import SubstrateInterface

from chain.transport import Transport

SS58_FORMAT = 42
_RUNTIMES_KEPT = 8


class Interface(SubstrateInterface):  # type: ignore[misc]  # the library is not typed
    """Asks through a transport; opened by its first request."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(
            websocket=transport,
            ss58_format=SS58_FORMAT,
            auto_discover=False,
            auto_reconnect=False,
            runtime_config=_no_types(),
        )
        self.transport = transport

    def get_block_metadata(self, block_hash: str | None = None, decode: bool = True) -> Any:  # noqa: ARG002 - theirs
        return _metadata(self.rpc_request("state_getMetadata", [block_hash])["result"])

    def reload_type_registry(self, use_remote_preset: bool = False, auto_discover: bool = False) -> None:  # noqa: ARG002
        """Called whenever there is other metadata than before, which comes with its types."""
        if self.metadata is not None:
            self.runtime_config = self.metadata.runtime_config

    def forget_runtime(self) -> None:
        """An error between a block's header and its metadata leaves the library believing that it has both."""
        self.block_hash = self.runtime_version = self.config["rpc_methods"] = None


@cache
def _no_types() -> RuntimeConfigurationObject:
    """Until there is metadata. Making one walks through every class that the library has ever made."""
    return RuntimeConfigurationObject(ss58_format=SS58_FORMAT)


class _Types(RuntimeConfigurationObject):  # type: ignore[misc]
    """All types of one runtime; complete when it is made, so that threads can share it."""

    def __init__(self) -> None:
        super().__init__(ss58_format=SS58_FORMAT, implements_scale_info=True)
        self.update_type_registry(load_type_registry_preset("core"))

    def add_portable_registry(self, metadata: Any, prefix: str | None = None) -> None:
        if not hasattr(metadata, "is_read"):
            super().add_portable_registry(metadata, prefix)
            metadata.is_read = True


@lru_cache(maxsize=_RUNTIMES_KEPT)
def _metadata(text: str) -> Any:
    """By its content: what one endpoint made up is of no use to another."""
    types = _Types()
    metadata = types.create_scale_object("MetadataVersioned", data=ScaleBytes(text))
    metadata.decode()
    types.add_portable_registry(metadata)
    metadata.runtime_config = types
    return metadata
