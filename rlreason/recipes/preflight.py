"""What can be known of a run before anything starts, told all at once: `rlreason run`, and `--dry-run` alone.

Models and their context, data, columns and golds, rewards (on a few golds), cores and GPUs, the cluster's address, disk
space. It takes seconds. Of a recipe's stages it leaves out what depends on an artifact that is yet to be made.
Does not: start Ray or an engine, read weights, or find what only vLLM or DeepSpeed can tell.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from rlreason.config.corpus import CorpusConfig, TokenizerConfig
from rlreason.config.data import DataConfig, TaskConfig
from rlreason.config.rewards import RewardConfig
from rlreason.config.schema import (
    AnyStage,
    DataStageConfig,
    EvaluateConfig,
    ModelStage,
    PreferenceConfig,
    PretrainConfig,
    RLConfig,
    SFTConfig,
    TrainConfig,
)
from rlreason.data.chat import load_tokenizer
from rlreason.data.prompts import Sets, prompt_tasks
from rlreason.data.rows import open_rows
from rlreason.data.tasks import load_tasks
from rlreason.rewards.dryrun.trial import Trials
from rlreason.rl.guard import require_gold
from rlreason.running.checks import require_positions, require_reward, require_tasks
from rlreason.running.console import say
from rlreason.running.job import require_model
from rlreason.running.lineage import PREFIX
from rlreason.running.placement import placed, within_model, worker_groups
from rlreason.stages import corpus, preferences, supervised
from rlreason.stages.rl import require_functions
from rlreason.types import PromptTask, Task, UserError, raise_all
from rlreason.workers.cluster import require_cluster, require_fit, require_shared_memory, this_machine

NUM_ROWS = 2000
"""Rows of each training source that are tried; the stage itself reads all."""
NUM_PROMPTS = 10_000
"""Prompts of each set that are encoded here."""
NUM_TRIED = 200
"""Tasks of each set whose columns the rewards are shown."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def require_ready(stages: Sequence[tuple[str, AnyStage, bool]], where: Path, trials: Trials) -> None:
    """Raises UserError, or UserErrors with all that is wrong.

    stages: name, configuration with what artifacts there are in place of `stage:NAME`, and whether its rewards come
    from a file that it shares with others (`extends`). where: the run directory.
    """
    found, seen = _Mistakes(), _Seen(trials)
    found.tries(require_cluster)
    for name, config, shares_rewards in stages:
        here = _Mistakes()
        _check_stage(config, shares_rewards, where, here, seen)
        found.add(here, f"{name}: " if len(stages) > 1 else "")
    raise_all(found.errors)


T = TypeVar("T")
D = TypeVar("D", bound=DataConfig)


@dataclass(slots=True)
class _Seen:
    """What the stages of a recipe share is read and tried once."""

    trials: Trials
    tasks: dict[str, list[Task]] = field(default_factory=dict)
    """By name and section."""
    rewards: set[str] = field(default_factory=set)
    """Sections that were tried, with the sources of their tasks."""

    def load(self, name: str, data: TaskConfig) -> list[Task]:
        key = f"{name} {data.model_dump_json()}"
        if key not in self.tasks:
            self.tasks[key] = load_tasks(data, name)
        return self.tasks[key]

    def untried(self, rewards: Iterable[RewardConfig], sources: Iterable[str]) -> list[RewardConfig]:
        keys = {
            f"{sorted(filter(reward.applies_to, sources))} {reward.model_dump_json()}": reward for reward in rewards
        }
        found = [reward for key, reward in keys.items() if key not in self.rewards]
        self.rewards |= keys.keys()
        return found


class _Mistakes:
    """Collects what checks raise."""

    def __init__(self) -> None:
        self.errors: list[UserError] = []

    def tries(self, check: Callable[..., T], *args: Any, **keys: Any) -> T | None:
        """What the check returns; None where it raised."""
        try:
            return check(*args, **keys)
        except UserError as error:
            self.errors.append(error)
            return None

    def add(self, other: "_Mistakes", prefix: str) -> None:
        """Stages share sections: each mistake is told once."""
        told = {str(error).partition(": ")[2] if prefix else str(error) for error in self.errors}
        self.errors += [UserError(f"{prefix}{error}") for error in other.errors if str(error) not in told]


