"""What a miner can choose."""

from typing import Literal

from pydantic import Field

from hivetune.settings import NodeSettings


class MinerSettings(NodeSettings):
    """A miner's settings; lengths come from the release."""

    repo: str = ""
    """Hub repository for submissions, owner/name; empty: the token's owner and the hotkey's name."""
    steps: int = Field(default=200, gt=0)
    """Optimizer steps a round at most; fewer when the deadline comes first."""
    batch_sequences: int = Field(default=8, gt=0)
    """Sequences an optimizer step."""
    micro_batch_sequences: int = Field(default=8, gt=0)
    """Sequences a forward pass; smaller needs less memory and accumulates gradients."""
    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    """Peak learning rate of AdamW, after a short warm-up, before a cosine decay."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type the base is held and computed in while training; the adapter stays float32."""
    engine: Literal["fast", "peft"] = "fast"
    """What trains: own DoRA layers, or PEFT's, the reference; the same adapter up to rounding."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the decoder's blocks; auto does when the steps are many enough to pay for it. Needs a C++ compiler."""
    attention: Literal["auto", "torch"] = "auto"
    """Auto computes causal attention on CPUs in its own way, which is faster there."""
    gradient_checkpointing: bool = False
    """Keep only what enters each decoder block and compute the rest again: less memory, a third more time."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of what enters the adapter; costs a second product with the base."""
    device: str = "cpu"
    """Torch device, such as cpu or cuda:0."""
    seed: int = 0
    """Seed of initialisation and data order, mixed with hotkey, round and a secret in the state folder."""
    checkpoint_steps: int = Field(default=10, gt=0)
    """Optimizer steps between checkpoints."""
    margin_blocks: int = Field(default=2, ge=1)
    """Blocks before the deadline by which the commitment is sent."""
