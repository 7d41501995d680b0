"""Statistics within parts of a flat tensor: tokens of a sequence, samples of a group. No padding, any part sizes.

Notation: N = elements; P = parts, numbered 0..P-1; `part_N` int64: the part of each element, in any order.
"""

from typing import Literal

from torch import Tensor


def reduce_parts(value_N: Tensor, part_N: Tensor, how: Literal["sum", "mean", "amin"]) -> Tensor:
    """The sum, mean or minimum of each part, shown on each of its elements: shape [N], with gradient.

    Numbers that no element bears are allowed: a part may have lost all its elements. Empty in, empty out.

    Example: value_N = [1, 3, 5], part_N = [0, 0, 1], "mean" gives [2, 2, 5].
    """
    num_parts = int(part_N.max()) + 1 if part_N.numel() else 0
    return value_N.new_zeros(num_parts).scatter_reduce(0, part_N, value_N, how, include_self=False)[part_N]
