"""The corpus stage: files with web pages to clean, deduplicated documents as Parquet files in final/.

The work is done by Ray Data (data/corpus/pipeline.py). Beside final/: samples.jsonl with dropped documents of each
rule, aside.jsonl with the records that could not be read, the counts in events.jsonl, metrics.jsonl and the manifest,
inputs/ with the files that `generate` functions wrote. With `tag_only` counts and samples tell of what would have been
dropped. A resumed run does the unfinished units of input files and all that comes after them; work/ is gone at the end.
All nodes must see the run directory and the input files.
"""

import glob
import hashlib
import inspect
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlreason.config.base import WorkerConfig
from rlreason.config.corpus import CorpusConfig, CorpusSource
from rlreason.data.corpus import pipeline, url
from rlreason.data.corpus.clean import active_rules
from rlreason.data.corpus.decontaminate import Benchmarks, load_benchmarks
from rlreason.data.corpus.units import CHANGES, KEPT, InputFile, Samples, Unit, group_files, remove_folder
from rlreason.paths import find_function, require_arguments
from rlreason.runlog import commit_folder
from rlreason.running.console import Progress, say
from rlreason.running.interrupts import Standstill
from rlreason.running.job import Job, write_manifest
from rlreason.types import UserError
from rlreason.workers.cluster import require_resources
from rlreason.workers.watchdog import stuck_tasks


def run(config: CorpusConfig, job: Job) -> dict[str, float]:
    """Returns the numbers of documents and characters. UserError where a source has no file or nothing is kept."""
    job.log.cut_after(-1)
    config, blocked = _with_domains(config)
    sources = {name: _located(name, source, job) for name, source in config.sources.items()}
    files = [file for name, source in sources.items() for file in files_of(name, source, config.sources[name])]
    benchmarks = _benchmarks(config, job)
    units = group_files(files, config, blocked + (benchmarks.fingerprint() if benchmarks else ""))
    work = job.log.path / "work"
    require_resources({"tasks": WorkerConfig(cpus=config.cpus)})
    with _watched(config, job):
        summaries = _clean(units, sources, config, benchmarks, work, job)
    _write_broken(units, work, job)
    # Each rule that is on has its count, also one that drops nothing.
    copies = ["exact_duplicate", "near_duplicate"] if config.dedup else []
    counts = Counter(dict.fromkeys([KEPT, *active_rules(config), *copies], 0))
    changes = Counter(dict.fromkeys(CHANGES, 0))
    samples = Samples(config.dropped_samples, config.seed)
    for summary in summaries:
        counts.update(summary["counts"])
        changes.update(summary["changes"])
        samples.merge(summary["samples"])
    if not sum(summary["documents"] for summary in summaries):
        _write_samples(samples, job)
        raise UserError(f"{job.name}: no document is left: {_told(counts)}; samples.jsonl in {job.log.path} shows some")

    with _watched(config, job):
        duplicates = pipeline.find_duplicates(units, config, work, counts[KEPT])
    counts.update(row["rule"] for row in duplicates.values())
    counts[KEPT] -= len(duplicates)
    aside = job.log.path / ".writing-final"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    with _watched(config, job):
        written = pipeline.write_parts(units, duplicates, config, work, aside)
    commit_folder(aside, job.log.final)
    samples.merge(written.samples)
    _write_samples(samples, job)
    inputs = [file for summary in summaries for file in summary["files"]]
    figures = _record(counts, changes, written, inputs, config, job)
    remove_folder(work)
    say(f"{job.name}: {written.num_characters / 1e6:.2f} million characters in {_told(counts)}")
    return figures


@contextmanager
def _watched(config: CorpusConfig, job: Job) -> Iterator[None]:
    """Raises Stuck where for too long no task gives anything or writes to the run directory."""
    limit_s = config.stall_s
    if limit_s is None:
        yield
        return
    try:
        with job.interrupts.while_moving(lambda: limit_s - pipeline.standstill_s(job.log.path)):
            yield
    except Standstill:
        said = f"no task of Ray Data has given anything for {limit_s:g} s (`stall_s` sets the limit)"
        raise stuck_tasks(said) from None


def _record(
    counts: Counter[str],
    changes: Counter[str],
    written: pipeline.Written,
    inputs: list[dict[str, Any]],
    config: CorpusConfig,
    job: Job,
) -> dict[str, float]:
    """Counts and sizes to metrics.jsonl, events.jsonl and the manifest."""
    sizes = {"documents": written.num_documents, "characters": written.num_characters, **changes}
    told = {rule: counts[rule] for rule in sorted(counts)}
    dropped = {f"corpus/{rule}/dropped": float(count) for rule, count in told.items() if rule != KEPT}
    job.log.metrics(0, dropped | {f"corpus/{name}": float(size) for name, size in sizes.items()})
    job.log.event("corpus", counts=told, **sizes)
    write_manifest(job, config.model_dump(mode="json"), kind="corpus", counts=told, **sizes, files=inputs)
    return {f"eval/{name}": float(sizes[name]) for name in ("documents", "characters")}


