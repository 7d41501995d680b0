"""Values between the process that runs a program and the one that judges it: a closed set of exact builtin types.

JSON in the messages of `framing`; no pickle, no eval. A subclass is sent as its base class, by the base class's own
methods, so that no method of the program runs in the judge. Objects of the program cross as numbered references; nodes
of linked lists and trees cross by value where a test has such nodes of its own.
"""

import json
import re
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

from rlreason.sandbox import framing, nodes

MAX_DEPTH = 120
MAX_ITEMS_OF_ITERATOR = 1_000_000


class NotPlain(Exception):
    """A value that the codec does not carry; the message names its type."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An object that stays in the program's process."""

    number: int


def encode(
    value: Any, refer: Callable[[Any], int] | None = None, depth: int = 0, *, nodes_by_value: bool = False
) -> Any:
    """A JSON value. `refer` keeps what has no plain form and numbers it; without it NotPlain is raised.

    nodes_by_value: objects of classes named as in `nodes.FIELDS` are sent whole.
    """

    def item(value: Any) -> Any:
        return encode(value, refer, depth + 1, nodes_by_value=nodes_by_value)

    if depth > MAX_DEPTH:
        raise NotPlain(f"nested more than {MAX_DEPTH} deep")
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -(2**53) < value < 2**53 else {"int": hex(value)}
    if kind is float:
        return {"float": value.hex()}
    if kind in _TO_JSON:
        tag, plain = _TO_JSON[kind]
        return {tag: plain(value, item)}
    if nodes_by_value and kind.__name__ in nodes.FIELDS:
        return {kind.__name__: _nodes(value, kind.__name__, item)}
    if kind.__module__ == "numpy" and hasattr(kind, "tolist"):
        return {"array": [value.dtype.str, item(value.tolist())]} if kind.__name__ == "ndarray" else item(value.item())
    if hasattr(kind, "__next__"):
        return {"iterator": [item(found) for found in islice(value, MAX_ITEMS_OF_ITERATOR)]}
    if kind is Reference:
        return {"ref": value.number}
    for base, copy in _BASES:
        if issubclass(kind, base):
            return encode(copy(value), refer, depth, nodes_by_value=nodes_by_value)
    if refer is None:
        raise NotPlain(kind.__name__)
    return {"ref": refer(value)}


def decode(
    coded: Any, make_reference: Callable[[int], Any] = Reference, classes: Mapping[str, type] = nodes.CLASSES
) -> Any:
    """The value of a JSON value. ValueError, TypeError, KeyError or RecursionError where it is malformed.

    classes: what nodes that were sent by value become.
    """
    if not isinstance(coded, dict):
        if isinstance(coded, list):
            raise ValueError("a bare list")
        return coded
    ((tag, body),) = coded.items()
    if tag == "ref":
        return make_reference(int(body))
    if tag in nodes.FIELDS:
        return _linked(body, tag, classes[tag], lambda item: decode(item, make_reference, classes))
    return _FROM_JSON[tag](body, lambda item: decode(item, make_reference, classes))


_Item = Callable[[Any], Any]


def _nodes(root: Any, kind: str, item: _Item) -> list[list[Any]]:
    """[value, number of each node that follows or None] of every node in reach; the root is number 0."""
    order, numbers = [root], {id(root): 0}
    rows = []
    for node in order:  # which grows
        held = object.__getattribute__(node, "__dict__")
        row = [item(held.get("val"))]
        for name in nodes.FIELDS[kind][1:]:
            following = held.get(name)
            if following is not None and type(following).__name__ != kind:
                raise NotPlain(f"{kind}.{name} of type {type(following).__name__}")
            if following is not None and id(following) not in numbers:
                numbers[id(following)] = len(order)
                order.append(following)
            row.append(None if following is None else numbers[id(following)])
        rows.append(row)
    return rows


def _linked(rows: Any, kind: str, made: Any, item: _Item) -> Any:
    found = [made.__new__(made) for _ in rows]
    for node, (value, *following) in zip(found, rows, strict=True):
        node.val = item(value)
        for name, number in zip(nodes.FIELDS[kind][1:], following, strict=True):
            setattr(node, name, None if number is None else found[number])
    return found[0]


def _sequence(value: Any, item: _Item) -> list[Any]:
    return [item(x) for x in value]


def _pairs(value: Any, item: _Item) -> list[Any]:
    return [[item(key), item(found)] for key, found in value.items()]


