"""Models and tokenizers that carry code of their own: it is never run, and nobody is asked."""

import ast
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlreason.data.chat import load_tokenizer
from rlreason.engines.learner_setup import build_module, describe, num_positions
from rlreason.engines.scorer import RewardModel, require_reward_model
from rlreason.types import UserError

PACKAGE = Path(__file__).parents[3] / "rlreason"
REFUSED = "^model `{}`: carries code of its own, which is never run; take a version of the model that [^\n]*$"
CODE = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
Config, Model, Tokenizer = LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
def generate(*args, **keys): ...
"""


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What foreign code would write. Whoever asks whether to run it reads "y"."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    return tmp_path / "marker"


@pytest.fixture
def unread(marker: Path) -> Callable[[], bool]:
    """Whether the code was not run and nothing was asked."""
    return lambda: not marker.exists() and sys.stdin.tell() == 0


@pytest.fixture
def foreign(tiny_model: Path, tmp_path: Path, marker: Path) -> Callable[..., str]:
    """foreign("config.json", {...}): the tiny model with these keys changed in that file, and code beside it."""

    def make(name: str, changes: dict[str, Any]) -> str:
        folder = shutil.copytree(tiny_model, tmp_path / "foreign")
        (folder / "code.py").write_text(CODE.format(marker=str(marker)))
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changes))
        return str(folder)

    return make


AUTO_MAP = {
    name: f"code.{kind}"
    for name, kind in [
        ("AutoConfig", "Config"),
        ("AutoModelForCausalLM", "Model"),
        ("AutoModelForSequenceClassification", "Model"),
    ]
}
TOKENIZER_MAP = {"AutoTokenizer": ["code.Tokenizer", "code.Tokenizer"]}


@pytest.mark.parametrize(
    "load",
    [describe, num_positions, lambda path, _: require_reward_model(path), lambda path, _: RewardModel(path)]
    + [lambda path, _, head=head: build_module("float32", path, None, head) for head in ("language", "value", "score")],
)
def test_a_model_of_a_kind_that_only_its_own_code_knows_is_one_line(
    load: Callable[..., Any], foreign: Callable[..., str], unread: Callable[[], bool]
) -> None:
    path = foreign("config.json", {"model_type": "unheard_of", "auto_map": AUTO_MAP})
    with pytest.raises(UserError, match=REFUSED.format(path)):
        load(path, None)
    assert unread()


def test_a_model_that_transformers_knows_is_loaded_without_its_code(
    foreign: Callable[..., str], unread: Callable[[], bool]
) -> None:
    path = foreign("config.json", {"auto_map": AUTO_MAP, "num_labels": 1, "architectures": ["AClassification"]})
    (Path(path) / "custom_generate").mkdir()
    shutil.copy(Path(path) / "code.py", Path(path) / "custom_generate/generate.py")
    assert num_positions(path) == 256
    for head in ("language", "value", "score"):
        assert type(build_module("float32", path, None, head)).__module__.startswith("transformers.")
    assert type(RewardModel(path).module).__module__.startswith("transformers.")
    assert unread()


def test_an_architecture_in_a_configuration_names_no_code(unread: Callable[[], bool]) -> None:
    keys = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}
    module = build_module("float32", None, {**keys, "intermediate_size": 8, "auto_map": AUTO_MAP})
    assert type(module).__module__.startswith("transformers.") and unread()


def test_a_tokenizer_that_transformers_knows_is_loaded_without_its_code(
    foreign: Callable[..., str], unread: Callable[[], bool]
) -> None:
    path = foreign("tokenizer_config.json", {"auto_map": TOKENIZER_MAP})
    assert type(load_tokenizer(path)).__module__.startswith("transformers.") and unread()


def test_a_tokenizer_that_only_its_own_code_knows_is_one_line(
    foreign: Callable[..., str], unread: Callable[[], bool]
) -> None:
    path = foreign("tokenizer_config.json", {"tokenizer_class": "Unheard", "auto_map": TOKENIZER_MAP})
    with pytest.raises(UserError, match=REFUSED.format(path)):
        load_tokenizer(path)
    assert unread()


def test_every_loader_is_told_to_run_no_foreign_code() -> None:
    """vLLM's as well. GenerationConfig reads JSON alone, and a score model's class is one of transformers' own."""
    found = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name == "partial":
                name = ast.unparse(node.args[0])
            if name.endswith((".from_pretrained", ".from_config")) or name == "AsyncEngineArgs":
                told = {key.arg: ast.unparse(key.value) for key in node.keywords}
                found.append((name, told.get("trust_remote_code")))
    assert len(found) >= 6
    assert {name for name, told in found if told != "False"} == {"GenerationConfig.from_pretrained"}
