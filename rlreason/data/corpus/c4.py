"""C4's rules (Raffel et al., arXiv 1910.10683, section 2.2) as FineWeb uses them: without the one on final punctuation.

Cuts lines (a few words, a giant word, talk of JavaScript, cookies or terms of use) and citation marks such as [12];
drops the page for `lorem ipsum`, a curly bracket or too few sentences. No list of bad words.
"""

import re

from rlreason.config.corpus import C4Rule
from rlreason.data.corpus.words import count_sentences

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def apply(text: str, rule: C4Rule) -> tuple[str, str | None]:
    """The text without the lines that are cut, and None; or the text as it was, and why the page is dropped, as
    `c4: 3 sentences < 5`. A page of which no line is left is dropped.
    """
    kept = []
    num_sentences = 0
    for line in text.splitlines():
        found = line.split()
        if len(found) < rule.min_line_words or any(len(word) > rule.max_word_length for word in found):
            continue
        line = CITATION.sub("", line.strip())
        lower = line.lower()
        if rule.drop_lorem_ipsum and "lorem ipsum" in lower:
            return text, "c4: lorem ipsum"
        if rule.drop_javascript_lines and "javascript" in lower:
            continue
        if rule.drop_curly_bracket and "{" in line:
            return text, "c4: a curly bracket"
        if rule.drop_javascript_lines and any(phrase in lower for phrase in POLICY):
            continue
        num_sentences += count_sentences(line)
        kept.append(line)
    if num_sentences < rule.min_sentences:
        return text, f"c4: {num_sentences} sentences < {rule.min_sentences}"
    left = "\n".join(kept).strip()
    return (left, None) if left else (text, "c4: no line is left")
