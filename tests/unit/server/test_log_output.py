"""The log (RUN-7): levels, one line per event, JSON, rotation, and the net for secrets."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

from twisted.logger import Logger, LogPublisher, formatEvent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import ConfigError
from pikachu.core.tracing import trace
from pikachu.server.log_output import LEVELS, LogOutput, configure, redact


class Stage:
    """A publisher of its own, so that no other log is touched."""

    def __init__(self, level: str = "TRACE", file: Path | None = None, **options: object) -> None:
        self.stream = io.StringIO()
        self.publisher = LogPublisher()
        self.output: LogOutput = configure(level, file, standard_output=self.stream, **options)  # type: ignore[arg-type]
        self.publisher.addObserver(self.output)
        self.log = Logger(namespace="pikachu.test", observer=self.publisher)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.mark.parametrize("level", list(LEVELS))
def test_levels(level: str) -> None:
    """A level lets through itself and what is above."""
    stage = Stage(level.lower())
    trace(stage.log, "TRACE")
    stage.log.debug("DEBUG")
    stage.log.info("INFO")
    stage.log.warn("WARNING")
    stage.log.error("ERROR")
    stage.log.critical("CRITICAL")
    names = list(LEVELS)
    assert [line.split()[1] for line in stage.lines] == names[names.index(level) :]
    assert [line.split()[-1] for line in stage.lines] == names[names.index(level) :]
    assert stage.output.enabled(level)
    assert stage.output.enabled("TRACE") == (level == "TRACE")


def test_level_changes_while_running() -> None:
    """RUN-5: the level can be set again."""
    stage = Stage("ERROR")
    stage.log.info("one")
    stage.output.level = LEVELS["INFO"]
    stage.log.info("two")
    assert [line.split()[-1] for line in stage.lines] == ["two"]


def test_unknown_level() -> None:
    """RUN-4: named, with the known ones."""
    with pytest.raises(ConfigError, match=r"^\[LOGGING\] log_level: 'loud' is no level; use one of TRACE, DEBUG"):
        configure("loud", None)


def test_line() -> None:
    """Time in UTC, level, logger, message."""
    stage = Stage()
    stage.output({"log_time": 1_800_000_000.25, "log_format": "{a} b", "a": 1, "log_namespace": "x.y"})
    assert stage.lines == ["2027-01-15T08:00:00.250Z INFO x.y: 1 b"]


def test_no_event_looks_like_another() -> None:
    """A newline or a terminal's control characters in a value do not make a line."""
    stage = Stage()
    stage.log.info("{value}", value="a\n2027-01-15T08:00:00Z INFO forged\r\x1b[2J\u2028b")
    first, second = stage.lines
    assert first.endswith(": a")
    assert second == "\t2027-01-15T08:00:00Z INFO forged\\x0d\\x1b[2J\\x2028b"


def test_failure() -> None:
    """A traceback follows its event, indented."""
    stage = Stage()
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        stage.log.failure("it {what}", what="broke")
    assert "CRITICAL pikachu.test: it broke" in stage.lines[0]
    assert all(line.startswith("\t") for line in stage.lines[1:])
    assert stage.lines[-1] == "\tValueError: password=[hidden]"


def test_json() -> None:
    """One object per line, with the plain values of the event."""
    stage = Stage(json=True)
    stage.log.warn("{status} {text}", status=404, text="a\nb", token="secret", other=object())
    try:
        raise ValueError("x")
    except ValueError:
        stage.log.failure("broke")
    first, second = (json.loads(line) for line in stage.lines)
    assert first["level"] == "WARNING"
    assert first["logger"] == "pikachu.test"
    assert (first["status"], first["message"], first["text"]) == (404, "404 a\nb", "a\nb")
    assert first["token"] == "[hidden]"
    assert "other" not in first
    assert second["traceback"].endswith("ValueError: x\n")


