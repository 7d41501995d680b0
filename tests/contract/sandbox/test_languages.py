"""Programs in C++ and JavaScript, at both levels; skipped where the toolchain is not installed."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from rlreason.rewards.code import checker as code
from rlreason.sandbox.host import Host, Level
from rlreason.sandbox.languages import LANGUAGES, DoesNotCompile, built, missing_tool
from rlreason.sandbox.pool import Sandbox

CPP = """```cpp
#include <iostream>
#include <vector>
int main() { long long n, sum = 0; std::cin >> n; std::vector<long long> v(n);
  for (auto& x : v) { std::cin >> x; sum += x; } std::cout << sum << std::endl; }
```"""
JAVASCRIPT = """```js
const lines = require("fs").readFileSync(0, "utf8").trim().split("\\n");
console.log(lines[1].split(" ").reduce((a, b) => a + Number(b), 0));
```"""
TESTS = [
    {"type": "stdio", "input": "3\n1 2 3\n", "output": "6"},
    {"type": "stdio", "input": "2\n10 -4\n", "output": "6\n"},
]
ROOT = Path(__file__).resolve().parents[3]
LIMITS = {"timeout_s": 40.0, "memory_bytes": 1 << 30}


def need(name: str) -> None:
    tool = missing_tool(LANGUAGES[name])
    if tool is not None:
        pytest.skip(f"{tool} is not installed")


@pytest.mark.parametrize(("name", "program"), [("cpp", CPP), ("javascript", JAVASCRIPT)])
def test_a_right_program_passes_and_a_wrong_one_does_not(level: Level, name: str, program: str) -> None:
    need(name)
    right = code.check(program, TESTS, languages=[name], **LIMITS)
    assert (right.value, right.status) == (1.0, "ok"), right.detail
    wrong = code.check(program.replace("+", "-", 1) if name == "javascript" else program.replace("+=", "-="), TESTS,
                       languages=[name], **LIMITS)  # fmt: skip
    assert (wrong.value, wrong.status) == (0.0, "wrong"), wrong.detail


def test_the_hosts_name_is_not_told_inside_namespaces(level: Level) -> None:
    need("javascript")
    if level != "namespaces":
        pytest.skip("V8 ends where it may not ask, and without a namespace the answer is the host's")
    tests = [{"type": "stdio", "input": "", "output": "sandbox"}]
    program = '```js\nconsole.log(require("os").hostname());\n```'
    score = code.check(program, tests, languages=["javascript"], **LIMITS)
    assert score.value == 1.0, score.detail


def test_a_language_that_is_not_named_is_not_run() -> None:
    assert code.check(CPP, TESTS).status == "unparseable"


def test_what_does_not_compile_is_wrong(level: Level) -> None:
    need("cpp")
    score = code.check("```cpp\nint main() { return x; }\n```", TESTS, languages=["cpp"], **LIMITS)
    assert score.status == "wrong"
    assert "does not compile" in score.detail and "x" in score.detail


ATTACKS = {
    "read": 'std::ifstream f("/etc/passwd"); std::string s; std::getline(f, s); return !s.empty();',
    "fork": "return fork() >= 0;",
    "shell": 'return std::system("exit 7") >> 8 == 7;',
    "socket": "return socket(AF_INET, SOCK_STREAM, 0) >= 0;",
    "write": 'std::ofstream f("made"); f << "x"; f.flush(); return f.good();',
    "chmod": 'return chmod("main", 0777) == 0;',
    "signal": "return kill(getppid(), 0) == 0;",
    "more_stack": "rlimit r; r.rlim_cur = r.rlim_max = 700 << 20; return setrlimit(RLIMIT_STACK, &r) == 0;",
    "shared_memory": "return mmap(0, 1500ul << 20, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;",
    "memory": "for (int i = 0; i < 128; i++) { void* p = malloc(1 << 24); if (!p) return false; "
    "memset(p, i, 1 << 24); } return true;",
}
HEADERS = (
    "fstream",
    "iostream",
    "string",
    "cstdlib",
    "cstring",
    "unistd.h",
    "signal.h",
    "sys/socket.h",
    "sys/stat.h",
    "sys/mman.h",
    "sys/resource.h",
)


def test_a_compiled_program_has_no_rights(level: Level) -> None:
    """One program, which tries the attack that its input names."""
    need("cpp")
    functions = "".join(f"bool try_{name}() {{ {body} }}\n" for name, body in ATTACKS.items())
    choices = "".join(f'if (name == "{name}") through = try_{name}();\n' for name in ATTACKS)
    source = "".join(f"#include <{name}>\n" for name in HEADERS) + functions
    source += f"int main() {{ std::string name; std::cin >> name; bool through = true;\n{choices}"
    source += 'std::cout << (through ? "through" : "denied"); }'
    tests = [{"type": "stdio", "input": name, "output": "denied"} for name in ATTACKS]
    score = code.check(f"```cpp\n{source}\n```", tests, languages=["cpp"], **LIMITS)
    assert score.value == 1.0, (list(ATTACKS), score.detail)


def test_the_compiler_reads_no_file_of_the_host(level: Level, tmp_path: Path) -> None:
    need("cpp")
    secret = tmp_path / "secret.h"
    secret.write_text("#define SECRET 6\n", encoding="utf-8")
    tmp_path.chmod(0o755)
    source = f'#include "{secret}"\n#include <iostream>\nint main() {{ std::cout << SECRET; }}'
    score = code.check(f"```cpp\n{source}\n```", TESTS[:1], languages=["cpp"], **LIMITS)
    assert score.status == "wrong" and "does not compile" in score.detail


@pytest.mark.parametrize("asked", ['"/etc/passwd"', "</etc/passwd>", "PATH", "<../etc/passwd>", "<x/../../y>"])
@pytest.mark.parametrize("word", ["__has_include", "__has_\\\ninclude", "__has_include_next", "__has_embed"])
def test_the_compiler_answers_for_no_file_of_the_host(sandbox: Sandbox, word: str, asked: str) -> None:
    need("cpp")
    source = f'#define PATH "/etc/passwd"\n#if {word}({asked})\n#endif\nint main() {{}}'

    def build(host: Host) -> None:
        with (
            pytest.raises(DoesNotCompile, match="is for <header> alone"),
            built(host, LANGUAGES["cpp"], source.encode(), 1 << 30),
        ):
            pass

    sandbox.borrow(build)


def test_the_compiler_answers_for_its_headers(level: Level) -> None:
    need("cpp")
    asks = "#if __has_include(<bits/stdc++.h>) && __has_include( <vector> )\n#include <iostream>\n#endif\n"
    program = f"```cpp\n{asks}int main() {{ std::cout << 6; }}\n```"
    assert code.check(program, TESTS[:1], languages=["cpp"], **LIMITS).value == 1.0


def test_an_endless_program_ends_at_its_time(level: Level) -> None:
    need("javascript")
    limits = {**LIMITS, "timeout_s": 1.5}
    assert code.check("```js\nfor (;;) {}\n```", TESTS, languages=["javascript"], **limits).status == "timeout"


SOURCE = "#include <iostream>\nint main() {{ int n; std::cin >> n; while (n == 2) std::cin.get(); std::cout << {}; }}"


def test_tests_end_at_the_first_wrong_one(level: Level) -> None:
    need("cpp")
    tests: list[dict[str, Any]] = [{"type": "stdio", "input": str(n), "output": str(n)} for n in range(3)]
    checker = "def check(input, output, expected): return output == expected"
    for given in (tests, [{**test, "checker": checker} for test in tests]):
        answer = f"```cpp\n{SOURCE.format(9)}\n```"
        score = code.check(answer, given, languages=["cpp"], **{**LIMITS, "timeout_s": 4.0})
        assert score.status == "wrong" and score.detail.startswith("test 1 of 3"), score.detail
    score = code.check(
        f"```cpp\n{SOURCE.format('n')}\n```", tests, languages=["cpp"], partial=True, **{**LIMITS, "timeout_s": 4.0}
    )
    assert (score.value, score.status) == (pytest.approx(2 / 3), "wrong")


def test_what_does_not_compile_costs_no_zygote(level: Level) -> None:
    need("cpp")
    sandbox = code._backends["landlock", None]
    assert isinstance(sandbox, Sandbox)
    sandbox.start()
    before = set(sandbox._hosts)
    assert "does not compile" in code.check("```cpp\nx\n```", TESTS, languages=["cpp"], **LIMITS).detail
    assert set(sandbox._hosts) == before


def test_a_program_of_the_same_name_here_is_not_run(
    level: Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("cpp")
    (tmp_path / "main").write_text("#!/bin/sh\n")
    (tmp_path / "main").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    answer = f"```cpp\n{SOURCE.format('n')}\n```"
    tests = [{"type": "stdio", "input": "1", "output": "1"}]
    assert code.check(answer, tests, languages=["cpp"], **LIMITS).value == 1.0


def test_the_work_folder_is_removed(level: Level) -> None:
    need("cpp")
    sandbox = code._backends["landlock", None]
    assert isinstance(sandbox, Sandbox)
    folders: list[str] = []

    def use(host: Host) -> None:
        with built(host, LANGUAGES["cpp"], b"int main() {}", 1 << 30) as run:
            folders.extend(host.folders)
            assert run(b"", 10.0).status == 0

    sandbox.borrow(use)
    assert folders and not any(os.path.exists(folder) for folder in folders)


def test_a_language_of_the_users_own(level: Level) -> None:
    need("cpp")
    described = {"c": {"file": "main.c", "compile": ["gcc", "-o", "main", "main.c"], "run": ["./main"]}}
    source = '```c\n#include <stdio.h>\nint main() { printf("6\\n"); return 0; }\n```'
    assert code.check(source, TESTS[:1], languages=described, **LIMITS).value == 1.0


def test_a_missing_toolchain_is_no_wrong_answer() -> None:
    described = {"zig": {"file": "a.zig", "run": ["no-such-tool", "a.zig"]}}
    score = code.check("```zig\nx\n```", TESTS, languages=described)
    assert (score.status, score.detail) == ("sandbox_error", "no-such-tool is not installed")


WHERE_NOTHING_IS_EXECUTED = """
mount -t tmpfs -o noexec none "$TMPDIR" || exit 99
exec "$PYTHON" -c "$PROGRAM"
"""
JUDGED = """
from rlreason.rewards.code import checker as code
from rlreason.sandbox.pool import Sandbox
from rlreason.types import UserError
code._backends["landlock", None] = Sandbox(level="landlock")
score = code.check({answer!r}, {tests!r}, languages=["cpp"], timeout_s=60)
print(score.status, score.detail)
try:
    code.prepare(languages=["cpp"])
