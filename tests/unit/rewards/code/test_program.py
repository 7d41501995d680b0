"""Which part of an answer is the program."""

import time

import pytest

from rlreason.rewards.code.program import MAX_PROGRAM_BYTES, Program, find_program

FOUND = {
    "no fence": ("print(1)", "print(1)"),
    "fence": ("```python\nprint(1)\n```", "print(1)\n"),
    "no label": ("```\nprint(1)\n```", "print(1)\n"),
    "label": ("```Python3\nprint(1)\n```", "print(1)\n"),
    "attributes": ('```python title="a.py"\nprint(1)\n```', "print(1)\n"),
    "tildes": ("~~~py\nprint(1)\n~~~", "print(1)\n"),
    "prose": ("Here:\n\n```python\nprint(1)\n```\nIt prints 1.", "print(1)\n"),
    "last of two": ("```python\nprint(0)\n```\nBetter:\n```python\nprint(1)\n```", "print(1)\n"),
    "last of its language": ("```python\nprint(1)\n```\nOutput:\n```text\n1\n```", "print(1)\n"),
    "unterminated": ("```python\nprint(1)", "print(1)"),
    "longer fence": ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n"),
    "fence in a string": ("```python\ns = '```'\n```", "s = '```'\n"),
    "windows lines": ("```python\r\nprint(1)\r\n```\r\n", "print(1)\r\n"),
    "after thought": ("<think>```python\nprint(0)\n```</think>\nprint(1)", "\nprint(1)"),
    "mark of a thought in a block": ("```python\nprint('<think>')\n```", "print('<think>')\n"),
    "mark in the last of two": ("a\n```\nx\n```\n<b>\n```\ns = '<think>'\n```\nc", "s = '<think>'\n"),
    "thought of thoughts": ("<think></think>a</think>print(1)", "print(1)"),
    "list item": ("1. First\n   ```python\n   if 1:\n       print(1)\n   ```", "if 1:\n    print(1)\n"),
    "indented fence alone": ("  ```python\nprint(1)\n  ```", "print(1)\n"),
    "inline code": ("print('```')", "print('```')"),
    "output behind": ("```python\nprint(1)\n```\nOutput:\n```\n1\n```", "print(1)\n"),
    "unlabelled example behind": ("```py\ndef f(): pass\n```\n```\nprint(f())\n```", "def f(): pass\n"),
    "output behind, no labels": ("```\nprint(1)\n```\nIt prints\n```\n1\n```\nand\n```\nYES\n```", "print(1)\n"),
    "last of two without labels": ("```\nprint(0)\n```\n```\nprint(1)\n```", "print(1)\n"),
    "labelled draft": ("```\nprint(1)\n```\n```text\n1\n```", "print(1)\n"),
    "answer marks": ("It is easy.\n<answer>\nprint(1)\n</answer>\nDone.", "\nprint(1)\n"),
    "fence in answer marks": ("<answer>\n```python\nprint(1)\n```\n</answer>", "print(1)\n"),
    "PYTHON marks": ("[PYTHON]\ndef f(x): return x\n[/PYTHON]\n[TESTS]assert f(1)[/TESTS]", "\ndef f(x): return x\n"),
    "fence in PYTHON marks": ("[PYTHON]\n```\nprint(1)\n```\n[/PYTHON]", "print(1)\n"),
    "last of two marks": ("<answer>print(0)</answer> No: <answer>print(1)</answer>", "print(1)"),
    "marks that do not end": ("<think>a</think>[PYTHON]print(1)", "print(1)"),
    "marks in a string": ("print('<answer>5</answer>')", "print('<answer>5</answer>')"),
    "index": ("x = a[python]\nprint(x)", "x = a[python]\nprint(x)"),
}
MISSING = {
    "nothing": ("", "no program"),
    "spaces": (" \n", "no program"),
    "empty block": ("```python\n```", "no program"),
    "open thought": ("<think>print(1)", "inside <think>"),
    "thought around a block": ("<think>\n```python\nprint(1)\n```", "inside <think>"),
    "thought after a block": ("```python\nprint(1)\n```\n<think>", "inside <think>"),
    "only a thought": ("<think>print(1)</think>", "with </think>"),
    "another language": ("```rust\nfn main() {}\n```", "known language: rust"),
    "surrogate": ("print('\ud800')", "Unicode"),
    "too long": ("#" * (MAX_PROGRAM_BYTES + 1), "longer than 256 KiB"),
}


@pytest.mark.parametrize(("answer", "program"), FOUND.values(), ids=FOUND)
def test_the_program_is_found(answer: str, program: str) -> None:
    assert find_program(answer) == Program(source=program.encode(), language="python")


@pytest.mark.parametrize(("answer", "why"), MISSING.values(), ids=MISSING)
def test_why_there_is_no_program(answer: str, why: str) -> None:
    found = find_program(answer)
    assert isinstance(found, str) and why in found


def test_other_languages_are_found_by_their_labels() -> None:
    answer = "```cpp\nint main() {}\n```"
    assert find_program(answer, {"cpp": "cpp"}) == Program(source=b"int main() {}\n", language="cpp")


@pytest.mark.parametrize(
    "piece",
    [
        "```",
        "~~~",
        " ",
        " ```\n",
        "a",
        "`",
        "\n",
        "``` ",
        "```a\n",
        "<think>",
        "</think>",
        "<answer>",
        "[python]",
        "\na ",
    ],
)
def test_hostile_answers_take_linear_time(piece: str) -> None:
    start = time.monotonic()
    for answer in (piece * 200_000, "```" + piece * 200_000 + "`", "~~~ " + piece * 200_000 + "`"):
        find_program(answer)
    assert time.monotonic() - start < 5