def _check_stage(config: AnyStage, shares_rewards: bool, where: Path, found: _Mistakes, seen: _Seen) -> None:
    if isinstance(config, CorpusConfig):
        _check_corpus(config, found)
        return
    if isinstance(config, TokenizerConfig):
        _check_rows(config.data.values(), found)
        return
    found.tries(_require_machine, config)
    for reward in config.rewards:
        if reward.model is not None and not reward.model.startswith(PREFIX):
            found.tries(require_model, reward.model)
    tokenizer, fitted = _check_model(config, found)
    prompts, sets = _check_tasks(config, fitted, tokenizer, found, seen)
    _check_rewards(config, [*prompts, *chain(*sets.values())], shares_rewards, found, seen)
    if isinstance(config, RLConfig):
        found.tries(require_functions, config.algorithm)
        found.tries(require_gold, config, sets)
    elif isinstance(config, DataStageConfig):
        _check_data(fitted, tokenizer, found)
    if isinstance(config, TrainConfig) and config.model is not None and Path(config.model, "config.json").is_file():
        found.tries(_require_space, config, Path(config.model), where)


def _require_machine(config: ModelStage) -> None:
    machine = this_machine()
    if machine is not None:
        groups = list(worker_groups(placed(config, machine.num_cpus)))  # type: ignore[arg-type]
        require_shared_memory(groups)
        for workers in groups:
            require_fit(workers, num_cpus=machine.num_cpus, num_gpus=machine.num_gpus)


def _check_model(config: ModelStage, found: _Mistakes) -> tuple[Any, Any]:
    """The tokenizer, and the configuration with contexts written out; None and as it is without a model."""
    from rlreason.engines.learner_setup import num_positions

    architecture = None
    if isinstance(config, PretrainConfig) and config.model is None:
        if (config.tokenizer or "").startswith(PREFIX):
            return None, config
        tokenizer = found.tries(supervised.load_pretrain_tokenizer, config)
        if tokenizer is not None and config.architecture is not None:
            architecture = found.tries(supervised.complete_architecture, config.architecture, tokenizer)
        if architecture is None:
            return tokenizer, config
    else:
        assert config.model is not None
        num_before = len(found.errors)
        if config.model.startswith(PREFIX):
            return None, config
        found.tries(require_model, config.model)
        if len(found.errors) > num_before:
            return None, config
        load = supervised.load_sft_tokenizer if isinstance(config, SFTConfig) else load_tokenizer
        tokenizer = found.tries(load, config if isinstance(config, SFTConfig) else config.model)
        if tokenizer is None:
            return None, config
    try:
        fitted = within_model(config, num_positions(config.model, architecture))
        if isinstance(fitted, DataStageConfig):
            require_positions(config.model, architecture, fitted.sequence_tokens)
        if isinstance(fitted, RLConfig | EvaluateConfig) or fitted.eval is not None:  # type: ignore[union-attr]
            tokens = fitted.rollout.context_tokens  # type: ignore[union-attr]
            require_positions(config.model, architecture, tokens, "rollout.max_context_tokens")
        return tokenizer, fitted
    except UserError as error:
        found.errors.append(error)
        return None, config


def _check_tasks(
    config: ModelStage, fitted: Any, tokenizer: Any, found: _Mistakes, seen: _Seen
) -> tuple[list[PromptTask], Sets]:
    """The tasks to train on and the evaluation sets."""

    def of(named: dict[str, TaskConfig]) -> Sets:
        sets = {name: found.tries(_prompts, data, name, fitted, tokenizer, seen) for name, data in named.items()}
        return {name: prompts for name, prompts in sets.items() if prompts}

    trained = of(config.tasks) if isinstance(config, RLConfig) else {}
    if isinstance(config, SFTConfig) and config.knowledge is not None:
        trained = of({"knowledge": config.knowledge.questions})
    return list(chain(*trained.values())), of(config.eval.tasks) if config.eval else {}


