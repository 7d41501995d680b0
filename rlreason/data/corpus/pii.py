"""Personal data that has a form: e-mail addresses and public IP addresses become placeholders, as in FineWeb.

Private, loopback and documentation addresses mean nobody and stay. Names and phone numbers are not looked for.
Numbers of four parts, such as version 1.2.3.4, cannot be told from an address and are masked.
"""

import ipaddress
import re

EMAIL = "email@example.com"
IPV4 = "192.0.2.1"
IPV6 = "2001:db8::1"

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The bound of 64 characters (RFC 5321) keeps the search linear.
_EMAIL = re.compile(rf"\b{_LOCAL}(?:{_LOCAL}|\.(?!\.)){{0,63}}(?<!\.)@(?:{_LABEL}\.)+{_LABEL}")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w:])[23][0-9a-fA-F]{3}:[0-9a-fA-F:]{2,34}(?![\w:])")


def mask(text: str) -> tuple[str, int]:
    """The text with every e-mail and public IP address replaced, and how many. Masking twice changes nothing."""
    masked = _EMAIL.sub(EMAIL, text) if "@" in text else text
    masked = _IPV4.sub(lambda found: _masked(found[0], IPV4), masked)
    masked = _IPV6.sub(lambda found: _masked(found[0], IPV6), masked)
    if masked == text:
        return text, 0
    return masked, sum(masked.count(placeholder) - text.count(placeholder) for placeholder in (EMAIL, IPV4, IPV6))


def _masked(address: str, placeholder: str) -> str:
    try:
        return placeholder if ipaddress.ip_address(address).is_global else address
    except ValueError:
        return address
