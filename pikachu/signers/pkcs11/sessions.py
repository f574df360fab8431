"""Sessions of a token that are found again after a reset, a removal or a lost session, and log in with care.

All sessions of a process share one login (PKCS#11 section 5.6), so one session logs in and the others follow it.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from twisted.logger import Logger

from pkcs11 import (
    PinExpired,
    PinIncorrect,
    PinInvalid,
    PinLenRange,
    PinLocked,
    PKCS11Error,
    PrivateKey,
    Session,
    Token,
    TokenFlag,
    UserAlreadyLoggedIn,
)

from pikachu.core.concurrency import ThreadLock
from pikachu.core.errors import SignerUnavailable
from pikachu.signers.pkcs11.module import ThreadSafeModule

log = Logger()
T = TypeVar("T")

# Minimum time between two restarts of a library, which end every session of the process.
_RESTART_INTERVAL_SECONDS: Final = 2.0
_WRONG_PIN: Final = (PinIncorrect, PinInvalid, PinLenRange, PinLocked, PinExpired)


class TokenMissing(Exception):
    """The token is not connected, or not the only one of its label."""


class KeyLost(Exception):
    """A session does not find a key, or finds another one; after a new login there may be the right one."""


class TokenSession:
    """A session with the handles of the keys that it found.

    :ivar generation: the login that it belongs to.
    :ivar keys: by reference; each one has signed correctly in this session.
    """

    def __init__(self, session: Session, generation: int) -> None:
        self.session = session
        self.generation = generation
        self.keys: dict[str, PrivateKey] = {}


class TokenSessions:
    """The sessions of one token, as many as threads use it at a time.

    :param module: the path of the library.
    :param token: the label of the token.
    :param read_pin: returns the PIN, or raises SignerUnavailable.
    """

    def __init__(self, module: Path, token: str, read_pin: Callable[[], str]) -> None:
        self._path = module
        self._label = token
        self._read_pin = read_pin
        self._lock = ThreadLock()
        self._module: ThreadSafeModule | None = None
        self._login: Session | None = None
        self._token: Token | None = None
        self._generation = 0
        self._idle: deque[TokenSession] = deque()
        self._calls = 0
        self._restarted_at = self._logged_in_at = float("-inf")
        self._wrong_pin: bytes | None = None

    def run(self, work: Callable[[TokenSession], T]) -> T:
        """Return the result of *work* with a session; after an error of the token, try once more with a new one.

        :raises SignerUnavailable: when the token can't be used, with what to do.
        """
        with self._lock:
            self._calls += 1
        generation = self._generation
        try:
            try:
                return self._try(work)
            except (PKCS11Error, KeyLost) as error:
                if isinstance(error, KeyLost) and not self._is_login_old():
                    raise
                log.info("Looking for the token again: {error}", error=describe(error))
                self._end_login(generation)
                return self._try(work)
        except (TokenMissing, KeyLost) as error:
            raise SignerUnavailable(str(error)) from None
        except PKCS11Error as error:
            raise SignerUnavailable(
                "The token does not work now; the log has the reason.", error=describe(error)
            ) from None
        finally:
            with self._lock:
                self._calls -= 1

    def _try(self, work: Callable[[TokenSession], T]) -> T:
        session = self._take()
        try:
            result = work(session)
        except BaseException:
            close(session.session)
            raise
        self._idle.append(session)
        return result

    def run_writing(self, work: Callable[[Session], T]) -> T:
        """Return the result of *work* with a session that may create objects.

        :raises SignerUnavailable: when the token can't be used, or refuses.
        """

        def write(session: TokenSession) -> T:
            writing = session.session.token.open(rw=True)
            try:
                return work(writing)
            finally:
                close(writing)

        return self.run(write)

    # --- sessions -----------------------------------------------------------------------

    def _take(self) -> TokenSession:
        while True:
            try:
                session = self._idle.pop()
            except IndexError:
                break
            if session.generation == self._generation:
                return session
            close(session.session)
        with self._lock:
            if self._login is None or self._token is None:
                self._log_in()
            token, generation = self._token, self._generation
        assert token is not None  # noqa: S101 - logging in sets it
        return TokenSession(token.open(), generation)

    def _is_login_old(self) -> bool:
        return time.monotonic() - self._logged_in_at > _RESTART_INTERVAL_SECONDS

    def _end_login(self, generation: int) -> None:
        """End the login and with it all sessions; those of other threads fail, and these look again, too."""
        with self._lock:
            if self._login is not None and self._generation == generation:
                close(self._login)
                self._login = self._token = None
                self._generation += 1

    def _log_in(self) -> None:
        """Find the token and log in; restart the library if that fails, since many look for tokens only then."""
        try:
            self._log_in_once()
        except (PKCS11Error, TokenMissing):
            now = time.monotonic()
            if self._module is None or self._calls > 1 or now - self._restarted_at < _RESTART_INTERVAL_SECONDS:
                raise
            self._restarted_at = now
            self._module.restart()
            self._log_in_once()

    def _log_in_once(self) -> None:
        token = self._find_token()
        pin = self._read_pin()
        digest = hashlib.sha256(pin.encode()).digest()
        if digest == self._wrong_pin:
            raise SignerUnavailable(
                "The token refused the PIN, and it is not tried again, so that the token does not lock. Set the right "
                "PIN: [PKCS11] pin_file is read again, [PKCS11] pin needs a restart."
            )
        if token.flags & TokenFlag.USER_PIN_LOCKED:
            raise SignerUnavailable("The token has locked its PIN. Unlock it with the security officer's PIN.")
        if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
            raise SignerUnavailable(
                "One attempt is left before the token locks its PIN, and it is not used here. Sign in with the token's "
                "own tool, which resets the count."
            )
        try:
            self._login = token.open(user_pin=pin)
        except UserAlreadyLoggedIn:
            self._login = token.open()
        except _WRONG_PIN as error:
            self._wrong_pin = digest
            raise SignerUnavailable(
                "The token refused the PIN. Set the right one: [PKCS11] pin_file is read again, [PKCS11] pin needs a "
                "restart. The same PIN is not tried again.",
                error=describe(error),
            ) from None
        self._wrong_pin = None
        self._token = token
        self._logged_in_at = time.monotonic()

    def _find_token(self) -> Token:
        if self._module is None:
            self._module = ThreadSafeModule(str(self._path))
        found: list[Token] = []
        for slot in self._module.get_slots(token_present=True):
            with suppress(PKCS11Error):
                token = slot.get_token()
                if token.label == self._label:
                    found.append(token)
        if not found:
            raise TokenMissing(f"There is no token labelled {self._label!r}. Connect it, or correct [PKCS11] token.")
        if len(found) > 1:
            raise TokenMissing(f"{len(found)} tokens are labelled {self._label!r}. Rename or disconnect the others.")
        return found[0]


def close(session: Session) -> None:
    """Close a session that may have ended already."""
    with suppress(PKCS11Error):
        session.close()


def describe(error: Exception) -> str:
    """Return the name and the text of an error; the library's rarely have one."""
    return f"{type(error).__name__}: {error}".rstrip(": ")
