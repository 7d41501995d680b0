"""Main text of an HTML page. Never raises for foreign HTML: a library's failure is an ExtractionError with its message.

trafilatura is asked for precision, without comments; resiliparse for its main content.
"""

from typing import TYPE_CHECKING, Literal

from rlreason.data.faults import FAULTS

if TYPE_CHECKING:
    from resiliparse.parse.html import HTMLTree, Node

MAX_DEPTH = 3000
"""resiliparse takes time quadratic in the depth: a third of a second here, eight minutes at 100,000."""


class ExtractionError(ValueError):
    """A library failed on this page."""


def extract(html: str, extractor: Literal["trafilatura", "resiliparse"]) -> str:
    """Paragraphs parted by newlines; "" where the page has no main text. ExtractionError where the library failed."""
    from lxml.etree import LxmlError

    if not html.strip():
        return ""
    try:
        return _trafilatura(html) if extractor == "trafilatura" else _resiliparse(html)
    except (LxmlError, OSError, *FAULTS) as error:
        raise ExtractionError(f"{extractor}: {type(error).__name__}: {error}") from error


def _trafilatura(html: str) -> str:
    import trafilatura

    if "html" not in html[:50].lower():
        html = f"<html><body>{html}</body></html>"  # the library takes no fragment
    return trafilatura.extract(html, favor_precision=True, include_comments=False) or ""


def _resiliparse(html: str) -> str:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(html)
    if html.count("<") > MAX_DEPTH and (depth := _depth(tree)) > MAX_DEPTH:
        raise ValueError(f"elements nested {depth} deep, more than {MAX_DEPTH}")
    return extract_plain_text(tree, main_content=True, alt_texts=False, comments=False)


def _depth(tree: "HTMLTree") -> int:
    """Of the deepest node below the body. A walk without recursion; the library's lists of children are quadratic."""
    node: Node | None = tree.body
    depth = deepest = 0
    while node is not None:
        if node.first_child is not None:
            node, depth = node.first_child, depth + 1
            deepest = max(deepest, depth)
            continue
        while node is not None and depth and node.next is None:
            node, depth = node.parent, depth - 1
        node = node.next if node is not None and depth else None
    return deepest