except UserError as error:
    print(error)
"""


def test_a_folder_where_nothing_is_executed_makes_no_answer_wrong(tmp_path: Path) -> None:
    need("cpp")
    tmp_path.chmod(0o777)
    program = JUDGED.format(answer=f"```cpp\n{SOURCE.format('n')}\n```", tests=TESTS[:1])
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHON": sys.executable, "PROGRAM": program}
    words = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", WHERE_NOTHING_IS_EXECUTED]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    if done.returncode == 99 or "unshare failed" in done.stderr:
        pytest.skip(f"no mount in a user namespace here: {done.stderr.strip()}")
    judged, prepared = done.stdout.splitlines()
    says = "main.cpp: a right program does not run: PermissionError: [Errno 13] Permission denied: './main'; "
    says += f"is {tmp_path}"
    assert judged.startswith(f"sandbox_error {says} mounted noexec?"), done.stdout + done.stderr
    assert prepared.startswith(says)


def test_a_program_that_keeps_itself_from_starting_is_wrong(level: Level) -> None:
    """It names an interpreter that is not there; others of its language start."""
    need("cpp")
    source = 'const char there[] __attribute__((section(".interp"))) = "/nowhere";\nint main() {}'
    described = {"c": {"file": "main.c", "compile": ["gcc", "-static", "-o", "main", "main.c"], "run": ["./main"]}}
    described["c"]["self_test"] = "#include <stdio.h>\nint main() { for (int c; (c = getchar()) != EOF;) putchar(c); }"
    score = code.check(f"```c\n{source}\n```", TESTS[:1], languages={"c": {**described["c"], "tags": ["c"]}}, **LIMITS)
    assert score.status == "wrong" and "No such file" in score.detail, score


def test_a_killed_parent_leaves_no_folder_behind() -> None:
    need("cpp")
    source = "#include <unistd.h>\nint main() { sleep(60); }"
    program = (
        "from rlreason.rewards.code import checker as code\n"
        "from rlreason.sandbox.pool import Sandbox\n"
        "code._backends['landlock', None] = Sandbox(level='landlock')\n"
        f"code.check('```cpp\\n' + {source!r}, {TESTS!r}, languages=['cpp'], timeout_s=60)"
    )
    before = folders()
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not any((folder / "main").exists() for folder in folders() - before):
            assert parent.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 5
    while folders() - before:
        assert time.monotonic() < deadline, folders() - before
        time.sleep(0.05)


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("rlreason-*"))
