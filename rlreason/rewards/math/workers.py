"""Compares two answers with sympy in worker processes that can be killed; `runtime.killable` keeps them.

sympy is imported once, in the fork server, which never sees text of a model; a worker that a limit ended is replaced in
milliseconds. Workers are confined as the sandbox's programs are, and may read the installed packages. Any number of
threads may call; each processor has at most one worker. Does not retry: what failed is told as a typed result.
"""

import os
import time
from dataclasses import dataclass

from rlreason.rewards.runtime.killable import KillableFunction, Result, Worker

CPU_LIMIT_S = 0.8
"""Processor time of one comparison. Not wall time: a verdict must not depend on how busy the machine is."""
MEMORY_BYTES = 1 << 30
"""Address space of one worker."""
MAX_CALLS = 1000
"""A worker is replaced after as many comparisons: sympy's caches grow, and a poisoned state ends there."""
MIN_TIMEOUT_S = 0.01


@dataclass(slots=True)
class Budget:
    """What one check may still take in workers; waiting for a free one costs nothing. Example: Budget(left_s=5.0)."""

    left_s: float


class Pool(KillableFunction):
    """The workers. Nothing is started before the first comparison."""

    def __init__(self) -> None:
        super().__init__(
            "rlreason.rewards.math.child:warm_compare",
            factory_args=(),
            memory_bytes=MEMORY_BYTES,
            is_trusted=True,
            num_workers=len(os.sched_getaffinity(0)),
            max_calls=MAX_CALLS,
        )

    def compare(self, gold: str, answer: str, budget: Budget) -> Result:
        """`Returned(value=child.Comparison)`; charges the budget for the time that a worker takes."""
        with self.worker() as worker:
            if not isinstance(worker, Worker):
                return worker
            timeout_s, began = max(MIN_TIMEOUT_S, budget.left_s), time.monotonic()
            result = worker.call((gold, answer), timeout_s, cpu_s=min(CPU_LIMIT_S, timeout_s))
            budget.left_s -= time.monotonic() - began
            return result

    def landlock(self) -> int:
        """Starts a worker. `Worker.landlock`; OSError if there is none."""
        with self.worker() as worker:
            if not isinstance(worker, Worker):
                raise OSError(str(worker))
            return worker.landlock


_pool = Pool()
compare, landlock = _pool.compare, _pool.landlock
