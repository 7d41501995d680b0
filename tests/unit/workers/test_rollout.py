"""Seeds of requests."""

from rlreason.workers.rollout import request_seed


def test_a_seed_depends_on_each_part_and_not_on_who_asks() -> None:
    seed = request_seed(0, 1, "chains:7", 2)
    others = [(1, 1, "chains:7", 2), (0, 2, "chains:7", 2), (0, 1, "chains:8", 2), (0, 1, "chains:7", 3)]
    assert len({seed, *(request_seed(*other) for other in others)}) == 5
    # Figures of earlier runs stay: evaluation tasks had no prefix then.
    assert request_seed(0, 1, "eval/chains:7", 2) == seed == 8857297514887515455
