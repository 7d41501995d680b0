"""Pages by their address: blocked domains and words. A document without an address passes."""

import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from rlreason.config.corpus import UrlRule, plain_domain
from rlreason.types import UserError

WORDS = re.compile(r"[^a-z0-9]+")
SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*:)?/")


def check(url: str, rule: UrlRule) -> str | None:
    """`url: domain example.org` or `url: word casino`; None for an address that nothing blocks.

    A domain blocks itself and what ends in `.domain`. Case does not matter. Time does not grow with the list's length.
    """
    listed = rule.blocked_domains
    blocked = domains(listed) if isinstance(listed, str) else rule.listed_domains
    host = _host(url) if blocked else ""
    while host:
        if host in blocked:
            return f"url: domain {host}"
        host = host.partition(".")[2]
    found = set(WORDS.split(url.lower())) if rule.blocked_words else ()
    return next((f"url: word {word}" for word in rule.blocked_words if word in found), None)


@lru_cache(maxsize=2)
def domains(path: str) -> frozenset[str]:
    """Those of a file, which is read once in a process. UserError names the file and what is wrong."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            lines = (line.partition("#")[0].strip() for line in file)
            return frozenset(plain_domain(line) for line in lines if line)
    except OSError as error:
        what = f"{error.strerror}; give a file with one domain a line, or a list"
        raise UserError(f"url.blocked_domains: {path}: {what}") from None
    except ValueError as error:
        raise UserError(f"url.blocked_domains: {path}: {error}") from None


def _host(url: str) -> str:
    """Lower case; "" where the address has none or is malformed."""
    try:
        return (urlsplit(url if SCHEME.match(url) else f"//{url}").hostname or "").rstrip(".")
    except ValueError:
        return ""
