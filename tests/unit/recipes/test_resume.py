"""What a resumed run may change: refused with old and new, forced with an event, or allowed and logged."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlreason.recipes.recipe import _open, load_steps, run_path
from rlreason.recipes.resume import keep_overrides, kept_overrides, require_same
from rlreason.runlog import seal_checkpoint
from rlreason.running.job import Job, write_manifest
from rlreason.running.lineage import fingerprint, parents
from rlreason.types import UserError
from tests.conftest import read_lines

ROWS = [{"prompt": f"{number}+1=", "answer": str(number + 1)} for number in range(4)]


class Begun:
    """An RL run that was begun in `run/` and has a checkpoint, and the files that its configuration names."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        self.write("a.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
        self.write("mine.py", "def reward(response, task):\n    return 1.0\n")
        self.write("loss.py", "def loss(a, b, c, d):\n    return a\n")
        self.write("rows.py", "def rows(num=2):\n    return [{'prompt': str(i), 'answer': '1'} for i in range(num)]\n")
        self.write("pack/__init__.py", "raise RuntimeError('not to be run to find a file in it')\n")
        self.write("pack/judge.py", "def reward(response, task):\n    return 1.0\n")
        self.write("model/config.json", '{"model_type": "llama"}')
        self.write("model/model.safetensors", "weights")
        self.write("model/chat_template.jinja", "{{ messages }}")
        self.write("model/tokenizer.json", "{}")
        self.config: dict[str, Any] = {
            "stage": "rl",
            "model": str(folder / "model"),
            "tasks": {
                "file": {"path": str(folder / "a.jsonl")},
                "made": {"generate": f"{folder / 'rows.py'}:rows"},
            },
            "rewards": [
                {"name": "mine", "path": f"{folder / 'mine.py'}:reward", "timeout_s": 9},
                {"name": "judge", "path": "pack.judge:reward"},
            ],
            "algorithm": {"loss": f"{folder / 'loss.py'}:loss"},
            "steps": 9,
            "prompts_per_step": 2,
            "samples_per_prompt": 2,
            "learner": {"lr": 0.001},
        }
        self.start(resume=False)
        self.checkpoint(3)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)

    def start(self, *overrides: str, resume: bool = True, force: bool = False) -> dict[str, Any]:
        """What `run` does before Ray starts; returns the fingerprint."""
        path = self.folder / "rl.yaml"
        path.write_text(yaml.safe_dump(self.config))
        (step,) = load_steps(path, list(overrides))
        made_of = parents(step.config, None)
        log, self.inputs = _open(step, step.config, self.run, made_of, resume=resume, force=force)
        self.job = Job(name="rl", log=log, interrupts=None, parents=made_of, inputs=self.inputs)  # type: ignore[arg-type]
        self.job.begin()
        log.close()
        return self.inputs

    def checkpoint(self, step: int) -> None:
        folder = self.run / "checkpoints" / f"step-{step:06d}"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"step": step, "inputs": self.inputs}))
        seal_checkpoint(folder)

    def refusal(self, *overrides: str) -> str:
        """The run directory is as it was."""
        before = {path: path.read_bytes() for path in self.run.rglob("*") if path.is_file()}
        with pytest.raises(UserError) as error:
            self.start(*overrides)
        after = {path: path.read_bytes() for path in self.run.rglob("*") if path.is_file()}
        assert before == after
        text = str(error.value)
        assert "\n" not in text and "--force" in text and "--run-dir" in text and str(self.run) in text
        return text

    @property
    def last_start(self) -> dict[str, Any]:
        return [row for row in read_lines(self.run / "events.jsonl") if row["event"] == "start"][-1]


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begun:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Begun(tmp_path)


def change(values: dict[str, Any], key: str, value: Any) -> None:
    node: Any = values
    *path, last = key.split(".")
    for part in path:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[int(last) if isinstance(node, list) else last] = value


