"""Programs: whether one passes its tests."""

from rlreason.rewards.code.checker import check, check_task, prepare, reward

__all__ = ["check", "check_task", "prepare", "reward"]
