"""The repeated blocks of a decoder, and how each of them computes: own attention, compiled, keeping little."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from hivetune.attention import BlockedAttention

Forward = Callable[..., Any]


def find_blocks(model: nn.Module, modules: Sequence[str]) -> list[nn.Module]:
    """The entries of the list of modules that holds most of the named ones; empty when there is none."""
    counts = {
        name: sum(module.startswith(f"{name}.") for module in modules)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
    }
    if not any(counts.values()):
        return []
    return list(model.get_submodule(max(counts, key=counts.__getitem__)).children())


def wrap_block(block: nn.Module, *, blocked_attention: bool, backend: str, checkpointed: bool) -> None:
    """Let the block compute in another way; the same result. `backend` compiles it, "" does not."""
    forward: Forward = type(block).forward.__get__(block)
    if blocked_attention:
        forward = _with_attention(forward)
    if backend:
        forward = torch.compile(forward, dynamic=False, backend=backend)
    if checkpointed:
        forward = _checkpointed(forward)
    block.forward = forward


def _with_attention(forward: Forward) -> Forward:
    # Inside the block, so that it also holds when a checkpoint computes the block again.
    def run(*args: Any, **kwargs: Any) -> Any:
        with BlockedAttention():
            return forward(*args, **kwargs)

    return run


def _checkpointed(forward: Forward) -> Forward:
    def run(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