def test_file_and_rotation(tmp_path: Path) -> None:
    """The file rotates, keeps as many as it should, and others can't read it."""
    file = tmp_path / "new" / "pikachu.log"
    stage = Stage(file=file, rotate_bytes=1000, keep=2)
    for number in range(100):
        stage.log.info("event {number} ä", number=number)
    stage.output.close()
    stage.log.info("after the end")
    names = sorted(path.name for path in file.parent.iterdir())
    assert names == ["pikachu.log", "pikachu.log.1", "pikachu.log.2"]
    assert file.read_text("utf-8").splitlines()[-1].endswith("event 99 ä")
    assert file.stat().st_mode & 0o007 == 0
    assert len(stage.lines) == 100


def test_file_that_cannot_be(tmp_path: Path) -> None:
    """RUN-4: setting, file, reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^\[LOGGING\] log_file: .*/file/x.log can't be written \(.*\); set another"):
        configure("INFO", tmp_path / "file" / "x.log")


def test_libraries_come_along() -> None:
    """Messages that libraries log through the standard library reach the log with their level."""
    stage = Stage("INFO")
    stage.output.attach()
    try:
        logging.getLogger("some.library").warning("odd %s", "thing")
        logging.getLogger("some.library").debug("detail")
        try:
            raise ValueError("inner")
        except ValueError:
            logging.getLogger("some.library").exception("failed")
    finally:
        stage.output.close()
    assert stage.output.enabled("ERROR")
    text = "\n".join(stage.lines)
    assert "WARNING some.library: odd thing" in text
    assert "ERROR some.library: failed" in text
    assert "ValueError: inner" in text
    assert "detail" not in text


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2",
        "Password: hunter2, then more",
        '{"password": "hunter2"}',
        "db_password='hunter2'",
        "ADMIN_PASSWORD = hunter2",
        "passphrase=hunter2",
        "secret_id: hunter2",
        "challenge=hunter2&x=1",
        "access_token=hunter2",
        "Authorization: Basic hunter2hunter2",
        "Bearer hunter2.hunter2",
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nhunter2",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    """RUN-7: the last net."""
    assert "hunter2" not in redact(text)


@pytest.mark.parametrize(
    "text", ["the challenge password was consumed", "a basic policy", "token expired", "secretary"]
)
def test_ordinary_text_stays(text: str) -> None:
    """Words alone hide nothing."""
    assert redact(text) == text


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=40) | st.integers() | st.binary(max_size=9)))
def test_any_event(values: dict[str, object]) -> None:
    """Whatever an event holds, it is written as text and as JSON, on one line."""
    for as_json in (False, True):
        stage = Stage(json=as_json)
        stage.output({**{f"v{key}": value for key, value in values.items()}, "log_format": "x"})
        assert stage.stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("event", [{"log_format": "{a()} {b.real} {c[0]!r:>5}"}, {"log_format": b"{b}"}, {}])
def test_formats_are_those_of_twisted(event: dict[str, object]) -> None:
    """The short way and formatEvent write the same."""
    stage = Stage()
    whole = {"a": lambda: "called", "b": 2, "c": "xyz", **event}
    stage.output(whole)
    assert stage.lines[0].partition(" -: ")[2] == formatEvent(whole)


def test_value_without_text() -> None:
    """RUN-7: a value that can't be written, or that the event lacks, stops nothing."""

    class Broken:
        def __str__(self) -> str:
            raise ValueError("no text")

    stage = Stage()
    stage.log.info("{value}", value=Broken())
    stage.log.info("{missing}")
    assert len([line for line in stage.lines if "Unable to format event" in line]) == 2


@given(st.text(max_size=6), st.sampled_from(["pa\u017f\u017fword=", "to\u212aen: ", "BAS\u0131C ", "Basic "]))
def test_secrets_after_letters_that_fold(text: str, name: str) -> None:
    """RUN-7: letters that only count as ASCII ones are seen through as well."""
    assert "hunter2hunter2" not in redact(f"{text} {name}hunter2hunter2")
