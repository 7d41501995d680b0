"""Prints what a dry run of a reward found: table, latencies, samples, the first broken verdict, the conclusion."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from rlreason.rewards.dryrun.dry_run import FULL_VALUE, DryRun, Verdict, conclude, kinds_of, mean, reads_gold
from rlreason.rewards.dryrun.probes import EVERY_CANDIDATE, FALSE_SENTENCE
from rlreason.text import shown

NUM_SAMPLES = 3
_NAMES = {FALSE_SENTENCE: "any sentence that ends in the answer", EVERY_CANDIDATE: "listing every candidate"}


def show(found: DryRun, title: str, num_read: int, conclusion: str) -> None:
    """To standard output; the conclusion is the last line."""
    _say(title)
    written = "they have no gold" if found.form is None else f"gold is written as `{found.form.name}`"
    _say(f"{found.num_rows} of the {num_read} rows read were used; {written}")
    if found.form is not None:
        accepted = ", ".join(f"{form} {share}" for form, share in found.accepted.items())
        _say(f"golds that score 1.0 by form: {accepted or 'none in time'}")
    Console(highlight=False, markup=False, emoji=False).print(_table(found.verdicts))
    _say(_latency(found.verdicts))
    for verdict in _samples(found):
        score = verdict.score
        task = verdict.probe.task
        gold = "" if task.answer is None else f", gold {_line(str(task.answer), 60)}"
        _say(f"\n{verdict.probe.kind}, {task.id}{gold}")
        _say(f"  response  {_line(verdict.probe.response) or '(empty)'}")
        # A traceback says what happened in its last line; the first one is shown whole below.
        detail = _line(score.detail.strip().rpartition("\n")[2])
        _say(f"  verdict   {score.value:g} {score.status}{': ' * bool(detail)}{detail}")
    broken = next(iter(found.broken()), None)
    if broken is not None:
        _say(f"\nfirst broken verdict: {broken.probe.kind}, {broken.probe.task.id}, {broken.score.status}")
        _say(broken.score.detail.rstrip())
    _say(f"\n{_tricks(found)}{conclusion}")


def summary(results: Sequence[tuple[str, str, DryRun]], untried: Mapping[str, str], conclusion: str) -> None:
    """A line for each reward of a stage; `untried`: names, and why. The conclusion is the last line."""
    for reward, name, found in results:
        line = conclude(found)[1]
        if not (reads_gold(found.reward) or found.broken() or found.changed):
            line = f"it works, and is not about the gold: {len(found.verdicts)} responses have a verdict"
        _say(f"{reward} on {name}: {line}")
    for reward, why in untried.items():
        _say(f"{reward}: {why}")
    _say(f"\n{conclusion}")


def _say(text: str) -> None:
    """Names, answers and errors are foreign text."""
    print(shown(text))


def _tricks(found: DryRun) -> str:
    """A line on what responses earn that only hold the gold; "" where there are none."""
    verdicts = found.on_tricks()
    if not verdicts:
        return ""
    means = {kind: mean([v for v in verdicts if v.probe.kind == kind]) for kind in kinds_of(verdicts)}
    told = ", ".join(f"{kind} {value:.2f}" for kind, value in means.items())
    paid = [kind for kind, value in means.items() if value >= 0.5]
    warning = f"; HACKABLE: a policy is paid for {' and for '.join(_NAMES[kind] for kind in paid)}" if paid else ""
    if FALSE_SENTENCE in paid:
        warning += "; let it take the answer alone or marked"
    return f"responses that only hold the gold earn on average: {told}{warning}\n"


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table()
    for name in ("responses", "n", "mean", "scored 1", "verdicts"):
        table.add_column(name, justify="left" if name in ("responses", "verdicts") else "right")
    for kind in kinds_of(verdicts):
        those = [verdict for verdict in verdicts if verdict.probe.kind == kind]
        share = sum(verdict.score.value >= FULL_VALUE for verdict in those) / len(those)
        statuses = Counter(verdict.score.status for verdict in those).most_common()
        shown = ", ".join(f"{status} {count}" for status, count in statuses)
        table.add_row(kind, str(len(those)), f"{mean(those):.3f}", f"{share:.1%}", shown)
    return table


def _latency(verdicts: Sequence[Verdict]) -> str:
    """Percentiles by the nearest rank."""
    times_ms = sorted(1000 * verdict.duration_s for verdict in verdicts)
    ranks = {f"p{p}": times_ms[math.ceil(p / 100 * len(times_ms)) - 1] for p in (50, 90, 99)} | {"max": times_ms[-1]}
    return "latency in ms: " + ", ".join(f"{name} {value:.2f}" for name, value in ranks.items())


def _samples(found: DryRun) -> list[Verdict]:
    """What surprises comes first: a gold that fails, a wrong answer that scores, a broken check; then one of each."""
    gold, wrong = found.of(gold=True), found.of(gold=False)
    surprises = [v for v in gold if v.score.value < FULL_VALUE][:1]
    surprises += [v for v in wrong if v.score.value >= FULL_VALUE][:1]
    surprises += [v for v in found.on_tricks() if v.score.value >= FULL_VALUE][:1]
    usual = [next(v for v in found.verdicts if v.probe.kind == kind) for kind in kinds_of(found.verdicts)]
    chosen: list[Verdict] = []
    for verdict in surprises + usual:
        if len(chosen) < NUM_SAMPLES and verdict not in chosen:
            chosen.append(verdict)
    return chosen


def _line(text: str, max_chars: int = 200) -> str:
    """One line, its end if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= max_chars else "..." + text[-max_chars:]
