"""The default policy (POL-2): its extensions and its validity, each in a file."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pikachu.core.atomic_files import replace_files
from pikachu.core.errors import ConfigError, Conflict, PikachuError, PolicyViolation
from pikachu.core.model.policies import DAYS, POLICY_ROLES, Policy
from pikachu.core.number_parsing import parse_number
from pikachu.x509.template import parse

DEFAULT_POLICY_NAME = "System"
# Larger than any valid text of a policy, in any encoding.
_MAX_FILE_SIZE = 256 * 1024


def read_validity(text: str, where: str) -> int:
    """Return the days in a ``validity_conf``: a number, or lines ``name = N`` with ``default`` (else the first) chosen.

    :param where: names the setting and the file in errors.
    :raises ConfigError: one line.
    """
    return _effective_line(text, where)[1]


def with_validity(text: str, days: int) -> str:
    """Return the text of a ``validity_conf`` with *days* as its default; other lines and comments are preserved."""
    try:
        number, _ = _effective_line(text, "")
    except ConfigError:
        return f"{days}\n"
    lines = text.splitlines()
    before, hash_sign, comment = lines[number - 1].partition("#")
    name, separator, _ = before.rpartition("=")
    setting = f"{name}{separator} {days}" if separator else f"{days}"
    lines[number - 1] = f"{setting} {hash_sign}{comment}" if hash_sign else setting
    return "".join(f"{line}\n" for line in lines)


def _effective_line(text: str, where: str) -> tuple[int, int]:
    """Return the number of the line with the default, and its days."""
    days: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.split("#", 1)[0].strip()
        if not content:
            continue
        name, separator, value = content.rpartition("=")
        value = value.strip()
        number_of_days = parse_number(value, DAYS.maximum, minimum=DAYS.minimum)
        if number_of_days is None:
            raise ConfigError(
                f"{where}: line {number}: expected a number of days from 1 to {DAYS.maximum}, found {value[:40]!r}"
            )
        days[name.strip().lower() if separator else "default"] = number, number_of_days
    if not days:
        raise ConfigError(f"{where}: it holds no number of days; write one, such as 365")
    return days.get("default", next(iter(days.values())))


def _read_file(path: Path, setting: str) -> str:
    """Return the text of a file.

    :raises ConfigError: one line, when it can't be read or is too long.
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


@dataclass(frozen=True, slots=True)
class DefaultPolicyFiles:
    """The files of the default policy: ``server_ext_cfg`` and ``validity_conf``."""

    extensions: Path
    validity: Path

    def read(self) -> Policy:
        """Read the default policy.

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
        """Replace both files, and return the policy in them.

        :raises BadTemplate: when *extensions* is not valid; nothing is changed then.
        """
        return self.change(lambda _: (days, extensions))

    def change(self, decide: Callable[[Policy | None], tuple[int, str]]) -> Policy:
        """Replace both files as *decide* says, under a lock against other processes.

        :param decide: returns days and extensions for the current policy; ``None``: the files can't be read.
        :raises BadTemplate: when the extensions are not valid; nothing is changed then.
        :raises Conflict: when another process is changing them.
        """
        with self._locked():
            try:
                current = self.read()
            except ConfigError:
                current = None
            days, extensions = decide(current)
            parse(extensions)
            check_days(days)
            replace_files(
                ([self.extensions], lambda: [extensions.encode()]),
                ([self.validity], lambda: [with_validity(self._validity_text(), days).encode()]),
            )
            return self.read()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the folder, since the files themselves are replaced."""
        folder = os.open(self.extensions.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                # The kernel releases the lock when the process dies.
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
        """Return a value that differs after a file was changed or removed."""
        return *_stamp_of(self.extensions), *_stamp_of(self.validity)


def _stamp_of(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    # Two changes within one tick of the kernel's clock have the same time, but each creates a new inode.
    return status.st_mtime_ns, status.st_ino, status.st_size


def default_version(days: int, extensions: str, roles: Sequence[str] = POLICY_ROLES) -> int:
    """Return the version of the default policy, derived from its content."""
    content = "\n".join((" ".join(roles), str(days), extensions))
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:7])


def check_days(days: int) -> None:
    """Require a valid number of days.

    :raises PolicyViolation: when it is not between 1 and 36500.
    """
    if not DAYS.minimum <= days <= DAYS.maximum:
        raise PolicyViolation(f"a validity is {DAYS.minimum} to {DAYS.maximum} days", field="days")
