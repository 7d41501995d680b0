"""Linked lists and binary trees as LeetCode's judge has them: its two classes, and how plain lists become them.

A list is its values in order; a tree is its levels from the root, None for a missing child, none at the end. Used on
both sides: the program gets nodes for lists where its annotations ask for them, and a test's nodes cross by value.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any


class ListNode:
    def __init__(self, val: Any = 0, next: "ListNode | None" = None) -> None:
        self.val = val
        self.next = next


class TreeNode:
    def __init__(self, val: Any = 0, left: "TreeNode | None" = None, right: "TreeNode | None" = None) -> None:
        self.val = val
        self.left = left
        self.right = right


ListNode.__module__ = TreeNode.__module__ = "builtins"  # where a program finds them, and so does pickle
FIELDS = {"ListNode": ("val", "next"), "TreeNode": ("val", "left", "right")}
"""By the name of the class: the value, then the nodes that follow."""
CLASSES: Mapping[str, type] = {"ListNode": ListNode, "TreeNode": TreeNode}
_ANNOTATED = re.compile(r"\b(ListNode|TreeNode)\b")
_SEVERAL = re.compile(r"\b(?:list|sequence|iterable|tuple)\[.*\b(?:ListNode|TreeNode)\b", re.IGNORECASE)


class Values(list[Any]):
    """What a function returned as nodes, as a list; an empty one may stand for None."""


def list_node(values: Any, node: Callable[..., Any] = ListNode) -> Any:
    """The first node of a linked list, None for no values."""
    first = None
    for value in reversed(values or ()):
        following, first = first, node(value)
        first.next = following
    return first


def tree_node(values: Any, node: Callable[..., Any] = TreeNode) -> Any:
    """The root of the tree with these levels, None for no values."""
    rest = iter(values or ())
    root = waiting = None
    for value in rest:
        root = node(value)
        waiting = deque([root])
        break
    while waiting:
        parent = waiting.popleft()
        for side in ("left", "right"):
            value = next(rest, None)
            if value is not None:
                child = node(value)
                setattr(parent, side, child)
                waiting.append(child)
    return root


def values_of(root: Any) -> Values:
    """The plain form of a list or a tree. ValueError for one that meets itself."""
    values, seen = Values(), set()
    waiting = deque([root])
    while waiting:
        node = waiting.popleft()
        values.append(None if node is None else node.val)
        if node is None:
            continue
        if id(node) in seen:
            raise ValueError("nodes in a circle have no plain form")
        seen.add(id(node))
        if hasattr(node, "next"):
            waiting.extend([] if node.next is None else [node.next])
        else:
            waiting.extend((node.left, node.right))
    while values and values[-1] is None and not hasattr(root, "next"):  # a missing child, not a value
        values.pop()
    return values


def is_same_list(first: Any, second: Any) -> bool:
    """True if both hold the same values in the same order."""
    while first is not None and second is not None and first.val == second.val:
        first, second = first.next, second.next
    return first is None and second is None


def is_same_tree(first: Any, second: Any) -> bool:
    """True if both have the same shape and values."""
    waiting = [(first, second)]
    while waiting:
        one, other = waiting.pop()
        if one is None and other is None:
            continue
        if one is None or other is None or one.val != other.val:
            return False
        waiting += [(one.left, other.left), (one.right, other.right)]
    return True


HELPERS = {
    "list_node": list_node,
    "tree_node": tree_node,
    "is_same_list": is_same_list,
    "is_same_tree": is_same_tree,
}
"""What the tests of the LeetCode data sets call; their rows' prompts define them, where the row has its prompt."""


def annotated(annotations: Any) -> bool:
    """True if the annotations of a function name one of the classes. A cheap question, asked before each call."""
    return type(annotations) is dict and any(_ANNOTATED.search(str(text)) for text in annotations.values())


def as_nodes(value: Any, annotation: Any, classes: Mapping[str, Any]) -> Any:
    """A plain argument as its annotation wants it; what is none of a list or None stays."""
    named = _ANNOTATED.search(str(annotation))
    if named is None or not (value is None or isinstance(value, list | tuple)):
        return value
    if _SEVERAL.search(str(annotation)):
        return [as_nodes(item, named[0], classes) for item in value or ()]
    make = list_node if named[0] == "ListNode" else tree_node
    return make(value, classes[named[0]])


def as_values(result: Any, annotation: Any) -> Any:
    """What a function returned, without nodes. None is an empty list where the annotation promises a node."""
    several = _SEVERAL.search(str(annotation))
    if type(result).__name__ in FIELDS or (result is None and _ANNOTATED.search(str(annotation)) and not several):
        return values_of(result)
    if several and isinstance(result, list | tuple):
        return [as_values(item, "TreeNode") for item in result]
    return result
