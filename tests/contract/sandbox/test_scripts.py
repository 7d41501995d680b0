"""A script that does not print the answer, or is none at all, scores nothing."""

import pytest

# name: (program, input, the output that would be right)
PRINTED = {
    "exit": ("raise SystemExit(0)", "3", "8461"),
    "os._exit": ("import os\nos._exit(0)", "3", "8461"),
    "crash where nothing is to be printed": ("1 / 0", "3", ""),
    "abort where nothing is to be printed": ("import os\nos.abort()", "3", ""),
    "hidden crash": ("import sys\nsys.excepthook = lambda *_: None\n1 / 0", "3", ""),
    "all answers": ("print(8461)\nprint(9173)", "3", "8461"),
    "answer and more": ("print(8461, 9173)", "3", "8461"),
    "passed": ("print('passed')\nprint('1.0')", "3", "8461"),
    "answer on the error stream": ("import sys\nprint(8461, file=sys.stderr)", "3", "8461"),
    "full-width digits": ("print('８４６１')", "3", "8461"),
    "letter case": ("print('yes')", "3", "YES"),
    "NUL inside": ("print('84\\x0061')", "3", "8461"),
    "bad UTF-8": ("import os\nos.write(1, b'\\xff8461')", "3", "8461"),
    "nearly the integer": ("print('8461.0000001')", "3", "8461"),
    "answer and then a crash": ("print(8461, flush=True)\n1 / 0", "3", "8461"),
    "answer and then a kill": ("import os\nprint(8461, flush=True)\nos.kill(os.getpid(), 9)", "3", "8461"),
    "input printed": ("print(open(0).read())", "3", "8461"),
    "stdin rewritten": ("import os\nos.pwrite(0, b'8', 0)\nprint(os.pread(0, 9, 0))", "3", "8461"),
    "own source": ("import sys\nprint(open(sys.argv[0]).read())", "3", "8461"),
    "closed stdout": ("import os\nos.close(1)\nprint(8461)", "3", "8461"),
    "nan": ("print('nan')", "3", "0.5"),
    "infinity": ("print('1e999')", "3", "2e999"),
}


@pytest.mark.parametrize(("program", "given", "right"), PRINTED.values(), ids=PRINTED)
def test_a_wrong_output_is_not_taken_for_right(arena, program: str, given: str, right: str) -> None:
    assert arena.check(program, [{"type": "stdio", "input": given, "output": right}]).value == 0.0


MALFORMED = {
    "NUL": "print(1)\0",
    "lone surrogate": "print('\ud800')",
    "rot13": "# coding: rot13\ncevag(42)",
    "unknown coding": "# coding: nonsense\nprint(42)",
    "1.2 MB": "print(42)\n" + "#" * 1_200_000,
    "50,000 parentheses": "(" * 50_000 + ")" * 50_000,
    "50,000 minus signs": "-" * 50_000 + "1",
    "50,000 ifs": "x = " + "1 if x else " * 20_000 + "1",
    "prose": "The answer is 42, since 21 doubled is 42.",
    "empty": "",
    "only fences": "```python\n```",
    "another language": "```cpp\nint main() {}\n```",
    "open string": "print('''42",
    "huge constant": "print(42 if 10 ** 10 ** 8 else 0)",
    "wide tuple": "(1,) * 10 ** 12",
    "stray backtick": "```" + "a" * 100_000 + "`",
    "stray backtick after spaces": "~~~" + " " * 100_000 + "a" * 100_000 + "`",
    "open think": "<think>print(42)",
}


@pytest.mark.parametrize("program", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_program_scores_nothing(arena, program: str) -> None:
    assert arena.check(program, [{"type": "stdio", "input": "21", "output": "42"}], timeout_s=0.5).value == 0.0
