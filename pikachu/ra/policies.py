"""Enrollment policies: which one signs (POL-3), what it allows (POL-4), and the default one's two files (POL-2)."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import ConfigError, Conflict, NotFound, Overloaded, PikachuError, PolicyViolation
from pikachu.core.interfaces import IClock, IPolicyStore, IWorkerPool
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import Principal
from pikachu.core.model.policies import Policy
from pikachu.ra.policy_texts import PolicyTexts
from pikachu.x509.name_patterns import Budget, GlobPattern, glob_pattern
from pikachu.x509.spki import KeyDescription
from pikachu.x509.template import parse

log = Logger()

DEFAULT_POLICY_NAME = "System"
#: The built-in policy without extensions: certificates have what the CA always adds, and the request's names.
NO_EXTENSIONS_POLICY = "None"
POLICY_NAME = re.compile(r"[A-Za-z0-9._ -]{1,64}")
_MAX_DAYS = 36500
# int() takes longer the more digits there are, and refuses some thousands with an error of its own.
_MAX_DIGITS = 10
#: More than a text of policies may have, in any encoding of its characters.
_MAX_FILE_SIZE = 256 * 1024
_ESCAPE = re.compile(r'\\([,+"\\<>; #])')


def read_validity(text: str, where: str) -> int:
    """Days from a ``validity_conf``: a bare number, or lines ``name = N`` of which ``default`` (else the first) counts.

    :raises ConfigError: one line.
    """
    return _numbers(text, where)[1]


def with_validity(text: str, days: int) -> str:
    """The text of a ``validity_conf`` that says *days* where *text* says another default; other lines stay."""
    try:
        number, _ = _numbers(text, "")
    except ConfigError:
        return f"{days}\n"
    lines = text.splitlines()
    before, hash_sign, comment = lines[number - 1].partition("#")
    name, separator, _ = before.rpartition("=")
    mended = f"{name}{separator} {days}" if separator else f"{days}"
    lines[number - 1] = f"{mended} {hash_sign}{comment}" if hash_sign else mended
    return "".join(f"{line}\n" for line in lines)


def _numbers(text: str, where: str) -> tuple[int, int]:
    """The line that counts, and its number of days."""
    found: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.split("#", 1)[0].strip()
        if not content:
            continue
        name, separator, value = content.rpartition("=")
        value = value.strip()
        if not value.isdecimal() or len(value) > _MAX_DIGITS or not 1 <= int(value) <= _MAX_DAYS:
            raise ConfigError(
                f"{where}: line {number}: expected a number of days from 1 to {_MAX_DAYS}, found {value[:40]!r}"
            )
        found[name.strip().lower() if separator else "default"] = number, int(value)
    if not found:
        raise ConfigError(f"{where}: it holds no number of days; write one, such as 365")
    return found.get("default", next(iter(found.values())))


def _read_file(path: Path, setting: str) -> str:
    """Return the text of a file.

    :raises ConfigError: one line, where it can't be read or is too long.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE_SIZE + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting}: {path} can't be read ({_reason(error)}); `pikachu init` makes one") from None
    if len(content) > _MAX_FILE_SIZE:
        raise ConfigError(f"{setting}: {path} is longer than {_MAX_FILE_SIZE // 1024} KiB; shorten it")
    return text


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or "it can't be read"


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content so that a reader sees the old or the new one, whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True)
class DefaultPolicyFiles:
    """Where the default policy lives: ``server_ext_cfg`` and ``validity_conf``."""

    extensions: Path
    validity: Path

    def read(self) -> Policy:
        """The default policy as the files say.

        :raises ConfigError: one line that names the file.
        """
        text = _read_file(self.extensions, "[PATHS] server_ext_cfg")
        try:
            parse(text)
        except PikachuError as error:
            raise ConfigError(f"[PATHS] server_ext_cfg: {self.extensions}: {error.public}") from None
        validity = _read_file(self.validity, "[PATHS] validity_conf")
        days = read_validity(validity, f"[PATHS] validity_conf: {self.validity}")
        newest = max(self.extensions.stat().st_mtime, self.validity.stat().st_mtime)
        changed = datetime.fromtimestamp(int(newest), UTC)
        return Policy(
            id=0,
            name=DEFAULT_POLICY_NAME,
            days=days,
            extensions=text,
            system=True,
            created_at=changed,
            updated_at=changed,
            version=default_version(days, text),
        )

    def write(self, days: int, extensions: str) -> Policy:
        """Replace both files; what they say then.

        :raises BadTemplate: when the text is none; nothing is changed then.
        """
        return self.change(lambda _: (days, extensions))

    def change(self, decide: Callable[[Policy | None], tuple[int, str]]) -> Policy:
        """Replace both files by what *decide* makes of what they say now; no other process does so meanwhile.

        :param decide: gives days and extensions; is shown ``None`` where the files can't be read.
        :raises BadTemplate: when the text is none; nothing is changed then.
        :raises Conflict: when another process is writing them.
        """
        with self._locked():
            try:
                current = self.read()
            except ConfigError:
                current = None
            days, extensions = decide(current)
            parse(extensions)
            check_days(days)
            write_atomically(self.extensions, extensions)
            write_atomically(self.validity, with_validity(self._validity_text(), days))
            return self.read()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the folder: the files themselves are replaced."""
        folder = os.open(self.extensions.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                # The kernel releases it when the process dies.
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict("Another process is changing the default policy. Try again.") from None
            yield
        finally:
            os.close(folder)

    def _validity_text(self) -> str:
        try:
            return _read_file(self.validity, "")
        except ConfigError:
            return ""

    def stamp(self) -> tuple[int, ...]:
        """Return what changes when one of the files does, or goes."""
        return *_stamp_of(self.extensions), *_stamp_of(self.validity)


def _stamp_of(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    # Two changes within a tick of the kernel's clock have one time; each replaces the file.
    return status.st_mtime_ns, status.st_ino, status.st_size


def default_version(days: int, extensions: str) -> int:
    """Return the version of the default policy that says this."""
    return int.from_bytes(hashlib.sha256(f"{days}\n{extensions}".encode()).digest()[:7])


def check_days(days: int) -> None:
    """That a validity is one.

    :raises PolicyViolation: when it is not.
    """
    if not 1 <= days <= _MAX_DAYS:
        raise PolicyViolation(f"a validity is 1 to {_MAX_DAYS} days")


class PolicyResolver:
    """Finds the policy of an enrollment, and keeps what it found for a second.

    What another process changes is in force a second later; what this one changes, at once (``forget``).

    :param pool: reads files and compiles texts.
    """

    def __init__(self, store: IPolicyStore, files: DefaultPolicyFiles, clock: IClock, pool: IWorkerPool) -> None:
        self._store = store
        self.files = files
        self.texts = PolicyTexts(pool)
        self._clock = clock
        self._pool = pool
        self._stamp = files.stamp()
        self._default = files.read()
        self._reading = False
        self._looked = clock.seconds()
        self._kept: dict[tuple[object, ...], tuple[float, Policy | None]] = {}

    @property
    def default(self) -> Policy:
        """The default policy; a change of its files shows within a second or two, a broken one leaves the last good
        one.
        """
        now = self._clock.seconds()
        if not 0 <= now - self._looked < 1 and not self._reading:
            self._looked = now
            self._reading = True
            self._pool.run(self._read_changed, self._stamp).addCallbacks(self._use, self._ignore).addErrback(_failed)
        return self._default

    def _read_changed(self, stamp: tuple[int, ...]) -> tuple[tuple[int, ...], Policy | None]:
        """Read the files where their stamp is another; called in the pool."""
        # Looked at before the files are read: what changes meanwhile is read again.
        now = self.files.stamp()
        if now == stamp:
            return now, None
        try:
            return now, self.files.read()
        except (OSError, ConfigError):
            return now, None

    def _use(self, found: tuple[tuple[int, ...], Policy | None]) -> None:
        self._reading = False
        self._stamp, policy = found
        if policy is not None:
            self._default = policy

    def _ignore(self, failure: Failure) -> None:
        """Keep the last good policy where the pool has too much to do."""
        self._reading = False
        failure.trap(Overloaded)

    @uncancelled
    async def reload_default(self) -> None:
        """Read the default policy's files now.  Fails with ConfigError, and leaves the last good policy then."""
        stamp, policy = await self._pool.run(lambda: (self.files.stamp(), self.files.read()))
        self._use((stamp, policy))
        self.forget()

    @uncancelled
    async def fresh_default(self) -> Policy:
        """Return the default policy as its files say at this moment, or the last good one.  Fails with Overloaded."""
        self._use(await self._pool.run(self._read_changed, self._stamp))
        return self._default

    @uncancelled
    async def change_default(self, decide: Callable[[Policy | None], tuple[int, str]]) -> Policy:
        """Change the default policy's files as :meth:`DefaultPolicyFiles.change` does.

        :param decide: is called in the pool.

        Fails as that, and with Overloaded.
        """
        self._default = await self._pool.run(self.files.change, decide)
        # The stamp is still the former one, so the files are read again: another process may have changed them since.
        self.forget()
        return self._default

    @property
    def bare(self) -> Policy:
        """The policy without extensions of its own; its validity is the default one."""
        return Policy(id=-1, name=NO_EXTENSIONS_POLICY, days=self.default.days, extensions="[ v3_ext ]\n", system=True)

    def forget(self) -> None:
        """Policies were changed: look again."""
        self._kept.clear()
        self._looked = 0

    async def choose(
        self, protocol: Method, label: str | None, principal: Principal, named: str | None = None
    ) -> Policy:
        """The policy that signs (POL-3).

        :param label: of the EST or SCEP path.
        :param named: a policy that an API or CLI user names.
        :raises NotFound: when the label or the name is none that this principal may use.
        """
        if label is not None:
            policy = await self._by_name(label)
            flagged = policy is not None and (policy.use_for_est if protocol is Method.EST else policy.use_for_scep)
            if policy is None or not flagged or not may_use(policy, principal):
                raise NotFound(f"there is no {protocol.value} label of that name")
            return policy
        if named is not None:
            if named == DEFAULT_POLICY_NAME:
                return self.default
            if named == NO_EXTENSIONS_POLICY:
                return self.bare
            policy = await self._by_name(named)
            if policy is None or not may_use(policy, principal):
                raise NotFound(f"there is no policy named {named!r}")
            return policy
        if protocol in (Method.EST, Method.SCEP):
            if principal.owner_id is not None:
                policy = await self._flagged(protocol, principal.owner_id)
                if policy is not None:
                    return policy
            policy = await self._flagged(protocol, None)
            if policy is not None:
                return policy
        return self.default

    async def for_label(self, protocol: Method, label: str | None) -> Policy:
        """The policy of a path before anyone has authenticated: for CA certificates and attributes.

        :raises NotFound: when no policy of that name is flagged for the protocol.
        """
        if label is not None:
            policy = await self._by_name(label)
            if policy is None or not (policy.use_for_est if protocol is Method.EST else policy.use_for_scep):
                raise NotFound(f"there is no {protocol.value} label of that name")
            return policy
        return await self._flagged(protocol, None) or self.default

    def _by_name(self, name: str) -> Deferred[Policy | None]:
        if not POLICY_NAME.fullmatch(name):
            return succeed(None)
        return self._keep(("name", name), functools.partial(self._store.policy_by_name, name))

    def _flagged(self, protocol: Method, owner_id: int | None) -> Deferred[Policy | None]:
        return self._keep(("flag", protocol, owner_id), functools.partial(self._store.policy_for, protocol, owner_id))

    def _keep(
        self, key: tuple[object, ...], look: functools.partial[Deferred[Policy | None]]
    ) -> Deferred[Policy | None]:
        now = self._clock.seconds()
        kept = self._kept.get(key)
        if kept is not None and 0 <= now - kept[0] < 1:
            return succeed(kept[1])
        if len(self._kept) > 1000:
            self._kept.clear()

        def remember(found: Policy | None) -> Policy | None:
            self._kept[key] = (now, found)
            return found

        return look().addCallback(remember)


