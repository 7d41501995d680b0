"""Linked lists and trees: their plain forms, and their way between the two processes."""

from typing import Any

import pytest

from rlreason.sandbox import codec, nodes

TREES = [
    [],
    [1],
    [1, 2, 3],
    [1, None, 2],
    [1, 2, None, 3, None, 4],
    [5, 4, 7, 3, None, 2, None, -1, None, 9],
    ["a", "b"],
]


@pytest.mark.parametrize("values", [[], [1], [1, 2, 3], [None, 1, None], list(range(3000))])
def test_a_list_is_its_values(values: list[Any]) -> None:
    made = nodes.list_node(values)
    assert nodes.values_of(made) == values and nodes.is_same_list(made, nodes.list_node(values))
    assert not nodes.is_same_list(made, nodes.list_node([*values, 1]))


@pytest.mark.parametrize("levels", TREES)
def test_a_tree_is_its_levels(levels: list[Any]) -> None:
    made = nodes.tree_node(levels)
    assert nodes.values_of(made) == levels and nodes.is_same_tree(made, nodes.tree_node(levels))
    others = [other for other in TREES if other != levels]
    assert not any(nodes.is_same_tree(made, nodes.tree_node(other)) for other in others)


def test_a_circle_has_no_plain_form() -> None:
    made = nodes.list_node([1, 2])
    made.next.next = made
    with pytest.raises(ValueError, match="circle"):
        nodes.values_of(made)


def test_nodes_cross_whole_with_their_circles() -> None:
    class ListNode:
        val: Any
        next: Any

    made = nodes.list_node([1, [2], {"a": 3}])
    made.next.next.next = made.next
    sent = codec.encode([made, None], nodes_by_value=True)
    first, nothing = codec.decode(sent, classes={"ListNode": ListNode})
    assert type(first) is ListNode and nothing is None and first.val == 1 and first.next.val == [2]
    assert first.next.next.val == {"a": 3} and first.next.next.next is first.next
    with pytest.raises(codec.NotPlain):
        codec.encode(made)


def test_a_node_that_holds_something_else_does_not_cross() -> None:
    made = nodes.TreeNode(1, left=nodes.ListNode(2))  # type: ignore[arg-type]
    with pytest.raises(codec.NotPlain, match=r"TreeNode.left of type ListNode"):
        codec.encode(made, nodes_by_value=True)


def test_arguments_become_what_annotations_ask_for() -> None:
    ask = [("Optional[ListNode]", [1, 2], "ListNode"), (nodes.TreeNode, [1], "TreeNode"), ("int", [1], "list")]
    for annotation, given, kind in ask:
        assert type(nodes.as_nodes(given, annotation, nodes.CLASSES)).__name__ == kind
    assert nodes.as_nodes(None, "ListNode", nodes.CLASSES) is nodes.as_nodes([], "ListNode", nodes.CLASSES) is None
    first, second = nodes.as_nodes([[1], []], "list[ListNode | None]", nodes.CLASSES)
    assert first.val == 1 and second is None
    assert nodes.as_values(None, "Optional[TreeNode]") == [] and nodes.as_values(None, None) is None
    assert nodes.as_values([nodes.TreeNode(1), None], "List[TreeNode]") == [[1], []]
