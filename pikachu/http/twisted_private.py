# mypy: allow-untyped-calls
# ruff: noqa: N802 - the names are Twisted's
"""Public names for the private attributes of twisted.web that bounded connections need.

No other module uses private names of Twisted or pyOpenSSL.  A new release of Twisted may change these, so ``setup.cfg``
bounds it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.http import HTTPChannel, Request


class OpenChannel(HTTPChannel):
    """An HTTP/1.1 connection that shows its state."""

    @property
    def target(self) -> bytes:
        """The target of the request being received."""
        return bytes(self._path)

    @property
    def is_handling_request(self) -> bool:
        """Whether a request waits for its response."""
        return bool(self._handlingRequest)

    @property
    def full(self) -> bool:
        """Whether the write buffer is full until the peer reads."""
        return bool(self._waitingForTransport)

    @property
    def is_aborting(self) -> bool:
        """Whether the connection is aborted after a delay."""
        return self._abortingCall is not None

    def abort_after(self, seconds: float) -> None:
        """Abort the connection after a delay, instead of any delay before."""
        if self._abortingCall is not None:
            self._abortingCall.cancel()
        self._abortingCall = self.callLater(seconds, self.forceAbortClient)

    def wrap_producer(self, wrap: Callable[[Any], Any]) -> Any:
        """Replace the producer that controls the transport by what *wrap* makes of it; return that."""
        self._networkProducer = wrap(self._networkProducer)
        return self._networkProducer

    # --- unparsed input -----------------------------------------------------------------

    @property
    def has_unparsed(self) -> bool:
        """Whether an incomplete line or chunk is buffered."""
        return bool(self._buffer)

    def take_unparsed(self) -> bytes:
        """Return the input that is not parsed yet, and remove it."""
        rest = b"".join([*self._dataBuffer, self._buffer])
        self._dataBuffer, self._buffer = [], b""
        return rest

    def drop_unparsed(self) -> None:
        """Discard an incomplete line or chunk."""
        self._buffer = b""

    def keep_unparsed(self, data: bytes) -> None:
        """Keep input of the next request."""
        self._dataBuffer.append(data)

    # --- responses of twisted.web itself ------------------------------------------------

    def malformed(self) -> None:
        """Refuse a request that twisted.web can't parse."""
        super()._respondToBadRequestAndDisconnect()

    def may_continue(self) -> bool:
        """Return whether a client that expects it may be sent ``100 Continue``."""
        return True

    def send_continue(self) -> None:
        """Tell a client that expects it to continue, if :meth:`may_continue`."""
        self._send100Continue()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.malformed()

    def _send100Continue(self) -> None:
        if self.may_continue():
            super()._send100Continue()


def is_disconnected(request: Request) -> bool:
    """Return whether the client of a request has disconnected."""
    return bool(request._disconnected)


def leave_form_encoded(request: Request) -> None:
    """Keep twisted.web from decoding a form in the body, which it does without bounds."""
    request._parsePOSTFormSubmission = False