def _failed(failure: Failure) -> None:
    log.failure("reading the default policy", failure)


def may_use(policy: Policy, principal: Principal) -> bool:
    """A policy is usable by all when it is a system one, else by its owner and by admins."""
    return (
        policy.system or principal.is_admin or (policy.owner_id is not None and policy.owner_id == principal.owner_id)
    )


def check_limits(policy: Policy, key: KeyDescription, subject: str, names: Sequence[str]) -> None:
    """That the request stays within the policy's limits (POL-4).

    :param subject: RFC 4514.
    :param names: of the subjectAltName, such as ``DNS:a.example.com``.
    :raises PolicyViolation: with the reason.
    """
    limits = policy.limits
    if limits.keys and not any(key.text == allowed or key.text.split("/")[0] == allowed for allowed in limits.keys):
        raise PolicyViolation(f"the policy allows the keys {', '.join(limits.keys)}; this one is {key.text}")
    budget = Budget()
    if limits.subject is not None and not _matcher(limits.subject).matches(_with_inert_escapes(subject), budget):
        raise PolicyViolation("the policy does not allow this subject", subject=subject)
    if limits.names:
        patterns = [_matcher(pattern) for pattern in limits.names]
        for name in names:
            text = _with_inert_escapes(name)
            if not any(pattern.matches(text, budget) for pattern in patterns):
                raise PolicyViolation(f"the policy does not allow the name {name}")


def _matcher(pattern: str) -> GlobPattern:
    return glob_pattern(_with_inert_escapes(pattern))


def _with_inert_escapes(text: str) -> str:
    r"""Return *text* with private-use characters for the escaped ones.

    An escaped character is part of a value and never what separates values: ``CN=*,O=Acme`` does not fit
    ``CN=evil\,O=Acme``, which is a common name only (RFC 4514 section 2.4).
    """
    return _ESCAPE.sub(_inert, text)


def _inert(escape: re.Match[str]) -> str:
    # Private-use characters can't be met otherwise: the text of a name has them in hex.
    return chr(0xF0000 + ord(escape[1]))
