"""Metric rows to HTML figures with inline SVG. Pure functions; the page's style sheet gives the colours.

A metric that was written but is not a finite number leaves a gap in its line; a step that lacks the metric does not.
Lines of more than MAX_POINTS steps are averaged over neighbouring steps. Does not: read files.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

Row = dict[str, Any]
Point = tuple[float, float]
"""(step, value); the value is NaN where the metric is not a finite number."""

MAX_POINTS: Final = 400
NUM_COLOURS: Final = 8
LEFT, RIGHT, TOP, BOTTOM = 54, 460, 10, 196
"""Edges of the drawing area in an SVG of 480 by 230 units."""
LOG_FLOOR: Final = 1e-9
"""Where a logarithmic plot draws zero: float32 logprobs cannot differ by less."""


LONGER: Final = "Where it rises, the answers get longer: the model works step by step, or it pads."


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One plot: every metric whose whole key matches `keys` is a line in it."""

    title: str
    keys: str
    """Regular expression; its group `label` names the line in the legend."""
    unit: str = ""
    band: str = ""
    """Key of the half-width of a band around the line."""
    log: bool = False
    stacked: bool = False
    note: str = ""
    """What the plot shows where it says more than its title."""


PANELS: Final = (
    Panel(title="Reward", unit="mean ± standard deviation", keys=r"reward/mean", band="reward/std"),
    Panel(title="Evaluation", unit="share", keys=r"eval/(?P<label>.+/(?:greedy_accuracy|(?:avg|pass|maj)@\w+))"),
    Panel(title="Reward in evaluation", unit="mean over samples", keys=r"eval/(?P<label>.+/reward@\w+)"),
    Panel(title="Preferences", unit="share of held-out pairs", keys=r"eval/preference/(?P<label>accuracy\w*)"),
    Panel(title="Bits per byte", unit="held-out text, lower is better", keys=r"eval/(?P<label>.+)/bits_per_byte"),
    Panel(title="Reward by function", unit="mean", keys=r"reward/(?P<label>[^/]+)/mean"),
    Panel(title="Groups whose rewards do not differ", unit="share", keys=r"reward/zero_std_fraction"),
    Panel(title="Score of the reward model", unit="mean, as it comes", keys=r"reward/(?P<label>[^/]+)/raw_mean"),
    Panel(
        title="Repetition", unit="distinct pairs, compression", keys=r"guard/(?P<label>distinct_2|compression_ratio)"
    ),
    Panel(title="Disagreement of reward models", unit="standard deviations", keys=r"guard/disagreement"),
    Panel(title="Response length", unit="tokens, mean", keys=r"response/tokens_mean", note=LONGER),
    Panel(title="Loss", keys=r"(?P<label>(\w+/)?loss)"),
    Panel(title="Accuracy", unit="share", keys=r"(?!eval/)(?P<label>(\w+/)?accuracy)"),
    Panel(title="Entropy", unit="nats", keys=r"(\w+/)?entropy"),
    Panel(title="KL to the reference", unit="nats", keys=r"policy/kl"),
    Panel(title="Weight of the KL penalty", keys=r"policy/kl_coef"),
    Panel(
        title="Off-policy correction", unit="share", keys=r"mismatch/(?P<label>effective_sample_size|left_out_fraction)"
    ),
    Panel(title="Gradient norm", keys=r"(\w+/)?grad_norm"),
    Panel(title="Logprob gap, learner to engine", unit="nats", keys=r"mismatch/(?P<label>\w+)_gap_mean", log=True),
    Panel(title="Time per phase", unit="seconds a step", keys=r"time/(?P<label>\w+)_s", stacked=True),
    Panel(title="Throughput", unit="tokens/s", keys=r"throughput/(?P<label>\w+)_tokens_per_s"),
)


