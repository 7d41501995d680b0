"""The guard against over-optimisation: what an RL stage watches beside its reward, and what it does about it."""

from typing import Annotated, Literal

from pydantic import Field

from rlreason.config.algorithm import KLConfig
from rlreason.config.base import Count, Strict
from rlreason.config.rewards import RewardConfig

Above1 = Annotated[float, Field(gt=1)]


class GuardConfig(Strict):
    """A policy that pleases a reward model too well gets worse in truth (Gao et al. 2022, arXiv 2210.10760).

    What a limit is compared with is the mean over the first `baseline_steps` steps. null: not watched.
    """

    action: Literal["warn", "raise_kl", "stop", "rollback"] = "warn"
    """All are told in events.jsonl. `raise_kl` multiplies the penalty's coefficient by `kl_factor`. `stop` ends the
    stage with the present policy, `rollback` with that of the best `gold`."""
    gold: str | None = None
    """Key in metrics.jsonl of what is truly wanted, larger is better: of an evaluation (with `eval.every`), such as
    `eval/held/reward@4`, or of training samples, such as `reward/NAME/mean` of a reward of weight 0. Not what a
    reward model says that the policy follows."""
    gold_tolerance: Annotated[float, Field(gt=0)] = 0.05
    """Fall below the best `gold`, as a share of it, or of what was gained since the first where that is more."""
    patience: Count = 3
    """Measurements in a row below that."""
    max_kl: Annotated[float, Field(gt=0)] | None = None
    """Nats a token from the reference: the starting policy, or with `kl.refresh_every` a later one. Without a KL
    penalty, a reference model is kept, and asked in each step, for this alone."""
    min_distinct: Annotated[float, Field(gt=0, lt=1)] | None = 0.5
    """Share of the first distinct-2 (pairs of neighbouring tokens that differ; Li et al. 2016, arXiv 1510.03055)."""
    max_compression: Above1 | None = 2.0
    """Multiple of the first compression ratio: answers that repeat themselves or one another compress well."""
    max_length: Above1 | None = 2.0
    """Multiple of the first mean length of responses, upward or downward."""
    max_disagreement: Above1 | None = 3.0
    """Multiple of the first disagreement of the reward models, where there are several."""
    baseline_steps: Count = 3
    """Steps that the limits are compared with."""
    kl_factor: Above1 = 2.0
    """Of `raise_kl`, which raises again after `patience` steps and never above 100 times the first coefficient."""

    def require_fit(self, kl: KLConfig | None, *, sets: list[str], rewards: list[RewardConfig], is_stale: bool) -> None:
        """Raises ValueError where the guard could not do what it is asked for.

        `sets`: those evaluated on the way. `is_stale`: samples may be of older weights than the present ones.
        """
        if self.action == "rollback" and self.gold is None:
            raise ValueError("guard.action: rollback goes back to the best `gold`; name one, or take `stop`")
        if self.action == "raise_kl" and (kl is None or kl.target is not None):
            why = "there is no `algorithm.kl`" if kl is None else "`algorithm.kl.target` steers it already"
            raise ValueError(f"guard.action: raise_kl has no coefficient to raise: {why}")
        kind, _, rest = (self.gold or "").partition("/")
        if kind == "eval" and not sets:
            raise ValueError(f"guard.gold: `{self.gold}` is measured by `eval`; give `eval.tasks` and `eval.every`")
        names = {"eval": sets, "reward": [reward.name for reward in rewards]}.get(kind, [])
        name = rest.partition("/")[0]
        if self.gold is not None and name not in names:
            raise ValueError(
                f"guard.gold: `{self.gold}` is no figure here: give eval/NAME/... of a set of `eval.tasks`, or "
                "reward/NAME/mean of one of the rewards"
            )
        if kind == "reward" and any(one.name == name and one.model is not None and one.weight for one in rewards):
            raise ValueError(
                f"guard.gold: `{self.gold}` is what a reward model says which the policy follows; name a reward of "
                "weight 0 that tells the truth"
            )
        if kind == "reward" and is_stale and self.action == "rollback":
            raise ValueError(
                f"guard.gold: with max_staleness above 0 `{self.gold}` is of older weights than those that could be "
                "kept; name a figure of `eval`"
            )
