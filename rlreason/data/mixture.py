"""A mixture of sources as one endless stream of sequences: weighted, encoded as it is drawn, resumable.

Each source is its own shuffled endless stream of rows. The next sequence comes from the source that is furthest behind
its share of the trained tokens, so that shares are kept at any moment and nothing is random but each source's order.
A row may give several sequences (a document is cut at the context) or none; those of 64 rows are shuffled together, so
that a batch is not one long document. Sequences that are longer than the context are dropped and counted.
Does not: pack sequences into rows, read files, or know tokenizers.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlreason.data.order import rows_between
from rlreason.types import TrainSequence, UserError

ROWS_AT_ONCE = 64
"""Rows that are encoded together, for speed, and shuffled together. Another number is another order."""

State = dict[str, dict[str, Any]]
"""`made_of`: what the stream is a function of, in words. `streams`, by source: its present `chunk` of rows, how many of
the chunk's sequences are `used`, trained `tokens` drawn, sequences `dropped`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Example: Source(rows=texts, weight=1.0, encode=lambda rows: [encode_text(tokenizer, r, 2048) for r in rows])"""

    rows: Sequence[Any]
    weight: float
    """Share of the trained tokens, relative to the other sources."""
    encode: Callable[[list[Any]], list[list[TrainSequence]]]
    """The sequences of each row; a pure function of the row."""
    numbers: Sequence[int] | None = None
    """The number of each row in its file, for messages; None: its place in `rows`."""


class Mixture:
    """Example: mixture = Mixture({"web": source}, context_tokens=2048, seed=0); mixture.batch(500_000)"""

    def __init__(
        self, sources: Mapping[str, Source], *, context_tokens: int, seed: int, state: State | None = None
    ) -> None:
        """`state` of an earlier mixture: the stream goes on from there. Raises UserError where that one's sources,
        their numbers of rows, weights, context or seed were others.
        """
        self._made_of = {"seed": str(seed), "context_tokens": str(context_tokens)} | {
            f"source `{name}`": f"{len(source.rows)} rows of weight {source.weight}" for name, source in sources.items()
        }
        if state is not None:
            require_same(state["made_of"], self._made_of)
        begin = {"chunk": 0, "used": 0, "tokens": 0, "dropped": 0}
        self._streams = {
            name: _Stream(name, source, context_tokens, f"{seed}/{name}", state["streams"][name] if state else begin)
            for name, source in sources.items()
        }

    def batch(self, num_tokens: int) -> list[TrainSequence]:
        """The next whole sequences, of at least `num_tokens` tokens together.

        Raises UserError where no row of a source gives a sequence.
        """
        batch: list[TrainSequence] = []
        while num_tokens > 0:
            behind = min(self._streams.values(), key=lambda stream: stream.tokens / stream.source.weight)
            batch.append(behind.draw())
            num_tokens -= len(batch[-1].tokens)
        return batch

    def state(self) -> State:
        """Where the stream stands, for a checkpoint; JSON."""
        return {"made_of": self._made_of, "streams": {name: stream.state() for name, stream in self._streams.items()}}

    def metrics(self) -> dict[str, float]:
        """Since the start: trained tokens of each source, dropped sequences, epochs of the most repeated source."""
        streams = self._streams.values()
        return {f"data/{name}/tokens": float(stream.tokens) for name, stream in self._streams.items()} | {
            "data/dropped_too_long": float(sum(stream.dropped for stream in streams)),
            "data/epochs": max(stream.epochs() for stream in streams),
        }


def require_same(before: dict[str, str], now: dict[str, str]) -> None:
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        was, found = (made_of.get(changed[0], "not there") for made_of in (before, now))
        raise UserError(
            f"data: the run was begun with other data: {changed[0]} was {was}, and is {found}; "
            "put it back, or start anew with another --run-dir"
        )


class _Stream:
    """One source: the sequences of its shuffled rows, chunk after chunk, epoch after epoch."""

    def __init__(self, name: str, source: Source, context_tokens: int, seed: str, state: dict[str, int]) -> None:
        if not source.rows:
            raise UserError(f"data `{name}`: no rows to train on")
        self._name, self.source, self._context_tokens, self._seed = name, source, context_tokens, seed
        self._chunk, self._used = state["chunk"], state["used"]
        self.tokens, self.dropped = state["tokens"], state["dropped"]
        self._rows_at_once = min(ROWS_AT_ONCE, len(source.rows))
        self._sequences = self._encode() if self._used else []

    def draw(self) -> TrainSequence:
        """The next sequence that can be trained on."""
        # A row that was the first of its epoch may be the last of the next one: two epochs show every row.
        for _ in range(2 + 2 * len(self.source.rows) // self._rows_at_once):
            self._sequences = self._sequences or self._encode()
            while self._used < len(self._sequences):
                sequence = self._sequences[self._used]
                self._used += 1
                if len(sequence.tokens) > self._context_tokens:
                    self.dropped += 1
                elif sequence.num_trained_tokens:
                    self.tokens += sequence.num_trained_tokens
                    return sequence
            self._chunk, self._used, self._sequences = self._chunk + 1, 0, []
        raise UserError(
            f"data `{self._name}`: no row gives a sequence of at most {self._context_tokens} tokens with one to train "
            "on; raise context_tokens, or take the source out"
        )

    def state(self) -> dict[str, int]:
        return {"chunk": self._chunk, "used": self._used, "tokens": self.tokens, "dropped": self.dropped}

    def epochs(self) -> float:
        chunks = self._chunk + (self._used / len(self._sequences) if self._sequences else 0.0)
        return chunks * self._rows_at_once / len(self.source.rows)

    def _encode(self) -> list[TrainSequence]:
        """The chunk's sequences, shuffled."""
        start = self._chunk * self._rows_at_once
        rows = rows_between(start, start + self._rows_at_once, len(self.source.rows), self._seed)
        encoded = self.source.encode([self.source.rows[row] for row in rows])
        numbers = rows if self.source.numbers is None else [self.source.numbers[row] for row in rows]
        sequences = [
            replace(sequence, origin=f"{self._name} row {number}")
            for number, of_row in zip(numbers, encoded, strict=True)
            for sequence in of_row
        ]
        random.Random(f"{self._seed}/chunk {self._chunk}").shuffle(sequences)
        return sequences
