"""What a contest accepts, and nothing else."""

import time

import pytest

from rlreason.rewards.code.printed import same_output

SAME = [
    (b"42", b"42"), (b"42\n", b"42"), (b"42 \n\n", b"42\n"), (b"1 2  3\n", b"1 2 3"), (b" 1 2\r\n3\r\n", b"1 2\n3\n"),
    (b"", b"\n"), (b"YES", b"YES"), (b"a  b", b"a  b"), (b"0.3333333", b"0.33333333333"), (b"1e-7", b"0.0"),
    (b"2", b"2.0"), (b"1000000.5", b"1000000.0"), (b"-0.0", b"0.0"), (b"\xff", b"\xff"), (b"1.5 x", b"1.5 x"),
    (b"3.10", b"3.1"), (b"9" * 5000, b"9" * 5000), (b"1\n\n2", b"1\n\n2"),
    # space and empty lines before
    (b"\n\n42", b"42"), (b"YES", b"\n \nYES"), (b"  YES\n  NO", b"YES\nNO"), (b"YES\n NO", b"YES\nNO"),
    (b"YES", b" YES"), (b"  *\n ***", b"  *\n ***"), (b"   *\n  ***", b" *\n***"), (b"\ta b", b"a b"),
    # integers in other words
    (b"42.0", b"42"), (b"+42", b"42"), (b"042", b"42"), (b"42", b"+42"), (b"4.2e1", b"42"), (b"1e3", b"1000"),
    (b"1E+3 7.", b"1000 7"), (b"-0", b"0"), (b"0.0", b"0"), (b"0" * 5000 + b"9" * 5000, b"9" * 5000),
    (b"ans: 5.0", b"ans: 5"), (b"Case #1: 0.3333333", b"Case #1: 0.33333333"), (b"007", b"007"),
    # other spaces
    ("1\u00a02".encode(), b"1 2"), (b"a b", "a\u00a0b".encode()), ("\u00a0a\u202f".encode(), b"a"),
    (b"a", "\ufeffa\u00a0".encode()), (b"a", b"a\r"),
]  # fmt: skip
DIFFERENT = [
    (b"43", b"42"), (b"4 2", b"42"), (b"42 42", b"42"), (b"1\n2", b"1 2"), (b"yes", b"YES"), (b"a b", b"a  b"),
    (b"0.34", b"0.33"), (b"nan", b"0.5"), (b"inf", b"1e999"), (b"1e999", b"2e999"),
    (b"1_0", b"10.0"), ("４２".encode(), b"42"), (b"", b"0"), (b"0", b""), (b"4\x002", b"42"),
    (b"1.5 y", b"1.5 x"), (b"10000000000000000", b"10000000000000001"), (b"0x10", b"16.0"), (b"1.5.", b"1.5"),
    (b"3.14159265358979", b"3." + b"1" * 80), (b"1\n2", b"1\n\n2"), (b"--1.0", b"1.0"), ("４.２".encode(), b"4.2"),
    (b"*\n***", b"  *\n ***"), (b" *\n***", b"  *\n***"), (b"1\n\n\n2", b"1\n\n2"), (b"4\n2", b"42"), (b"1 2", b"12"),
    (b"42.0000001", b"42"), (b"41.9999999999", b"42"), (b"-42", b"42"), (b"4e1", b"42"),
    (b"1e999999999999999999", b"42"),
    (b"9" * 4999 + b"8", b"9" * 5000), (b"11", b"0011"), (b"42 ", b"42 0"), (b"1,000", b"1000"), (b"1_000", b"1000"),
    (b"ans:  5.0", b"ans: 5"), (b"ans: 6.0", b"ans: 5"), (b"5 ans:", b"ans: 5"),
    (b"12345678901234567890.0", b"12345678901234567891"),
    ("a\u200bb".encode(), b"ab"), ("1\u00a02".encode(), b"12"),
]  # fmt: skip


@pytest.mark.parametrize(("printed", "expected"), SAME)
def test_same(printed: bytes, expected: bytes) -> None:
    assert same_output(printed, expected)


@pytest.mark.parametrize(("printed", "expected"), DIFFERENT)
def test_different(printed: bytes, expected: bytes) -> None:
    assert not same_output(printed, expected)


def test_the_tolerance_is_the_test_s() -> None:
    assert not same_output(b"0.5001", b"0.5") and same_output(b"0.5001", b"0.5", 1e-3)
    assert not same_output(b"0.50000001", b"0.5", 0.0) and same_output(b"0.50", b"0.5", 0.0)


def test_hostile_output_takes_linear_time() -> None:
    start = time.process_time()
    long = 8 << 20
    for printed in (b"1" * long, b"1." * long, b" " * long + b"1", b"1 " * long, b"\n" * long, b"1" * long + b"x 1"):
        assert not same_output(printed, b"1.5 1.5")
    assert time.process_time() - start < 10
