"""The engine and its options for a miner's settings and the work ahead."""

from hivetune.errors import ConfigError
from hivetune.model import BaseModel
from hivetune.records import AdapterLayout
from miner.engine import Engine, PeftEngine
from miner.fast_engine import FastEngine, FastOptions
from miner.settings import MinerSettings

# Compiling SmolLM2-135M's blocks took 10 to 30 s of CPU and saved 0.4 s for each 1024 tokens.
_TOKENS_WORTH_COMPILING = 200_000


def build_engine(
    settings: MinerSettings, base: BaseModel, layout: AdapterLayout, *, seed: int, sequence_length: int
) -> Engine:
    """The engine that the settings name."""
    if settings.engine == "peft":
        for name in ("compile", "attention", "gradient_checkpointing", "dropout"):
            if name in settings.model_fields_set:
                raise ConfigError(f"setting {name} is for the engine fast, not for peft")
        return PeftEngine(base, layout, seed=seed, device=settings.device)
    planned_tokens = settings.steps * settings.batch_sequences * sequence_length
    return FastEngine(base, layout, seed=seed, device=settings.device, options=fast_options(settings, planned_tokens))


def fast_options(settings: MinerSettings, planned_tokens: int) -> FastOptions:
    """What "auto" means for a training of that many tokens."""
    compiled = settings.compile == "on" or (settings.compile == "auto" and planned_tokens >= _TOKENS_WORTH_COMPILING)
    return FastOptions(
        dropout=settings.dropout,
        checkpointed=settings.gradient_checkpointing,
        backend="inductor" if compiled else "",
        blocked_attention=settings.attention == "auto",
    )
