"""A plot of the report as a file of its own, for the benches that leave one behind."""

import re

from rlreason.report.html import CSS


def drawing(figure: str, names: list[str]) -> str:
    """SVG of a figure of the report, with a legend of its lines' names."""
    inner = re.search(r"<svg[^>]*>(.*)</svg>", figure, re.DOTALL)
    assert inner is not None
    legend = "".join(
        f'<g class="c{i}"><circle class="fill" cx="476" cy="{20 + 18 * i}" r="4"/></g>'
        f'<text x="485" y="{24 + 18 * i}">{name}</text>'
        for i, name in enumerate(names)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 570 230"><style>{CSS}</style>'
        f'<rect width="570" height="230" fill="var(--bg)"/>{inner[1]}{legend}</svg>\n'
    )
