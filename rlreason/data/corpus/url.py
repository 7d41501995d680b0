"""Pages by their address: blocked domains and words. A document without an address passes."""

import re
from urllib.parse import urlsplit

from rlreason.config.corpus import UrlRule

WORDS = re.compile(r"[^a-z0-9]+")


def check(url: str, rule: UrlRule) -> str | None:
    """`url: domain example.org` or `url: word casino`; None for an address that nothing blocks.

    A domain blocks itself and what ends in `.domain`. Case does not matter.
    """
    host = _host(url)
    for domain in rule.blocked_domains:
        if f".{host}".endswith(f".{domain.lower().strip('.')}"):
            return f"url: domain {domain}"
    found = set(WORDS.split(url.lower()))
    return next((f"url: word {word}" for word in rule.blocked_words if word.lower() in found), None)


def _host(url: str) -> str:
    """Lower case; "" where the address has none or is malformed."""
    try:
        return (urlsplit(url if "//" in url else f"//{url}").hostname or "").rstrip(".")
    except ValueError:
        return ""
