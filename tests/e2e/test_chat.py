"""`rlreason chat` with a real engine: a pipe gets the model's own text; on a terminal Ctrl-C stops only the answer."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.engines]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that never end an answer by themselves."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from rlreason.tasks import chains

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("endless")
    made = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=4096,
            initializer_range=0.2,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    made.lm_head.weight.data[2] = 0.0
    made.save_pretrained(path)
    chains.tokenizer().save_pretrained(path)
    return path


def words(model: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "rlreason", "chat", str(model), "--temperature", "0", *options]


def test_a_pipe_gets_the_greedy_continuation_and_nothing_else(model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, reference = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    expected = []
    for line in ("3+4=", "2*2="):
        ids = [1, *tokenizer(line, add_special_tokens=False)["input_ids"]]
        found = reference.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)
        expected.append(tokenizer.decode(found[0, len(ids) :]))
    found = subprocess.run(
        words(model, "--base", "--max-tokens", "12"), input="3+4=\n\n2*2=\n", capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == expected
    assert found.stderr == ""


class Terminal:
    """A program on a terminal of its own, so that Ctrl-C goes to it and all its children."""

    def __init__(self, command: list[str]) -> None:
        self._screen, inside = pty.openpty()

        def enter() -> None:
            os.login_tty(inside)
            # A shell starts its background jobs with SIGINT ignored, and that is inherited.
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, preexec_fn=enter)
        os.close(inside)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def wait_for(self, text: str, timeout_s: float = 120.0) -> None:
        """Forgets what was shown up to and including `text`."""
        self._read_until(lambda: text in self.shown, timeout_s, repr(text))
        self.shown = self.shown.partition(text)[2]

    def wait_for_any(self, num_characters: int, timeout_s: float = 120.0) -> None:
        self._read_until(lambda: len(self.shown) >= num_characters, timeout_s, f"{num_characters} characters")

    def _read_until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come: {self.shown[-500:]!r}"
            if select.select([self._screen], [], [], 0.2)[0]:
                self.shown += os.read(self._screen, 1 << 16).decode(errors="replace")


@pytest.fixture
def terminal() -> Iterator[Callable[[list[str]], Terminal]]:
    started: list[Terminal] = []

    def start(command: list[str]) -> Terminal:
        started.append(Terminal(command))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()


def test_ctrl_c_stops_the_answer_and_a_second_one_leaves(
    model: Path, terminal: Callable[[list[str]], Terminal]
) -> None:
    screen = terminal(words(model, "--max-tokens", "3000"))
    screen.wait_for("> ")
    for _ in range(2):  # the engine outlives the first one
        screen.type("3+4=\n")
        screen.wait_for("3+4=\r\n")
        screen.wait_for_any(20)
        screen.type("\x03")
        screen.wait_for("[stopped; Ctrl-C again leaves]")
        screen.wait_for("> ")
    screen.type("/reset\n")
    screen.wait_for("[the conversation is forgotten]")
    for _ in range(2):
        screen.wait_for("> ")
        time.sleep(0.5)  # Python does not see a signal that comes between the prompt and the waiting for a key
        screen.type("\x03")
    assert screen.process.wait(60) == 0
