"""Whether an RL stage's rewards can teach anything: answers that are compared must differ in their rewards.

Where they do not, advantages are 0, and a run costs its time and changes nothing. This watches for it, says so once
with an example while the run goes on, and at the end where nothing was ever learned. Does not stop the run.
"""

from typing import Any

from rlreason.config.algorithm import OF_GROUPS
from rlreason.config.schema import RLConfig
from rlreason.rl.batch import teaches
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
        same = [not teaches(group, by_reward=config.combine.mode == "gdpo") for group in groups]
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
        group, first = groups[0], groups[0].judged[0]
        totals = [one.reward for of in groups for one in of.judged if one.reward is not None]
        mean = sum(totals) / len(totals) if totals else 0.0
        if mean > 0:
            advice = "harder tasks, a higher rollout.temperature or more samples_per_prompt"
        else:
            advice = (
                "easier tasks, more samples_per_prompt, SFT first, or `rlreason check-reward`, which tries the reward"
            )
        prompt, response = (_shown(text) for text in (first.sample.prompt, first.sample.response))
        message = (
            f"no signal: for {SILENT_STEPS} steps the rewards of answers to one prompt have not differed (mean reward "
            f"{mean:.3g}), so that nothing is learned; such as {prompt}, answered {response}, reward "
            f"{first.reward or 0.0:.3g}; try {advice}"
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
    if any(teaches(group, by_reward=config.combine.mode == "gdpo") for group in groups):
        return True
    if config.algorithm.advantage in OF_GROUPS:
        return False
    if config.algorithm.needs_greedy:
        return any(one.reward != group.greedy.reward for group in groups if group.greedy for one in group.kept)
    return len({one.reward for group in groups for one in group.kept}) > 1


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…")
