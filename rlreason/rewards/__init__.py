"""Rewards: from a response and its task to a `Score`. No torch, Ray or vLLM anywhere below this package.

`math` verifies mathematics, `load` reads users' functions, `combine` runs several of them, `killable` bounds the time.
"""
