"""The frame of a report page: style, script, content policy, and the cells that all of its tables share.

Everything that is put between tags here is escaped, but for what the name of a parameter calls `html`.
"""

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from rlreason.text import shown

MAX_TEXT_CHARS: Final = 4000

STYLE: Final = """
:root{color-scheme:light dark;--bg:#fff;--panel:#f6f7f9;--line:#d9dde3;--ink:#1a2129;--soft:#5a6673;--bad:#b3261e;
--ok:#157347;--c0:#2463b4;--c1:#c4501b;--c2:#1a8754;--c3:#8a3fa0;--c4:#8f6c00;--c5:#b3305f;--c6:#4a5a6a;--c7:#0b7d86}
@media(prefers-color-scheme:dark){:root{--bg:#12161b;--panel:#1a2027;--line:#36404b;--ink:#e6eaef;--soft:#a3b0bd;
--bad:#ff9a92;--ok:#63d29b;--c0:#74abff;--c1:#ff9e6b;--c2:#5fd39a;--c3:#d394ec;--c4:#e2c054;--c5:#ff8ab0;--c6:#adbccb;
--c7:#5cd0da}}
body{margin:0 auto;padding:24px;max-width:1500px;background:var(--bg);color:var(--ink);
font:15px/1.45 system-ui,sans-serif}
h1{margin:0;font-size:24px}h2{margin:32px 0 12px;font-size:18px}h3{margin:0;font-size:14px}a{color:var(--c0)}
.soft,.tile span,figcaption{color:var(--soft);font-size:13px}.bad{color:var(--bad)}.ok{color:var(--ok)}
.tiles,.plots{display:grid;gap:12px;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));margin-top:16px}
.plots{grid-template-columns:repeat(auto-fill,minmax(min(380px,100%),1fr))}
.tile,figure{margin:0;padding:12px 14px;background:var(--panel);border:1px solid var(--line);border-radius:8px}
.tile{overflow-wrap:anywhere}.tile span{display:block}
.tile b{display:block;font-size:19px;font-weight:600;white-space:nowrap}
figure{display:flex;flex-direction:column;padding-bottom:6px}figure svg{margin-top:auto}h3 span{font-weight:400}
svg{display:block;width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line)}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.band{opacity:.18;stroke:none}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
.c6{--c:var(--c6)}.c7{--c:var(--c7)}.line{stroke:var(--c)}.fill{fill:var(--c)}.rest{fill:var(--line)}
.key{margin-right:12px;white-space:nowrap}.key::before{content:"";display:inline-block;width:10px;height:10px;
margin-right:5px;border-radius:2px;background:var(--c)}
.wide{overflow-x:auto}.v{overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-size:13px}th,td{padding:6px 10px;text-align:left;
vertical-align:top;border-bottom:1px solid var(--line)}th{color:var(--soft);font-weight:600;white-space:nowrap}
td:first-child,.n{white-space:nowrap}th.e{white-space:normal}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.n svg{width:90px;margin:4px 0 0 auto}
pre{margin:0;font:12px/1.4 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
.texts{table-layout:fixed;min-width:900px}.texts pre{max-height:15em;overflow:auto}.texts .n{width:60px}
.texts .v{width:170px;white-space:normal}td.fall{min-width:120px;width:40%}.fall svg{height:12px;margin-top:3px}
tr.set th{padding-top:16px;color:var(--ink);text-align:left}section{margin:0 0 22px}
.answers{display:grid;gap:10px;margin-top:8px;grid-template-columns:repeat(auto-fit,minmax(min(240px,100%),1fr))}
.answers .tile b{display:inline;font-size:13px}.answers pre{margin-top:6px;max-height:20em;overflow:auto}
h3 pre{font-size:13px}details{margin:6px 0}summary{cursor:pointer}code{font:12px ui-monospace,monospace}
.fit{width:auto;min-width:min(100%,560px)}.fit td,.fit th{white-space:nowrap}.steps td.n,.steps th.n{width:60px}
h3+.wide,h3+details{margin-top:6px}.wide+h3,details+h3{margin-top:18px}
.texts .p{width:32%}#filter{margin:0 0 10px}input,select{font:inherit;padding:4px 8px}
@media(max-width:600px){body{padding:16px 12px}th,td{padding:6px 5px}.compare td:first-child{white-space:normal}}
"""

SCRIPT: Final = """
const bar = document.getElementById("filter"), rows = [...document.querySelectorAll("#samples tbody tr")];
if (bar) {
  const [text, status] = bar.querySelectorAll("input, select");
  const apply = () => rows.forEach(row => row.hidden =
    !row.textContent.toLowerCase().includes(text.value.toLowerCase()) ||
    (status.value && !row.dataset.status.split(" ").includes(status.value)));
  bar.hidden = false;
  bar.addEventListener("input", apply);
}
"""


def document(title: str, body_html: str) -> str:
    """The whole page. Whatever text is in it: no control characters, and nothing that UTF-8 cannot write."""
    hashes = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (STYLE, SCRIPT)]
    policy = f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{hashes[0]}'; "
    return shown(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}script-src \'sha256-{hashes[1]}\'">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)} · rlreason</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{body_html}\n<script>{SCRIPT}</script></body></html>\n"
    )


def duration_text(seconds: float) -> str:
    """12.3 s, 4 min 05 s, 2 h 07 min; an en dash for NaN."""
    if math.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def text_cell(value: Any) -> str:
    """A cell with the text, its middle left out where it is long."""
    return f"<td>{text_block(value)}</td>"


def text_block(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    half = MAX_TEXT_CHARS // 2
    if len(text) > MAX_TEXT_CHARS:
        text = f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"
    return f"<pre>{escape(text)}</pre>"


def status_class(status: str) -> str:
    """Style of a verdict's name."""
    return {"ok": "ok", "wrong": "", "": ""}.get(status, "bad")


def table(heads: Sequence[str], rows_html: Sequence[str], *, style: str = "") -> str:
    """A table that scrolls by itself where it is too wide. A head `n:duration` gives its column the class `n`."""
    cells = []
    for head in heads:
        kind, colon, name = head.partition(":")
        is_marked = bool(colon) and len(kind) == 1
        cells.append(f'<th class="{kind}">{escape(name)}</th>' if is_marked else f"<th>{escape(head)}</th>")
    return (
        f'<div class="wide"><table class="{style}"><thead><tr>{"".join(cells)}</tr></thead>'
        f"<tbody>{''.join(rows_html)}</tbody></table></div>"
    )
