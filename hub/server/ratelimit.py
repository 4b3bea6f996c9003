"""Fixed-window rate limits, announced in the headers that huggingface_hub parses (`parse_ratelimit_headers`)."""

import math
import threading
import time
from collections.abc import Mapping
from typing import Literal

from hivetune.errors import ConfigError
from hub.server.errors import HubError

Bucket = Literal["api", "resolvers", "commits"]

# Forgetting all counts is kinder than running out of memory under many addresses.
_MAX_CALLERS = 100_000
_BUCKETS = ("api", "resolvers", "commits")


class RateLimiter:
    """Counts requests by caller and bucket; `limits` gives requests and window seconds for a bucket."""

    def __init__(self, limits: Mapping[str, tuple[int, int]]) -> None:
        for bucket, (quota, window_s) in limits.items():
            if bucket not in _BUCKETS or quota < 0 or window_s < 1:
                raise ConfigError(
                    f"rate limit {bucket}={quota}/{window_s}: want one of {_BUCKETS}, >= 0 a window of >= 1 s"
                )
        self._limits = dict(limits)
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}
        self._lock = threading.Lock()

    def spend(self, caller: str, bucket: Bucket) -> None:
        """Count one request; 429 once the window is used up."""
        limit = self._limits.get(bucket)
        if limit is None:
            return
        quota, window_s = limit
        now = time.time()
        window = int(now // window_s)
        with self._lock:
            seen_window, count = self._counts.get((caller, bucket), (window, 0))
            count = count + 1 if seen_window == window else 1
            self._counts[caller, bucket] = (window, count)
            if len(self._counts) > _MAX_CALLERS:
                self._counts.clear()
        if count > quota:
            reset_s = math.ceil((window + 1) * window_s - now)
            raise HubError(
                429,
                f"Rate limit for {bucket}: {quota} requests in {window_s} s",
                headers={
                    "RateLimit": f'"{bucket}";r=0;t={reset_s}',
                    "RateLimit-Policy": f'"fixed window";"{bucket}";q={quota};w={window_s}',
                },
            )
