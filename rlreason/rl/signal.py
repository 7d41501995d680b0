"""Whether an RL stage's rewards can teach anything: answers that are compared must differ in their rewards.

Where they do not, advantages are 0, and a run costs its time and changes nothing. This watches for it, says so once
with an example while the run goes on, and at the end where nothing was ever learned. Does not stop the run.
"""

from typing import Any

from rlreason.config.algorithm import OF_GROUPS
from rlreason.config.schema import RLConfig
from rlreason.rewards.runtime.combine import combine
from rlreason.rl.batch import kept_places
from rlreason.rl.experience import teaches
from rlreason.running.console import say
from rlreason.running.job import Job
from rlreason.types import Group

SILENT_STEPS = 5
"""Steps in a row without a difference after which the stage warns."""
SHOWN_CHARS = 120
"""Of a prompt and of an answer in the warning."""


class Signal:
    """State is JSON, for checkpoints."""

    def __init__(self, config: RLConfig, job: Job, state: dict[str, Any] | None) -> None:
        self._config, self._job = config, job
        start = {"num_steps": 0, "num_taught": 0, "num_silent": 0, "has_warned": False}
        self._state: dict[str, Any] = start | (state or {})

    def state(self) -> dict[str, Any]:
        return dict(self._state)

    def observe(self, step: int, groups: list[Group]) -> dict[str, float]:
        """`reward/zero_std_fraction`: the fraction of the groups drawn for a step in which no rewards differ; absent
        where groups have one sample. Warns at the SILENT_STEPS-th step in a row that teaches nothing.
        """
        state, config = self._state, self._config
        same = [not teaches(group, config.rewards, config.combine) for group in groups]
        taught = has_signal(groups, config)
        state["num_steps"] += 1
        state["num_taught"] += taught
        state["num_silent"] = 0 if taught else state["num_silent"] + 1
        if state["num_silent"] == SILENT_STEPS and not state["has_warned"]:
            state["has_warned"] = True
            self._warn(step, groups)
        return {"reward/zero_std_fraction": sum(same) / len(same)} if config.samples_per_prompt > 1 else {}

    def end(self) -> None:
        """Says that nothing was learned where no step had anything to learn from."""
        num_steps = self._state["num_steps"]
        if num_steps and not self._state["num_taught"]:
            message = (
                f"{self._job.name}: NOTHING WAS LEARNED: in none of its {num_steps} steps did the rewards differ "
                "between answers; final/ is no better than the model that it started from"
            )
            self._job.log.event("nothing learned", steps=num_steps, message=message)  # the run shows it at its end

    def _warn(self, step: int, groups: list[Group]) -> None:
        rewards, rule = self._config.rewards, self._config.combine
        group = groups[0]
        totals = [combine(found, rewards, rule) for one in groups for found in one.scores]
        mean = sum(totals) / len(totals)
        if mean > 0:
            advice = "harder tasks, a higher rollout.temperature or more samples_per_prompt"
        else:
            advice = (
                "easier tasks, more samples_per_prompt, SFT first, or `rlreason check-reward`, which tries the reward"
            )
        prompt, response = (_shown(text) for text in (group.samples[0].prompt, group.samples[0].response))
        message = (
            f"no signal: for {SILENT_STEPS} steps the rewards of answers to one prompt have not differed (mean reward "
            f"{mean:.3g}), so that nothing is learned; such as {prompt}, answered {response}, reward {totals[0]:.3g}; "
            f"try {advice}"
        )
        self._job.log.event(
            "no signal", step=step, mean_reward=mean, task=group.task.id, prompt=prompt, response=response,
            answer=group.task.answer, message=message,
        )  # fmt: skip
        say(f"{self._job.name} at step {step}: {message}")


def has_signal(groups: list[Group], config: RLConfig) -> bool:
    """Some of the rewards that the advantage compares differ: those of a group, with `remax` that of its greedy answer
    too, and for an advantage without groups those of the whole batch.
    """
    rewards, rule, advantage = config.rewards, config.combine, config.algorithm.advantage
    if any(teaches(group, rewards, rule) for group in groups):
        return True
    if advantage in OF_GROUPS:
        return False
    totals = [[combine(group.scores[i], rewards, rule) for i in kept_places(group, rewards)] for group in groups]
    if advantage == "remax":
        greedy = [combine(group.greedy or {}, rewards, rule) for group in groups]
        return any(total != best for of_group, best in zip(totals, greedy, strict=True) for total in of_group)
    return len({total for of_group in totals for total in of_group}) > 1


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…")