def _with_domains(config: CorpusConfig) -> tuple[CorpusConfig, str]:
    """With the absolute path of the file of blocked domains, and a hash of what it holds; "" without one."""
    if config.url is None or not isinstance(config.url.blocked_domains, str):
        return config, ""
    path = os.path.abspath(config.url.blocked_domains)
    digest = hashlib.sha256("\n".join(sorted(url.domains(path))).encode()).hexdigest()
    return config.model_copy(update={"url": config.url.model_copy(update={"blocked_domains": path})}), digest


def _benchmarks(config: CorpusConfig, job: Job) -> Benchmarks | None:
    if config.decontamination is None:
        return None
    found = load_benchmarks(config.decontamination)
    told = ", ".join(f"{name} {count}" for name, count in found.counts.items())
    say(f"{job.name}: n-grams of {config.decontamination.ngram} words to keep out: {told}")
    job.log.event("decontamination", ngrams=found.counts)
    return found


def _clean(
    units: list[Unit],
    sources: dict[str, CorpusSource],
    config: CorpusConfig,
    benchmarks: Benchmarks | None,
    work: Path,
    job: Job,
) -> list[dict[str, Any]]:
    """The units' summaries, in the units' order."""
    found: dict[str, dict[str, Any]] = {}
    kept = 0
    with Progress(job.name, total=len(units)) as bar:
        for summary in pipeline.clean_units(units, sources, config, benchmarks, work):
            found[summary["unit"]] = summary
            kept += summary["counts"].get(KEPT, 0)
            bar.step(len(found), f"{kept} documents")
    resumed = sum(summary["resumed"] for summary in found.values())
    job.log.event("units", total=len(units), finished_before=resumed)
    return [found[unit.name] for unit in units]


def _write_broken(units: list[Unit], work: Path, job: Job) -> None:
    with (job.log.path / "aside.jsonl").open("wb") as target:
        for unit in units:
            target.write((work / unit.name / "aside.jsonl").read_bytes())


def _write_samples(samples: Samples, job: Job) -> None:
    for rule, rows in samples.rows().items():
        job.log.samples({"step": 0, "split": f"dropped/{rule}", **row} for row in rows)


def _told(counts: Counter[str]) -> str:
    """`120 of 200 documents; dropped by fineweb 50, c4 30`."""
    dropped = ", ".join(f"{rule} {count}" for rule, count in counts.most_common() if rule != KEPT and count)
    return f"{counts[KEPT]} of {counts.total()} records" + (f"; dropped: {dropped}" if dropped else "")


def _located(name: str, source: CorpusSource, job: Job) -> CorpusSource:
    """The source with an absolute path; what a function writes is written first, whole or not at all."""
    if source.path is not None:
        return source.model_copy(update={"path": os.path.abspath(source.path)})
    assert source.generate is not None
    function = find_function(source.generate)
    require_arguments(function, f"sources.{name}: `{source.generate}`", job.log.path, **source.args)
    what = f"{source.generate} {sorted(source.args.items())} {_code_hash(function)}"
    identity = hashlib.sha256(what.encode()).hexdigest()[:8]
    folder = job.log.path / "inputs" / f"{name}-{identity}"
    if not folder.is_dir():
        aside = folder.with_name(f".writing-{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        say(f"{job.name}: {source.generate} writes the files of source `{name}`")
        function(aside, **source.args)
        commit_folder(aside, folder)
    return source.model_copy(update={"path": str(folder)})


def _code_hash(function: Callable[..., Any]) -> str:
    """Of the file that defines it, "" where none does: an edited one writes other pages."""
    try:
        return hashlib.sha256(Path(inspect.getfile(inspect.unwrap(function))).read_bytes()).hexdigest()
    except (TypeError, OSError):
        return ""


def files_of(name: str, source: CorpusSource, given: CorpusSource) -> Iterator[InputFile]:
    """Of the located source, sorted by path, without hidden ones. UserError, in the user's words, if there is none."""
    assert source.path is not None
    root = Path(source.path)
    if root.exists():
        found = list(_walk(root)) if root.is_dir() else [root]
    else:
        found = [Path(path) for path in glob.glob(source.path, recursive=True)]
    files = sorted(path for path in found if path.is_file())
    if not files:
        what = f"`{given.path}` names no file" if given.path else f"`{given.generate}` wrote no file"
        raise UserError(f"sources.{name}: {what}; give a file, a folder, or a pattern such as `pages/**/*.warc.gz`")
    for path in files:
        state = path.stat()
        yield InputFile(source=name, path=str(path), num_bytes=state.st_size, modified_ns=state.st_mtime_ns)


def _walk(root: Path) -> Iterator[Path]:
    """All in the folder, also behind links; no folder twice, so that a link to one above ends."""
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        # Those that are no links first: a folder keeps its own name.
        folders[:] = sorted(
            [name for name in folders if not name.startswith(".") and real not in seen],
            key=lambda name: (os.path.islink(os.path.join(folder, name)), name),
        )
        if real not in seen:
            yield from (Path(folder, name) for name in names if not name.startswith("."))
        seen.add(real)
