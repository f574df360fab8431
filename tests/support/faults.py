"""Stores and signers that fail on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail

from pikachu.core.errors import PikachuError, StoreUnavailable
from pikachu.core.interfaces import ISigner, ToBeSigned


class FaultyStore:
    """A store whose named methods fail, before or after they did their work.

    :ivar failing: method → how often it still fails; ``after`` says that the work is done nevertheless, as when
        the connection is lost during a commit.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.failing: dict[str, int] = {}
        self.after = False
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if not callable(real):
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self.failing.get(name, 0) > 0:
                self.failing[name] -= 1
                if self.after:
                    real(*args, **kwargs)
                return fail(StoreUnavailable("the database does not answer"))
            return real(*args, **kwargs)

        return call


class FaultySigner:
    """A signer that fails, waits, or signs something else.

    :ivar error: the error of the next signature.
    :ivar change: makes another certificate of the right one.
    :ivar held: when it is a list, signatures wait in it until ``release``.
    """

    def __init__(self, signer: ISigner) -> None:
        self._signer = signer
        self.error: PikachuError | None = None
        self.change: Callable[[bytes], bytes] | None = None
        self.held: list[Callable[[], None]] | None = None
        self.signed: list[int] = []

    @property
    def certificate(self) -> bytes:
        """Of the real one."""
        return self._signer.certificate

    @property
    def chain(self) -> tuple[bytes, ...]:
        """Of the real one."""
        return self._signer.chain

    @property
    def algorithm(self) -> bytes:
        """Of the real one."""
        return self._signer.algorithm

    def sign_certificate(self, to_be_signed: ToBeSigned) -> Deferred[bytes]:
        """Sign, or fail as set."""
        if self.error is not None:
            error, self.error = self.error, None
            return fail(error)
        self.signed.append(to_be_signed.serial)
        done = self._signer.sign_certificate(to_be_signed)
        if self.change is not None:
            done.addCallback(self.change)
        if self.held is None:
            return done
        waiting: Deferred[bytes] = Deferred()

        def release() -> None:
            done.chainDeferred(waiting)

        self.held.append(release)
        return waiting

    def sign(self, data: bytes) -> Deferred[bytes]:
        """Of the real one."""
        return self._signer.sign(data)

    def release(self) -> None:
        """Give the signatures that wait."""
        held, self.held = self.held or [], []
        for one in held:
            one()
