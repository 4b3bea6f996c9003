"""Confidence intervals of token means over paired batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean in nats per token with a two-sided confidence interval."""

    mean: float
    lower: float
    upper: float


def token_mean(nats: Sequence[float] | np.ndarray, tokens: Sequence[int], confidence: float) -> Estimate:
    """Sum of nats over sum of tokens, with Student's t interval of the ratio estimator over batches.

    The variance is that of the residuals nats_b - mean * tokens_b (Cochran, Sampling Techniques, 6.3). One batch
    gives no variance: its interval is the whole line up to the largest float.
    """
    nats_b = np.asarray(nats, dtype=np.float64)
    tokens_b = np.asarray(tokens, dtype=np.float64)
    mean = float(nats_b.sum() / tokens_b.sum())
    count = len(nats_b)
    if count < 2:
        limit = float(np.finfo(np.float64).max)
        return Estimate(mean=mean, lower=-limit, upper=limit)
    residuals_b = nats_b - mean * tokens_b
    error = float(np.sqrt(count / (count - 1) * np.square(residuals_b).sum()) / tokens_b.sum())
    reach = float(stdtrit(count - 1, 0.5 + confidence / 2)) * error
    return Estimate(mean=mean, lower=mean - reach, upper=mean + reach)
