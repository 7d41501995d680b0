"""The corpus and tokenizer stages: from web pages to clean documents, and to the vocabulary they are written in.

Every rule is a section: its thresholds are the published ones, `null` switches it off.
"""

import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from rlreason.config.base import BaseStageConfig, Count, Fraction, Strict
from rlreason.config.data import DataConfig, Location

Share = Annotated[float, Field(ge=0, le=1)]
DOMAIN = re.compile(r"[\w-]+(\.[\w-]+)*")


class CorpusSource(Strict):
    """Files with web pages or documents: `path`, or a function that writes them.

    A file is cleaned by one task, whatever its size: to use every core, give at least as many files as there are cores.
    """

    path: Location | None = None
    """A file, a folder (searched whole, also where links lead) or a pattern such as `pages/**/*.warc.gz`."""
    generate: str | None = None
    """A function `f(folder: pathlib.Path, **args) -> list[pathlib.Path]` that writes files into `folder`."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of `generate`."""
    format: Literal["auto", "warc", "html", "jsonl", "parquet", "text"] = "auto"
    """auto: by the file's name (.warc .wet .html .htm .jsonl .ndjson .json .parquet .txt .md, each also with .gz, .zst
    or .xz). A .json file is read as JSON lines."""
    text_column: str = "text"
    """Column of JSONL and Parquet rows; `html` there is extracted first."""
    url_column: str = "url"
    date_column: str = "date"
    limit: Count | None = None
    """Records of each file that are read, from its start."""

    @model_validator(mode="after")
    def _one_origin(self) -> "CorpusSource":
        if (self.path is None) == (self.generate is None):
            raise ValueError("give exactly one of `path` (files) and `generate` (a function that writes them)")
        return self