REFUSED: dict[str, tuple[str, Any, str]] = {
    "seed": ("seed", 1, "seed is 1, was 0"),
    "learning rate": ("learner.lr", 0.002, "learner.lr is 0.002, was 0.001"),
    "schedule": ("learner.lr_schedule", "cosine", "learner.lr_schedule is cosine, was constant"),
    "group size": ("samples_per_prompt", 4, "samples_per_prompt is 4, was 2"),
    "temperature": ("rollout.temperature", 0.5, "rollout.temperature is 0.5, was 1.0"),
    "weight of a reward": ("rewards.0.weight", 2.0, "rewards.0.weight is 2.0, was 1.0"),
    "arguments of a reward": ("rewards.0.args", {"cpus": 2}, "rewards.0.args.cpus is 2, was unset"),
    "one reward less": ("rewards", [{"name": "b", "path": "pack.judge:reward"}], "rewards.0.name is b, was mine"),
    "another function": ("rewards.0.path", "mine.py:other", "rewards.0.path is mine.py:other, was "),
    "one more set": ("tasks.more", {"path": "b.jsonl"}, "tasks.more.answer_column is answer, was unset"),
    "a slice": ("tasks.file.split", "train[:2]", "tasks.file.split is train[:2], was train"),
    "rows of a function": ("tasks.made.args", {"num": 3}, "tasks.made.args.num is 3, was unset"),
    "template": ("tasks.file.template", "Q: {prompt}", "tasks.file.template is Q: {prompt}, was unset"),
    "hub model": ("model", "org/other", "model is org/other, was "),
    "learners": ("learner.workers", 2, "learner.workers is 2, was 1"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_another_configuration_is_refused_with_old_and_new(begun: Begun, what: str) -> None:
    key, value, says = REFUSED[what]
    change(begun.config, key, value)
    assert says in begun.refusal()


EDITED: dict[str, tuple[str, str, str]] = {
    "rows of the same number": (
        "a.jsonl", "".join(json.dumps(row | {"answer": "0"}) + "\n" for row in ROWS), "the rows of tasks.file",
    ),
    "fewer rows": ("a.jsonl", json.dumps(ROWS[0]) + "\n", "the rows of tasks.file"),
    "more rows": ("a.jsonl", "".join(json.dumps(row) + "\n" for row in [*ROWS, ROWS[0]]), "the rows of tasks.file"),
    "function that makes rows": (
        "rows.py", "def rows(num=2):\n    return [{'prompt': str(i), 'answer': '2'} for i in range(num)]\n",
        "the rows of tasks.made",
    ),
    "file of a reward": ("mine.py", "def reward(response, task):\n    return 0.0\n", "mine.py are others"),
    "module of a reward": ("pack/judge.py", "def reward(response, task):\n    return 0.0\n", "pack.judge are others"),
    "file of a loss": ("loss.py", "def loss(a, b, c, d):\n    return b\n", "loss.py are others"),
    "weights": ("model/model.safetensors", "wEights", "/model are others"),
    "template of the model": ("model/chat_template.jinja", "{{ messages[0] }}", "/model are others"),
    "tokenizer of the model": ("model/tokenizer.json", "{ }", "/model are others"),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITED)
def test_other_contents_of_what_the_configuration_names_are_refused(begun: Begun, what: str) -> None:
    name, text, says = EDITED[what]
    begun.write(name, text)
    assert says in begun.refusal()


def test_force_takes_what_is_refused_and_the_run_tells_of_it_for_ever(begun: Begun) -> None:
    old_model, old_hash = begun.config["model"], next(iter(begun.inputs["parents"].values()))
    begun.write("other/config.json", "{}")
    begun.write("other/model.safetensors", "other weights")
    begun.config |= {"seed": 7, "model": str(begun.folder / "other")}
    begun.start(force=True)
    forced = {row["key"]: (row["then"], row["now"]) for row in begun.last_start["forced"]}
    assert forced["config.seed"] == (0, 7) and forced["config.model"] == (old_model, begun.config["model"])
    assert "seed: 7" in (begun.run / "config.yaml").read_text()
    begun.checkpoint(4)
    begun.start()  # what was forced is now what the run is made of
    assert "forced" not in begun.last_start
    write_manifest(begun.job, {}, kind="rl")
    manifest = json.loads((begun.run / "manifest.json").read_text())
    assert {row["key"] for row in manifest["inputs"]["forced"]} >= {"config.seed", "config.model"}
    assert manifest["parents"][old_model] == {"path": old_model, "hash": old_hash}, "its weights are in these"
    assert begun.config["model"] in manifest["parents"]


ALLOWED: dict[str, tuple[str, Any]] = {
    "more steps": ("steps", 20),
    "loggers": ("loggers", ["tensorboard"]),
    "checkpoints": ("checkpoints.every_s", 60),
    "CPUs": ("learner.cpus", 2),
    "rollout workers": ("rollout.workers", 2),
    "reward workers": ("reward_workers.workers", 3),
    "a time-out": ("rewards.0.timeout_s", 10),
    "micro-batches": ("learner.micro_batch_tokens", 64),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_what_changes_no_result_is_allowed_said_and_logged(
    begun: Begun, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key, value = ALLOWED[what]
    change(begun.config, key, value)
    begun.start()
    (row,) = begun.last_start["changed"]
    assert row["key"].startswith(f"config.{key}") and row["now"] != row["then"]
    assert f"{row['key'].removeprefix('config.')} is " in capsys.readouterr().out


def test_the_same_files_in_another_place_are_the_same(begun: Begun) -> None:
    (begun.folder / "moved").mkdir()
    for name in ("a.jsonl", "model", "mine.py"):
        (begun.folder / name).rename(begun.folder / "moved" / name)
    moved = begun.folder / "moved"
    begun.config["model"] = str(moved / "model")
    begun.config["tasks"]["file"]["path"] = str(moved / "a.jsonl")
    begun.config["rewards"][0]["path"] = f"{moved / 'mine.py'}:reward"
    begun.start()
    assert "forced" not in begun.last_start
    change(begun.config, "rewards.0.path", f"{moved / 'mine.py'}:other")
    assert "rewards.0.path is " in begun.refusal()


def test_a_resume_that_changes_nothing_says_nothing(begun: Begun, capsys: pytest.CaptureFixture[str]) -> None:
    (begun.folder / "a.jsonl").touch()
    begun.start()
    assert begun.last_start.keys() == {"time", "event", "resumed"}
    assert capsys.readouterr().out == ""


def test_what_differs_is_said_at_the_start_and_not_by_the_check_before_it(
    begun: Begun, capsys: pytest.CaptureFixture[str]
) -> None:
    change(begun.config, "steps", 10)
    path = begun.folder / "rl.yaml"
    path.write_text(yaml.safe_dump(begun.config))
    (step,) = load_steps(path, [])
    require_same(step.config, begun.run, fingerprint(step.config, parents(step.config, None)))
    assert capsys.readouterr().out == ""
    begun.start()
    assert capsys.readouterr().out.count("steps is 10, was 9") == 1


def test_other_packages_are_logged(begun: Begun) -> None:
    path = begun.run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["packages"]["torch"] = "1.0"
    path.write_text(json.dumps(manifest))
    begun.start()
    (row,) = begun.last_start["changed"]
    assert (row["key"], row["then"]) == ("packages.torch", "1.0")


def lose_checkpoints(begun: Begun) -> None:
    for path in (begun.run / "checkpoints" / "step-000003").iterdir():
        path.write_bytes(b"")


def test_lines_that_no_checkpoint_covers_are_dropped_by_force_alone(begun: Begun) -> None:
    lose_checkpoints(begun)
    (begun.run / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n{"ste')
    (begun.run / "samples.jsonl").write_text('{"step": 1}\n')
    assert "4 lines of metrics.jsonl and samples.jsonl would be dropped" in begun.refusal()
    begun.start(force=True)
    assert begun.last_start["dropped_lines"] == 4


def test_before_its_first_step_a_run_may_become_another(begun: Begun) -> None:
    lose_checkpoints(begun)
    (begun.run / "metrics.jsonl").write_text('{"step": 0}\n')
    begun.config["seed"] = 1
    begun.start()
    (row,) = begun.last_start["changed"]
    assert row == {"key": "config.seed", "then": 0, "now": 1}


def test_an_evaluation_that_is_done_does_not_become_that_of_another_model(begun: Begun) -> None:
    evaluation = {key: begun.config[key] for key in ("model", "rewards")}
    begun.config = {"stage": "evaluate", **evaluation, "eval": {"tasks": begun.config["tasks"]}}
    begun.run = begun.folder / "evaluation"
    begun.start(resume=False)
    begun.config["seed"] = 1
    begun.start()  # nothing is there yet
    (begun.run / "metrics.jsonl").write_text('{"step": 0, "eval/file/greedy_accuracy": 1.0}\n')
    begun.start()
    begun.config["model"] = "org/other"
    assert "model is org/other, was " in begun.refusal()


def test_a_hub_model_that_was_updated_is_another_one(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    cache = begun.folder / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))

    def publish(commit: str) -> None:
        repository = cache / "models--org--tiny"
        for name, text in ((f"snapshots/{commit}/config.json", "{}"), ("refs/main", commit)):
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            (repository / name).write_text(text)

    publish("a" * 40)
    begun.config["model"] = "org/tiny"
    begun.start(force=True)
    begun.checkpoint(4)
    begun.start()
    publish("b" * 40)
    assert f"org/tiny are others ({'b' * 12}, were {'a' * 12})" in begun.refusal()


def test_overrides_of_the_first_run_stay_and_later_ones_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kept_overrides(tmp_path, ["steps=3"]) == ["steps=3"]
    keep_overrides(tmp_path, ["learner.lr=0.1", "steps=3", "name=Ωé"])
    assert kept_overrides(tmp_path, ["steps=9"]) == ["learner.lr=0.1", "name=Ωé", "steps=9"]
    assert "learner.lr=0.1" in capsys.readouterr().out
    (tmp_path / "overrides.json").write_text("[")
    with pytest.raises(UserError, match=r"overrides.json: cannot be read"):
        kept_overrides(tmp_path, [])


def test_a_resumed_run_is_read_with_the_overrides_of_the_first(begun: Begun) -> None:
    """The mistake is in the file, and told only if the override that hides it is not there."""
    keep_overrides(begun.run, ["seed=0"])
    path = begun.folder / "rl.yaml"
    path.write_text(yaml.safe_dump(begun.config | {"seed": 3, "stepz": 1}))
    with pytest.raises(UserError, match="unknown key `stepz`"):
        run_path(path, [], begun.run, resume=True)
    path.write_text(yaml.safe_dump(begun.config | {"seed": 3}))
    with pytest.raises(UserError, match=r"learner.lr is 5.0, was 0.001; put that back"):
        run_path(path, ["learner.lr=5"], begun.run, resume=True)
    with pytest.raises(UserError, match="seed is 4, was 0; put that back"):
        run_path(path, ["seed=4"], begun.run, resume=True)
    for force in (False, True):
        with pytest.raises(UserError, match="steps: 2, but 3 are done; raise it"):
            run_path(path, ["steps=2"], begun.run, resume=True, force=force)
    assert json.loads((begun.run / "overrides.json").read_text()) == ["seed=0"]


def test_force_is_for_a_resume(begun: Begun) -> None:
    with pytest.raises(UserError, match="--force: has a meaning with --resume alone"):
        run_path(begun.folder / "rl.yaml", [], begun.run, force=True)
