"""E-mail and public IP addresses are masked, the rest stays."""

import time

import pytest

from rlreason.data.corpus.pii import EMAIL, IPV4, IPV6, mask


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to john.o'neil+x@mail.example.co.uk.", f"Write to {EMAIL}."),
        ("<a_b-c@d.org>, (x@y.io)", f"<{EMAIL}>, ({EMAIL})"),
        ("user@localhost and @name and a @ b", "user@localhost and @name and a @ b"),
        ("at 8.8.8.8:53, (1.1.1.1).", f"at {IPV4}:53, ({IPV4})."),
        (
            "10.0.0.1 192.168.1.1 172.16.0.9 127.0.0.1 169.254.1.1",
            "10.0.0.1 192.168.1.1 172.16.0.9 127.0.0.1 169.254.1.1",
        ),
        ("256.1.1.1 1.2.3 1.2.3.4.5 v8.8.8.8x 008.8.8.8", "256.1.1.1 1.2.3 1.2.3.4.5 v8.8.8.8x 008.8.8.8"),
        ("2606:4700:4700::1111 [2a00:1450:4001:81b::200e]", f"{IPV6} [{IPV6}]"),
        ("fe80::1 ::1 fd00::12 std::cout ab::cd 12:30:45", "fe80::1 ::1 fd00::12 std::cout ab::cd 12:30:45"),
    ],
)
def test_addresses_become_placeholders(text: str, expected: str) -> None:
    assert mask(text)[0] == expected
    assert mask(expected) == (expected, 0)


def test_what_is_masked_is_counted() -> None:
    assert mask(f"x@y.io, {EMAIL}, 8.8.8.8 and 10.0.0.1")[1] == 2


def test_masking_takes_linear_time() -> None:
    """A quadratic search takes half a minute on these."""
    start = time.monotonic()
    for text in (
        "a/" * 20_000 + "@",
        "a." * 20_000,
        "@" * 20_000,
        "1." * 20_000,
        "2001:" * 10_000,
        "a@" + "b-" * 10_000,
    ):
        assert mask(text) == (text, 0)
    assert time.monotonic() - start < 5