def _prompts(data: TaskConfig, name: str, config: ModelStage, tokenizer: Any, seen: _Seen) -> list[PromptTask]:
    """All tasks are read, for their golds; as many as that takes seconds are encoded."""
    tasks = seen.load(name, data)
    if tokenizer is None:
        return [PromptTask(task=task, text="", tokens=()) for task in tasks]
    return prompt_tasks(tasks[:NUM_PROMPTS], data, config.rollout, tokenizer)


def _check_rewards(
    config: ModelStage, prompts: list[PromptTask], shares_rewards: bool, found: _Mistakes, seen: _Seen
) -> None:
    """Those that do not load or break on golds, and tasks and rewards that do not find each other."""
    if not config.rewards or not (prompts or isinstance(config, RLConfig)):
        return
    by_source: dict[str, list[Task]] = {}
    for prompt in prompts:
        by_source.setdefault(prompt.task.source, []).append(prompt.task)
    tasks = list(chain(*(islice(some, NUM_TRIED) for some in by_source.values())))
    used = config.rewards if isinstance(config, RLConfig) else _judges(config, by_source)
    found.errors += [UserError(problem) for problem in seen.trials.of(seen.untried(used, by_source), tasks)]
    if found.errors and not prompts:
        return  # without tasks there is no telling for whom a reward is
    found.tries(require_reward, config.rewards, prompts)
    if isinstance(config, RLConfig):
        unused = _Mistakes()
        unused.tries(require_tasks, config.rewards, prompts)
        if shares_rewards:
            for error in unused.errors:
                say(f"warning: {error}; it is in a shared file, and is left out here")
        else:
            found.errors += unused.errors


def _judges(config: ModelStage, sources: Iterable[str]) -> list[Any]:
    """Outside of RL a task is judged by the first reward that applies to it."""
    firsts = [next((one for one in config.rewards if one.applies_to(source)), None) for source in sources]
    return [reward for reward in config.rewards if reward in firsts]


def _check_data(config: Any, tokenizer: Any, found: _Mistakes) -> None:
    """The first rows of each source, as the stage would read them."""
    data = {name: _begun(source) for name, source in config.data.items() if not (source.path or "").startswith(PREFIX)}
    if not data:
        return
    if tokenizer is None:
        _check_rows(data.values(), found)
        return
    for name, source in data.items():
        alone = config.model_copy(update={"data": {name: source}})
        if isinstance(config, PretrainConfig):
            found.tries(supervised.pretrain_sources, alone, tokenizer)
        elif isinstance(config, SFTConfig):
            found.tries(supervised.sft_sources, alone, tokenizer)
    if isinstance(config, PreferenceConfig):
        found.tries(preferences.load, config, tokenizer)  # all rows: the held-out share depends on their number


def _check_rows(sources: Iterable[DataConfig], found: _Mistakes) -> None:
    for source in sources:
        if not (source.path or "").startswith(PREFIX):
            found.tries(open_rows, _begun(source))


def _begun(source: D) -> D:
    return source.model_copy(update={"limit": min(source.limit or NUM_ROWS, NUM_ROWS)})


def _check_corpus(config: CorpusConfig, found: _Mistakes) -> None:
    for name, source in config.sources.items():
        if source.path is not None:
            found.tries(lambda name=name, source=source: list(corpus.files_of(name, source, source)))


def _require_space(config: TrainConfig, folder: Path, where: Path) -> None:
    """Raises UserError where not even the model and one checkpoint fit the disk, by the size of the model's files."""
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    dtype = str(stored.get("dtype") or stored.get("torch_dtype") or "float32")
    num_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    num_parameters = num_bytes / BYTES.get(dtype, 4)
    final = num_parameters * BYTES[config.learner.dtype]
    # AdamW's two moments in float32, and the weights: in bfloat16 with a float32 copy.
    trained = 0 if config.learner.lora else num_parameters * (12 if config.learner.dtype == "float32" else 14)
    nearest = next(path for path in (where, *where.parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    if final + trained > free:
        raise UserError(
            f"run directory {where}: {free / 1e9:.1f} GB are free there, final/ and one checkpoint of {folder} take "
            f"about {(final + trained) / 1e9:.1f} GB; free some, or choose another disk with --run-dir"
        )