def _text(value: Any, _: _Item) -> str:
    return str(value)


_TO_JSON: dict[type, tuple[str, Callable[[Any, _Item], Any]]] = {
    complex: ("complex", lambda value, _: [value.real.hex(), value.imag.hex()]),
    bytes: ("bytes", lambda value, _: value.hex()),
    bytearray: ("bytearray", lambda value, _: value.hex()),
    list: ("list", _sequence),
    tuple: ("tuple", _sequence),
    set: ("set", _sequence),
    frozenset: ("frozenset", _sequence),
    deque: ("deque", _sequence),
    nodes.Values: ("values", _sequence),
    dict: ("dict", _pairs),
    range: ("range", lambda value, item: [item(value.start), item(value.stop), item(value.step)]),
    Decimal: ("decimal", _text),
    Fraction: ("fraction", lambda value, item: [item(value.numerator), item(value.denominator)]),
    datetime: ("datetime", lambda value, _: value.isoformat() if value.tzinfo is None else _zoned(value)),
    date: ("date", lambda value, _: value.isoformat()),
    clock_time: ("time", lambda value, _: value.isoformat()),
    timedelta: ("timedelta", lambda value, _: [value.days, value.seconds, value.microseconds]),
    type({}.keys()): ("iterator", _sequence),
    type({}.values()): ("iterator", _sequence),
    type({}.items()): ("iterator", _sequence),
}
_FROM_JSON: dict[str, Callable[[Any, _Item], Any]] = {
    "int": lambda body, _: int(body, 16),
    "float": lambda body, _: float.fromhex(body),
    "complex": lambda body, _: complex(float.fromhex(body[0]), float.fromhex(body[1])),
    "bytes": lambda body, _: bytes.fromhex(body),
    "bytearray": lambda body, _: bytearray.fromhex(body),
    "list": lambda body, item: [item(x) for x in body],
    "tuple": lambda body, item: tuple(item(x) for x in body),
    "set": lambda body, item: {item(x) for x in body},
    "frozenset": lambda body, item: frozenset(item(x) for x in body),
    "deque": lambda body, item: deque(item(x) for x in body),
    "values": lambda body, item: nodes.Values(item(x) for x in body),
    "dict": lambda body, item: {item(key): item(found) for key, found in body},
    "range": lambda body, item: range(*(item(x) for x in body)),
    "decimal": lambda body, _: Decimal(body),
    "fraction": lambda body, item: Fraction(item(body[0]), item(body[1])),
    "datetime": lambda body, _: datetime.fromisoformat(body),
    "date": lambda body, _: date.fromisoformat(body),
    "time": lambda body, _: clock_time.fromisoformat(body),
    "timedelta": lambda body, _: timedelta(*body),
    "array": lambda body, item: _array(body[0], item(body[1])),
    "iterator": lambda body, item: iter([item(x) for x in body]),
}
# Copies by the base class's own methods: what a subclass overrides is not asked.
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (dict, lambda value: dict(dict.items(value))),
    (list, lambda value: list.__getitem__(value, slice(None))),
    (tuple, lambda value: tuple(tuple.__iter__(value))),
    (str, str.__str__),
    (bytes, bytes.__bytes__),
    (int, int.__int__),
    (float, float.__float__),
    (set, lambda value: set(set.__iter__(value))),
    (frozenset, lambda value: set(frozenset.__iter__(value))),
    (deque, lambda value: deque(deque.__iter__(value))),
)


def _array(kind: str, values: Any) -> Any:
    """Of numpy where it is loaded, else a list. Numbers and text only: no kind that could name or hold objects."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(values, list) or not re.fullmatch(r"[<>|=][biufcU]\d{1,4}", kind):
        return values
    return numpy.array(values, dtype=kind)


def _zoned(value: datetime) -> str:
    raise NotPlain("datetime with a time zone")


def send(fd: int, message: Any) -> None:
    """One message of JSON. OSError if the other end is gone, NotPlain if it is too long."""
    body = json.dumps(message).encode()
    if len(body) > framing.MAX_MESSAGE_BYTES:
        raise NotPlain(f"more than {framing.MAX_MESSAGE_BYTES >> 20} MiB")
    framing.send(fd, body)


def receive(fd: int, deadline: float | None = None) -> Any:
    """One message of JSON; raises what `framing.receive` does."""
    return json.loads(framing.receive(fd, deadline))