class UrlRule(Strict):
    """Drops pages by their address."""

    blocked_domains: tuple[str, ...] | Location = ()
    """Domains, with all their subdomains; or a file with one domain a line, `#` before a comment."""
    blocked_words: tuple[str, ...] = ()
    """Whole words of the address, of a-z and digits, parted by anything else."""

    @field_validator("blocked_domains")
    @classmethod
    def _domains(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        return value if isinstance(value, str) else tuple(map(plain_domain, value))

    @cached_property
    def listed_domains(self) -> frozenset[str]:
        """Without those of a file."""
        return frozenset(() if isinstance(self.blocked_domains, str) else self.blocked_domains)

    @field_validator("blocked_words")
    @classmethod
    def _words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            if not re.fullmatch("[a-z0-9]+", word.lower()):
                raise ValueError(f"`{word}` can match no word of an address; give words of the letters a-z and digits")
        return tuple(word.lower() for word in value)


def plain_domain(text: str) -> str:
    """Lower case, without full stops at the ends. ValueError for what is no domain, such as an address."""
    domain = text.strip().lower().strip(".")
    if not DOMAIN.fullmatch(domain):
        raise ValueError(f"`{text.strip()}` is no domain; write it as example.org, without scheme, path, port or `*`")
    return domain


class LanguageRule(Strict):
    """FineWeb (arXiv 2406.17557): English above 0.65."""

    keep: list[str] = Field(default_factory=lambda: ["en"])
    """ISO 639-1 codes."""
    min_score: Share = 0.65


class GopherRepetitionRule(Strict):
    """Gopher (arXiv 2112.11446, table A1): repetition."""

    duplicate_lines: Share = 0.30
    duplicate_paragraphs: Share = 0.30
    duplicate_line_characters: Share = 0.20
    duplicate_paragraph_characters: Share = 0.20
    top_ngrams: dict[Count, Share] = Field(default_factory=lambda: {2: 0.20, 3: 0.18, 4: 0.16})
    """Share of the characters in the most frequent n-gram of words."""
    duplicate_ngrams: dict[Count, Share] = Field(
        default_factory=lambda: {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
    )
    """Share of the characters in n-grams of words that occur more than once."""


class GopherQualityRule(Strict):
    """Gopher (arXiv 2112.11446, section A1.1): quality. The stop words are English (the, be, to, of, and, that, have,
    with): for text in other languages set `min_stop_words: 0`."""

    min_words: int = 50
    max_words: int = 100_000
    min_mean_word_length: float = 3.0
    max_mean_word_length: float = 10.0
    max_symbols_per_word: float = 0.1
    max_bullet_lines: Share = 0.9
    max_ellipsis_lines: Share = 0.3
    min_alphabetic_words: Share = 0.8
    min_stop_words: int = 2


class C4Rule(Strict):
    """C4 (arXiv 1910.10683, section 2.2), without its rule on final punctuation, as FineWeb uses it."""

    min_sentences: int = 5
    drop_curly_bracket: bool = True
    drop_lorem_ipsum: bool = True
    drop_javascript_lines: bool = True
    """Lines that mention JavaScript, cookies or terms of use are cut, not the page."""
    max_word_length: int = 1000
    """A line with a longer word is cut."""
    min_line_words: int = 3
    """A line with fewer words is cut."""


class FineWebRule(Strict):
    """FineWeb's own rules (arXiv 2406.17557, section 3.6)."""

    min_punctuated_lines: Share = 0.12
    max_short_lines: Share = 0.67
    short_line_characters: Count = 30
    max_duplicate_line_characters: Share = 0.01
    max_newlines_per_word: float = 0.3


class DedupRule(Strict):
    """Exact duplicates and, by MinHash on word n-grams, near ones; of each cluster one document is kept.

    Exact: the same letters and digits in the same words; case, punctuation, symbols and white space do not count.
    """

    ngram: Count = 5
    """Words. Longer ones find copies with a rewritten passage; edits of 5 to 10 % of the words, scattered over the
    text, need `ngram: 2`, `bands: 20`, `rows: 6`, which finds nine in ten of them."""
    bands: Count = 14
    rows: Count = 8
    """Bands x rows hashes: FineWeb's 14 x 8 finds pairs of similarity 0.75 with a probability of 0.77."""


class DecontaminationRule(Strict):
    """Drops documents that share an n-gram of words with an evaluation set (GPT-3, arXiv 2005.14165, appendix C)."""

    data: dict[str, DataConfig] = Field(min_length=1)
    """Evaluation sets by name; each text column counts."""
    ngram: Count = 13
    """Words. Of a shorter text with at least 8 words all of them together; still shorter ones are not looked for."""


class CorpusConfig(BaseStageConfig):
    """Clean, deduplicated documents with their origin, as Parquet files."""

    stage: Literal["corpus"]
    sources: dict[str, CorpusSource] = Field(min_length=1)
    stall_s: Annotated[float, Field(gt=0)] | None = 1800.0
    """Seconds in which no task gives anything or writes to the run directory. Past that the stage says which of them
    stand still and what they are doing, and ends. null: it waits for ever."""
    extractor: Literal["trafilatura", "resiliparse"] = "trafilatura"
    """Main text of a page: trafilatura is more precise, resiliparse ten times as fast."""
    url: UrlRule | None = UrlRule()
    language: LanguageRule | None = LanguageRule()
    gopher_repetition: GopherRepetitionRule | None = GopherRepetitionRule()
    gopher_quality: GopherQualityRule | None = GopherQualityRule()
    c4: C4Rule | None = C4Rule()
    fineweb: FineWebRule | None = FineWebRule()
    dedup: DedupRule | None = DedupRule()
    decontamination: DecontaminationRule | None = None
    mask_pii: bool = True
    """E-mail and public IP addresses become placeholders."""
    tag_only: bool = False
    """Keep every document that can be read, with each rule's verdict beside it: to look before filtering."""
    dropped_samples: Count = 20
    """Dropped documents that are kept to look at, for each rule."""
    rows_per_file: Count = 10_000
    """Documents of one Parquet file."""
    cpus: Fraction = 1.0
    """CPU cores of one task."""


class TokenizerSource(DataConfig):
    """Text to train on."""

    text_column: str = "text"
    repeat: Count = 1
    """The source counts so many times."""


class TokenizerConfig(BaseStageConfig):
    """A byte-level BPE tokenizer, as Hugging Face fast-tokenizer files."""

    stage: Literal["tokenizer"]
    data: dict[str, TokenizerSource] = Field(min_length=1)
    vocab_size: Count = 32_768
    """Bytes, merges and special tokens together."""
    min_frequency: Count = 2
    """A pair must occur so often to be merged."""
    reserved_tokens: Annotated[int, Field(ge=0)] = 16
    """Unused special tokens, for later stages to give a meaning."""
    chat_template: str | None = None
    """A Jinja file; null: the one that ships."""
    compare_with: list[str] = Field(default_factory=list)
    """Tokenizers (path or hub name) whose compression is measured beside."""
