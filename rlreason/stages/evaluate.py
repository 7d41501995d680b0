"""The `evaluate` stage: figures of a model on held-out tasks; trains nothing."""

from rlreason.config.schema import EvaluateConfig
from rlreason.data.chat import load_tokenizer
from rlreason.running.evaluation import evaluate_model, prepare
from rlreason.running.job import Job, require_model, write_manifest


def run(config: EvaluateConfig, job: Job) -> dict[str, float]:
    """The `evaluate` stage: writes metrics.jsonl and samples.jsonl, trains nothing."""
    require_model(config.model)
    job.log.cut_after(-1)
    sets = prepare(config, load_tokenizer(config.model), config.model)
    figures = evaluate_model(config, job, config.model, sets, step=0)
    write_manifest(job, config.model_dump(mode="json"), kind="evaluation", figures=figures)
    return figures
