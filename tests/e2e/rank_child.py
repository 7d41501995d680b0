"""Child of test_ranks.py: one rank of the learner, which answers requests until its input ends. It judges nothing.

    python rank_child.py RANK WORLD_SIZE PORT < requests > answers

A request is (engine's options, pack_tokens, micro-batches, loss, size), an answer (stats, gradient [P]), both
pickled; P = parameters. The step is so short that no weight moves, and AdamW's first moment, which forgets all but
the last gradient, is that gradient.
"""

import os
import pickle
import sys
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from rlreason.config.schema import LearnerConfig
from rlreason.engines.learner import LearnerEngine

NO_STEP: dict[str, Any] = {"lr": 1e-30, "betas": (0.0, 0.95), "max_grad_norm": 1e9}


def gradient(learner: LearnerEngine) -> np.ndarray:
    """[P] of the last update, whole, on every rank."""
    from deepspeed.utils import safe_get_full_optimizer_state

    if learner.config.zero_stage in (1, 2):
        # DeepSpeed 0.19 links moments to parameters after its first group's step, when the second has none yet.
        learner.engine.optimizer._hp_optimizer_states_linked = False
        learner.engine.optimizer._lazy_init_hp_params_optimizer_state()

    def of(parameter: Tensor) -> Tensor:
        if learner.config.zero_stage == 0:
            return learner.engine.optimizer.state[parameter]["exp_avg"]
        return safe_get_full_optimizer_state(parameter, "exp_avg")

    return torch.cat([of(parameter).flatten() for parameter in learner.engine.module.parameters()]).numpy()


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    learners: dict[str, LearnerEngine] = {}
    while True:
        try:
            options, pack_tokens, micro_batches, loss, size = pickle.load(requests)
        except EOFError:
            return
        if str(options) not in learners:
            config = LearnerConfig(**NO_STEP, zero_stage=options.pop("zero_stage"))
            learners[str(options)] = LearnerEngine(config, total_steps=1, seed=0, **options)
        learner = learners[str(options)]
        learner.config = learner.config.model_copy(update={"pack_tokens": pack_tokens})
        stats = learner.update(micro_batches, loss, size)
        pickle.dump((stats, gradient(learner)), answers)
        answers.flush()


if __name__ == "__main__":
    rank, world_size, port = sys.argv[1:]
    os.environ.update(RANK=rank, WORLD_SIZE=world_size, LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    torch.set_num_threads(1)
    with os.fdopen(os.dup(1), "wb") as pipe:
        os.dup2(2, 1)  # What libraries print is no answer.
        serve(sys.stdin.buffer, pipe)
