"""Rewards: from a response and its task to a `Score`. No torch, Ray or vLLM anywhere below this package.

`math` and `code` verify; `match`, `format`, `length`, `repetition`, `language`, `json_match`, `judge` and `http` are
the other shipped ones. `load` reads users' functions, `reward_set` runs several, `combine` makes one value of theirs,
`killable` bounds the time, `dry_run` tries a reward on data.
"""
