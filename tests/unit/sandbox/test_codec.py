"""Values cross whole or not at all; nothing but exact builtin types comes out."""

import math
import os
import threading
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlreason.sandbox import codec

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.complex_numbers(allow_nan=False) | st.decimals(allow_nan=False) | st.fractions() | st.dates() | st.datetimes()
    | st.times() | st.timedeltas()
)  # fmt: skip
HASHABLE = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.lists(inner, max_size=4).map(deque)
        | st.sets(HASHABLE, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.binary().map(bytearray)
    ),
    max_leaves=20,
)


def kinds(value: Any) -> Any:
    if isinstance(value, list | tuple | deque):
        return type(value), [kinds(item) for item in value]
    if isinstance(value, dict):
        return type(value), [(kinds(key), kinds(item)) for key, item in value.items()]
    return type(value)


@given(VALUES)
def test_a_value_crosses_whole(value: Any) -> None:
    read, write = os.pipe()
    try:
        writer = threading.Thread(target=codec.send, args=(write, codec.encode(value)))
        writer.start()
        found = codec.decode(codec.receive(read))
        writer.join()
    finally:
        os.close(read)
        os.close(write)
    assert found == value and kinds(found) == kinds(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.0, 2**53, "\ud800", "\x00", range(3, 9, 2), Decimal("NaN")])
def test_odd_values_cross(value: Any) -> None:
    found = codec.decode(codec.encode(value))
    assert repr(found) == repr(value) and type(found) is type(value)


def test_integers_longer_than_python_prints_cross() -> None:
    assert codec.decode(codec.encode(-(10**5000))) == -(10**5000)


class Level(IntEnum):
    LOW = 1


class Shout(str):
    def __str__(self) -> str:
        return "shouted"

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Level.LOW, 1),
        (Shout("a"), "a"),
        (namedtuple("P", "x y")(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (defaultdict(list, {1: [2]}), {1: [2]}),
        (OrderedDict(a=1), {"a": 1}),
        (type("B", (bytes,), {})(b"x"), b"x"),
    ],
)
def test_a_subclass_crosses_as_its_base(value: Any, plain: Any) -> None:
    found = codec.decode(codec.encode(value))
    assert type(found) is type(plain) and plain == found


def test_iterators_cross_as_what_they_give_up_to_a_limit() -> None:
    assert list(codec.decode(codec.encode(x for x in [1, 2]))) == [1, 2]
    assert list(codec.decode(codec.encode(zip([1], [2], strict=True)))) == [(1, 2)]
    assert list(codec.decode(codec.encode({"a": 1}.items()))) == [("a", 1)]
    assert len(codec.encode(iter(int, 1))["iterator"]) == codec.MAX_ITEMS_OF_ITERATOR


def test_what_has_no_plain_form_is_named_or_numbered() -> None:
    with pytest.raises(codec.NotPlain, match="object"):
        codec.encode([object()])
    with pytest.raises(codec.NotPlain, match="time zone"):
        codec.encode(datetime(2024, 1, 1, tzinfo=UTC))
    assert codec.decode(codec.encode([object()], lambda _: 7)) == [codec.Reference(7)]


def test_depth_is_limited() -> None:
    value: Any = []
    for _ in range(codec.MAX_DEPTH):
        value = [value]
    assert codec.decode(codec.encode(value)) == value
    with pytest.raises(codec.NotPlain, match="120 deep"):
        codec.encode([value])
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    with pytest.raises(codec.NotPlain):
        codec.encode(cyclic)


def test_messages_are_limited_in_size_and_in_time() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(codec.NotPlain, match="16 MiB"):
            codec.send(write, "x" * (17 << 20))
        os.write(write, b"\xff\xff\xff\xff")
        with pytest.raises(ValueError, match="too long"):
            codec.receive(read)
        os.write(write, b"\x00\x00\x00\x05[1")
        with pytest.raises(TimeoutError):
            codec.receive(read, deadline=0.0)
        os.close(write)
        with pytest.raises(EOFError):
            codec.receive(read)
    finally:
        os.close(read)


def test_dates_and_fractions_keep_their_parts() -> None:
    for value in (
        date(1, 1, 1),
        time(23, 59, 59, 999999),
        timedelta(-1, 5, 7),
        Fraction(-(10**30), 7),
        Decimal("1E+99"),
    ):
        assert codec.decode(codec.encode(value)) == value
