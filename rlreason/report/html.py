"""Renders the report's pages with jinja2 and formats their numbers, times and texts.

Autoescape is on: all that a template inserts is text, except what it marks `safe`: our own style and script, and the
drawings of `plots`.
"""

import base64
import hashlib
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlreason.report import sections
from rlreason.report.plots import number, number_text
from rlreason.text import shown

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES: Final = Path(__file__).parent / "templates"
CSS: Final = (TEMPLATES / "report.css").read_text(encoding="utf-8")
JS: Final = (TEMPLATES / "report.js").read_text(encoding="utf-8")
MAX_TEXT_CHARS: Final = 4000


def render(template: str, **context: Any) -> str:
    """Renders a whole page, without control characters and without anything that UTF-8 cannot write."""
    return shown(_environment().get_template(template).render(context))


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[[Any], str]] = {
        "cut": cut_text,
        "duration": lambda value: duration_text(number(value)),
        "figure": lambda value: number_text(number(value)),
        "grouped": "{:,.0f}".format,
        "sha256": lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
    }
    environment.filters |= filters
    environment.globals |= {"css": CSS, "js": JS, "sections": sections}
    return environment


def duration_text(seconds: float) -> str:
    """12.3 s, 4 min 05 s, 2 h 07 min; an en dash for NaN."""
    if math.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def moment_text(time: Any) -> str:
    """A Unix time as date and time in UTC; an en dash for what is no finite number."""
    seconds = number(time)
    return "–" if math.isnan(seconds) else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def cut_text(value: Any) -> str:
    """A text, or a value as JSON; its middle is left out where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    half = MAX_TEXT_CHARS // 2
    if len(text) <= MAX_TEXT_CHARS:
        return text
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"
