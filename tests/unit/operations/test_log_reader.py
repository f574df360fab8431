"""The end of the log is read from behind (UI-9)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.operations.log_reader import LogFilter, last_lines, last_octets


def line(number: int, level: str = "INFO") -> str:
    """A line as pikachu.server.log_output writes it."""
    return f"2026-03-04T05:06:07.{number % 1000:03}Z {level} pikachu.http.request: line {number}\n"


def texts(file: Path, count: int, keyword: str = "") -> list[str]:
    """The numbers of the lines found."""
    return [one.text.rpartition(" ")[2] for one in last_lines(file, count, LogFilter(keyword))]


def test_the_last_lines(tmp_path: Path) -> None:
    """The oldest of them first."""
    file = tmp_path / "pikachu.log"
    file.write_text("".join(line(number) for number in range(5_000)), encoding="utf-8")
    assert texts(file, 3) == ["4997", "4998", "4999"]
    assert texts(file, 5_000) == [str(number) for number in range(5_000)]
    assert len(texts(file, 6_000)) == 5_000


def test_files_that_were_set_aside(tmp_path: Path) -> None:
    """Lines missing from the newest file are read from the rotated ones."""
    file = tmp_path / "pikachu.log"
    for number, lines in enumerate((range(200, 203), range(100, 200), range(100))):
        path = tmp_path / (f"pikachu.log.{number}" if number else "pikachu.log")
        path.write_text("".join(line(one) for one in lines), encoding="utf-8")
    assert texts(file, 150) == [str(number) for number in range(53, 203)]
    assert texts(file, 1_000) == [str(number) for number in range(203)]
    file.write_bytes(b"")
    assert texts(file, 2) == ["198", "199"]


def test_keywords(tmp_path: Path) -> None:
    """In whatever case, through all files."""
    file = tmp_path / "pikachu.log"
    file.write_text(line(1, "ERROR") + line(2) + line(3, "ERROR"), encoding="utf-8")
    (tmp_path / "pikachu.log.1").write_text(line(0, "ERROR"), encoding="utf-8")
    assert texts(file, 10, "error") == ["0", "1", "3"]
    assert texts(file, 2, "ERROR") == ["1", "3"]
    assert texts(file, 2, "nowhere") == []


def test_levels(tmp_path: Path) -> None:
    """Of text and of JSON; further lines of an event have none."""
    file = tmp_path / "pikachu.log"
    file.write_text(
        line(1, "WARNING") + '\tTraceback\n{"time":"2026-03-04T05:06:07.000Z","level":"ERROR","logger":"x"}\n',
        encoding="utf-8",
    )
    assert [one.level for one in last_lines(file, 10)] == ["WARNING", "", "ERROR"]


def test_lowest_level(tmp_path: Path) -> None:
    """Lines that continue an event go with it; what looks like a level elsewhere is none."""
    file = tmp_path / "pikachu.log"
    file.write_text(
        line(0, "DEBUG")
        + line(1, "WARNING")
        + "\tTraceback of 1\n"
        + line(2)
        + "\t2026-03-04T05:06:07.000Z ERROR pikachu: not of 2\n"
        + '{"time":"2026-03-04T05:06:07.000Z","level":"CRITICAL","logger":"x","message":"of 3"}\n',
        encoding="utf-8",
    )

    def numbers(level: str, keyword: str = "") -> list[str]:
        found = last_lines(file, 10, LogFilter(keyword, level))
        return [one.text.rstrip('"}').rpartition(" ")[2] for one in found]

    assert numbers("TRACE") == numbers("") == ["0", "1", "1", "2", "2", "3"]
    assert numbers("INFO") == ["1", "1", "2", "2", "3"]
    assert numbers("WARNING") == ["1", "1", "3"]
    assert numbers("ERROR") == numbers("CRITICAL") == ["3"]
    assert numbers("WARNING", "traceback") == ["1"]
    assert "Traceback of 1" in last_lines(file, 2, LogFilter(level="WARNING"))[0].text


def test_octets(tmp_path: Path) -> None:
    """Whole lines of the end, within the bound, with what strangers write shown as digits."""
    file = tmp_path / "pikachu.log"
    file.write_bytes("one\nzwei ä\n\x1bthree\n".encode())
    assert last_octets(file, 100).decode() == "one\nzwei ä\n\\x1bthree\n"
    assert last_octets(file, 18).decode() == "zwei ä\n\\x1bthree\n"
    assert last_octets(file, 17).decode() == "\\x1bthree\n"
    assert last_octets(file, 9) == b""
    assert last_octets(file, 100, LogFilter("TWO")) == b""


def test_what_strangers_write(tmp_path: Path) -> None:
    """Control characters and changes of writing direction are shown as digits."""
    file = tmp_path / "pikachu.log"
    file.write_bytes(b"a\x1b[31mred\x00\xff \xe2\x80\xae<b>\r\n")
    (found,) = last_lines(file, 5)
    assert found.text == "a\\x1b[31mred\\x00\ufffd \\x202e<b>"


def test_long_lines(tmp_path: Path) -> None:
    """One without end is cut, and costs no more than its bound."""
    file = tmp_path / "pikachu.log"
    file.write_bytes(line(1).encode() + b"x" * 1_000_000 + b"\n" + line(2).encode())
    found = last_lines(file, 100)
    assert found[-1].text.endswith("line 2")
    assert found[0].text.endswith("line 1")
    assert all(len(one.text) <= 4_001 for one in found)


def test_only_so_much_is_read(tmp_path: Path) -> None:
    """A filter that fits nothing does not read gigabytes."""
    file = tmp_path / "pikachu.log"
    with file.open("wb") as opened:
        opened.write(b"the first line\n")
        opened.truncate(64 * 1024 * 1024)
    assert last_lines(file, 5, LogFilter("the first line")) == []


def test_a_missing_file(tmp_path: Path) -> None:
    """A missing log file is reported."""
    with pytest.raises(FileNotFoundError):
        last_lines(tmp_path / "nowhere.log", 5)


@given(content=st.binary(max_size=500), count=st.integers(1, 20))
def test_any_content(tmp_path_factory: pytest.TempPathFactory, content: bytes, count: int) -> None:
    """Never more lines than asked for, and all can be shown."""
    file = tmp_path_factory.mktemp("log") / "x.log"
    file.write_bytes(content)
    found = last_lines(file, count)
    assert len(found) == min(count, sum(1 for one in content.split(b"\n") if one))
    assert all(one.text.isprintable() for one in found)
