"""Mathematics: whether an answer equals the gold one."""

from rlreason.rewards.math.verifier import prepare, reward, verify

__all__ = ["prepare", "reward", "verify"]