def number(value: Any) -> float:
    """The value as a float; NaN for whatever is no finite number (null, text, infinity)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if math.isfinite(value) else math.nan


def number_text(value: float) -> str:
    """Three to four digits: 0.512, 12, 4,210, 1.2e-07; an en dash for NaN."""
    if math.isnan(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e3:
        return f"{value:.3g}"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.1e}"


def plots(metrics: Sequence[Row], titles: Collection[str] | None = None, *, of: str = "") -> str:
    """The panels (all, or those of these titles) that have a finite value, as HTML figures; empty text if none has.

    of: the stage that the title names, where a page shows several.
    """
    return "".join(_figure(panel, metrics, of) for panel in PANELS if titles is None or panel.title in titles)


def against_kl(metrics: Sequence[Row]) -> str:
    """Rewards over the distance to the reference, where a guard watches: over-optimisation is a true score that falls
    while the reward model's rises (Gao et al. 2022, arXiv 2210.10760, figure 1).
    """
    watched = [row for row in metrics if "guard/distinct_2" in row and not math.isnan(number(row.get("policy/kl")))]
    keys = dict.fromkeys(key for row in watched for key in row)
    lines = {}
    for name in [match[1] for key in keys if (match := re.fullmatch("reward/([^/]+)/mean", key))]:
        raw = f"reward/{name}/raw_mean"
        key = raw if raw in keys else f"reward/{name}/mean"
        points = [(number(row["policy/kl"]), number(row.get(key))) for row in watched]
        lines[name] = _thinned([point for point in points if point[1] == point[1]])
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return ""
    x_label = "KL to the reference, nats a token"
    drawing = _lines(list(lines.values()), bands=[], log=False, share=False, x_label=x_label)
    legend = "".join(_key(name, i) for i, name in enumerate(lines)) + "<div>Reward models' scores as they come.</div>"
    return _framed("Reward against KL", "mean", legend, drawing, "Reward against KL to the reference")


def _figure(panel: Panel, metrics: Sequence[Row], of: str) -> str:
    names = {}
    for key in dict.fromkeys(key for row in metrics for key in row):
        match = re.fullmatch(panel.keys, key)
        if match:
            names[key] = match.groupdict().get("label") or key
    lines = {name: _thinned(_points(metrics, key)) for key, name in names.items()}
    lines = {name: points for name, points in lines.items() if any(y == y for _, y in points)}
    if not lines:
        return ""
    bands = _thinned(_points(metrics, panel.band)) if panel.band else []
    legend = "".join(_key(name, i) for i, name in enumerate(lines)) if len(lines) > 1 else ""
    unit = panel.unit + (", logarithmic" if panel.log else "")
    if panel.note:
        legend += f"<div>{escape(panel.note)}</div>"
    title = f"{panel.title}, {of}" if of else panel.title
    if panel.stacked:
        drawing = _stack(list(lines.values()))
    else:
        drawing = _lines(list(lines.values()), bands=bands, log=panel.log, share=panel.unit == "share")
    return _framed(title, unit, legend, drawing, f"{title} over steps")


def _framed(title: str, unit: str, legend_html: str, drawing_html: str, label: str) -> str:
    return (
        f'<figure><h3>{escape(title)} <span class="soft">{escape(unit)}</span></h3>'
        f"<figcaption>{legend_html}</figcaption>"
        f'<svg viewBox="0 0 480 230" role="img" aria-label="{escape(label)}">{drawing_html}</svg></figure>\n'
    )


def _key(name: str, colour: int) -> str:
    return f'<span class="key c{colour % NUM_COLOURS}">{escape(name)}</span>'


def marks(
    title: str, unit: str, stages: Sequence[str], lines: Mapping[str, Sequence[tuple[float, float, float] | None]]
) -> str:
    """Figures of several stages side by side with their intervals, as one HTML figure.

    lines: by name one (value, low, high) for each stage, None where it has none. Shares: the axis is 0 to 1.
    """
    axes = _Axes(x_low=-0.5, x_high=len(stages) - 0.5, y_ticks=ticks(0.0, 1.0))
    parts = [axes.draw_y()]
    for place, stage in enumerate(stages):
        short = stage if len(stage) * len(stages) <= 60 else stage[: max(3, 60 // len(stages) - 1)] + "…"
        parts.append(f'<text x="{axes.x(place):.1f}" y="{BOTTOM + 17}" text-anchor="middle">{escape(short)}</text>')
    for index, (name, values) in enumerate(lines.items()):
        parts.append(f'<g class="c{index % NUM_COLOURS}">')
        for place, found in enumerate(values):
            if found is None:
                continue
            value, low, high = found
            # Lines of one stage stand side by side, so that their intervals can be told apart.
            x = axes.x(place + 0.12 * (index - (len(lines) - 1) / 2))
            top, bottom = axes.y(high), axes.y(low)
            tip = f"{name}, {stages[place]}: {number_text(value)} [{number_text(low)}, {number_text(high)}]"
            parts.append(
                f'<path class="line" d="M{x:.1f} {top:.1f}V{bottom:.1f}M{x - 5:.1f} {top:.1f}h10M{x - 5:.1f} '
                f'{bottom:.1f}h10"/><circle class="fill" cx="{x:.1f}" cy="{axes.y(value):.1f}" r="4">'
                f"<title>{escape(tip)}</title></circle>"
            )
        parts.append("</g>")
    legend = "".join(_key(name, index) for index, name in enumerate(lines))
    return _framed(title, unit, legend, "".join(parts), f"{title} by stage")


def _points(metrics: Sequence[Row], key: str) -> list[Point]:
    return [(row["step"], number(row[key])) for row in metrics if key in row]


def _thinned(points: list[Point]) -> list[Point]:
    size = math.ceil(len(points) / MAX_POINTS)
    return points if size <= 1 else [_mean(points[i : i + size]) for i in range(0, len(points), size)]


def _mean(points: list[Point]) -> Point:
    finite = [y for _, y in points if y == y]
    return points[0][0], sum(finite) / len(finite) if finite else math.nan


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Up to seven round numbers whose first and last enclose [low, high]; `whole`: integers only."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = abs(low) / 10 or 0.5
        low, high = low - pad, high + pad
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, round(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(low + 1e-9), math.ceil(high - 1e-9)
    last = max(last, first + 1)
    stride = math.ceil((last - first) / 5)
    return [float(i) for i in range(first, last + stride, stride)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axes:
    """Data to SVG coordinates."""

    x_low: float
    x_high: float
    y_ticks: list[float]
    log: bool = False
    x_label: str = "step"

    def x(self, step: float) -> float:
        return LEFT + (RIGHT - LEFT) * (step - self.x_low) / (self.x_high - self.x_low)

    def y(self, value: float) -> float:
        if self.log:
            value = math.log10(max(value, LOG_FLOOR))
        share = (value - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return BOTTOM - (BOTTOM - TOP) * min(max(share, 0.0), 1.0)

    def draw_y(self) -> str:
        parts = []
        for tick in self.y_ticks:
            y = self.y(10**tick if self.log else tick)
            text = f"1e{tick:.0f}" if self.log else number_text(tick)
            parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        return "".join(parts)

    def draw(self) -> str:
        parts = [self.draw_y()]
        is_step = self.x_label == "step"
        for tick in ticks(self.x_low, self.x_high, whole=is_step):
            if self.x_low <= tick <= self.x_high:
                x, label = self.x(tick), f"{tick:,.0f}" if is_step else number_text(tick)
                parts.append(f'<path class="grid" d="M{x:.1f} {BOTTOM}v4"/>')
                parts.append(f'<text x="{x:.1f}" y="{BOTTOM + 17}" text-anchor="middle">{label}</text>')
        middle = (LEFT + RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{BOTTOM + 31}" text-anchor="middle">{self.x_label}</text>')
        return "".join(parts)


def _lines(lines: list[list[Point]], *, bands: list[Point], log: bool, share: bool, x_label: str = "step") -> str:
    width = {x: y for x, y in bands if y == y}
    edges = [(x, y - width.get(x, 0), y + width.get(x, 0)) for points in lines for x, y in points if y == y]
    low, high = min(edge[1] for edge in edges), max(edge[2] for edge in edges)
    if log:
        y_ticks = _log_ticks(math.log10(max(low, LOG_FLOOR)), math.log10(max(high, LOG_FLOOR)))
    else:
        y_ticks = ticks(min(low, 0.0), max(high, 1.0)) if share else ticks(low, high)
    steps = [x for points in lines for x, _ in points]
    pad = 0.5 if min(steps) == max(steps) else 0.0
    axes = _Axes(x_low=min(steps) - pad, x_high=max(steps) + pad, y_ticks=y_ticks, log=log, x_label=x_label)
    parts = [axes.draw()]
    if width and len(edges) > 1:
        upper = [f"{axes.x(x):.1f} {axes.y(above):.1f}" for x, _, above in edges]
        lower = [f"{axes.x(x):.1f} {axes.y(below):.1f}" for x, below, _ in reversed(edges)]
        parts.append(f'<path class="band fill c0" d="M{"L".join(upper + lower)}Z"/>')
    parts += [_polyline(points, axes, index % NUM_COLOURS) for index, points in enumerate(lines)]
    return "".join(parts)


def _polyline(points: list[Point], axes: _Axes, colour: int) -> str:
    path, pen_down, dots = [], False, []
    for index, (x, y) in enumerate(points):
        if y != y:
            pen_down = False
            continue
        spot = f"{axes.x(x):.1f} {axes.y(y):.1f}"
        path.append(("L" if pen_down else "M") + spot)
        alone = not pen_down and (index + 1 == len(points) or points[index + 1][1] != points[index + 1][1])
        if alone or len(points) <= 60:
            place = f"{x:g}" if axes.x_label == "step" else number_text(x)
            title = f"<title>{axes.x_label} {place}: {number_text(y)}</title>"
            dots.append(f'<circle class="fill" cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="2.5">{title}</circle>')
        pen_down = True
    return f'<g class="c{colour}"><path class="line" d="{"".join(path)}"/>{"".join(dots)}</g>'


def _stack(lines: list[list[Point]]) -> str:
    """One bar a step, the lines' values on top of each other; what is missing counts as zero."""
    heights: dict[float, list[float]] = {}
    for index, points in enumerate(lines):
        for x, y in points:
            heights.setdefault(x, [0.0] * len(lines))[index] = max(y, 0.0) if y == y else 0.0
    steps = sorted(heights)
    spacing = (steps[-1] - steps[0]) / (len(steps) - 1) if len(steps) > 1 else 1.0
    y_ticks = ticks(0.0, max(sum(column) for column in heights.values()) or 1.0)
    axes = _Axes(x_low=steps[0] - spacing / 2, x_high=steps[-1] + spacing / 2, y_ticks=y_ticks)
    width = min(0.8 * (RIGHT - LEFT) / len(steps), 40.0)
    parts = [axes.draw()]
    for step in steps:
        base = 0.0
        for index, height in enumerate(heights[step]):
            top, bottom = axes.y(base + height), axes.y(base)
            base += height
            if height:
                box = (
                    f'x="{axes.x(step) - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.2f}"'
                )
                title = f"<title>step {step:g}: {number_text(height)}</title>"
                parts.append(f'<rect class="fill c{index % NUM_COLOURS}" {box}>{title}</rect>')
    return "".join(parts)
