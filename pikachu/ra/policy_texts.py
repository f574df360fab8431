"""The extension texts of policies, compiled in a pool of threads and cached: a long text holds up no other client."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from twisted.internet.defer import Deferred, DeferredLock

from pikachu.core.errors import BadTemplate
from pikachu.core.interfaces import IWorkerPool
from pikachu.x509.template import ProfileTemplate, parse

_MAX_TEXTS: Final = 256


class PolicyTexts:
    """A bounded cache of compiled texts.  Only the reactor's thread uses it; the pool only compiles.

    :param pool: compiles texts.
    """

    def __init__(self, pool: IWorkerPool) -> None:
        self._pool = pool
        self._cached: OrderedDict[str, ProfileTemplate | BadTemplate] = OrderedDict()
        # Many devices that enroll at once under a new policy have it compiled once.
        self._turn = DeferredLock()

    def get(self, text: str) -> ProfileTemplate:
        """Return the compiled text; one that was not prepared is compiled in this thread.

        :raises BadTemplate: with the line that is wrong.
        """
        known = self._cached.get(text)
        if known is None:
            known = _parsed(text)
            self._store(text, known)
        else:
            self._cached.move_to_end(text)
        if isinstance(known, BadTemplate):
            raise known.with_traceback(None)
        return known

    def is_ready(self, text: str, variables: Mapping[str, str]) -> bool:
        """Return whether the text is compiled for these values of its variables, or known to be wrong."""
        known = self._cached.get(text)
        return known is not None and (isinstance(known, BadTemplate) or known.is_compiled(variables))

    async def prepare(self, text: str, variables: Mapping[str, str]) -> None:
        """Compile the text in the pool, unless it is ready; what is wrong with it is raised by :meth:`get`.

        Fails with Overloaded.
        """
        if self.is_ready(text, variables):
            return
        await self._turn.acquire()
        try:
            if not self.is_ready(text, variables):
                self._store(text, await self._pool.run(_prepared, text, self._cached.get(text), variables))
        finally:
            self._turn.release()

    def check(self, text: str, check: Callable[[ProfileTemplate], None]) -> Deferred[None]:
        """Compile a text that somebody submits, and call *check* with it, both in the pool.

        Fails with BadTemplate, with what *check* raises, and with Overloaded.
        """
        return self._pool.run(lambda: check(parse(text)))

    def _store(self, text: str, compiled: ProfileTemplate | BadTemplate) -> None:
        self._cached[text] = compiled
        self._cached.move_to_end(text)
        if len(self._cached) > _MAX_TEXTS:
            self._cached.popitem(last=False)


def _parsed(text: str) -> ProfileTemplate | BadTemplate:
    try:
        return parse(text)
    except BadTemplate as error:
        return error


def _prepared(
    text: str, known: ProfileTemplate | BadTemplate | None, variables: Mapping[str, str]
) -> ProfileTemplate | BadTemplate:
    compiled = _parsed(text) if known is None else known
    if isinstance(compiled, ProfileTemplate):
        # What is wrong for these variables may be right for another issuing CA's.
        with suppress(BadTemplate):
            compiled.compile(variables)
    return compiled
