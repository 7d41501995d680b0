"""What a slow or silent client may take of the label server: some seconds and one of a limited number of connections.

Over the limit the oldest connection that still owes its request is closed, so that a new one is served at once. Where
all are being answered, the new one gets a 503. It does not limit how many connections one address may open.
"""

import asyncio

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 20.0
"""For a whole request, headers and body, since the connection began or was last answered."""
EXCHANGE_S = 90.0
"""For a request and its answer. A label may wait 30 s for the database."""
IDLE_S = 5
"""A connection without a new request is kept open this long after an answer."""
MAX_CONNECTIONS = 128
BACKLOG = 64
"""Connections accepted before any is read: fewer than MAX_CONNECTIONS, or a burst would close those it came with."""


def server_config(application: ASGIApp) -> Config:
    """Uvicorn's settings. No WebSocket: an upgraded connection would leave these limits."""
    return Config(
        application,
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_level="warning",
        backlog=BACKLOG,
        limit_concurrency=MAX_CONNECTIONS + 1,
        timeout_keep_alive=IDLE_S,
    )


class Connection(H11Protocol):
    """One client's connection. Uvicorn's own time-out covers only idle ones that have been answered before."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timers: list[asyncio.TimerHandle] = []
        self._begin()
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        waiting = [one for one in others if not one.is_answering]
        if len(others) >= MAX_CONNECTIONS and waiting:
            min(waiting, key=lambda one: one.waiting_since_s).end()

    @property
    def is_answering(self) -> bool:
        """The whole request is here, and its answer is not out yet."""
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def on_response_complete(self) -> None:
        self._begin()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self.is_answering:
            super().shutdown()
        self._end_waiting()  # Ctrl-C waits for no request

    def end(self) -> None:
        """At once, whatever is still to be sent."""
        self.connections.discard(self)
        self.transport.abort()

    def _end_waiting(self) -> None:
        if not self.is_answering:
            self.end()

    def _begin(self) -> None:
        self._stop_timers()
        self.waiting_since_s = self.loop.time()
        self._timers = [
            self.loop.call_later(REQUEST_S, self._end_waiting),
            self.loop.call_later(EXCHANGE_S, self.end),
        ]

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
