"""Charts (UI-3): the drawing matches the data."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree as Tree

import pytest

from pikachu.web.ui.charts import Series, bars, ceiling, ranks, short


def bars_of(svg: str) -> list[tuple[float, float, float, str]]:
    """(x, y, height, tip) of each bar."""
    root = Tree.fromstring(svg)
    return [
        (float(one.attrib["x"]), float(one.attrib["y"]), float(one.attrib["height"]), one.findtext("title") or "")
        for one in root.iter("rect")
    ]


def test_bars_stand_upon_each_other() -> None:
    """Heights are as the values, and a bar begins where the one below ends."""
    chart = bars("a", "Title", ["mon", "tue"], [Series("EST", [4, 0], 1), Series("UI", [4, 2], 2)], heading="Day")
    first, second, third = bars_of(chart.svg)
    assert first[2] == pytest.approx(second[2])
    assert second[1] + second[2] == pytest.approx(first[1], abs=0.11)
    assert third[2] == pytest.approx(second[2] / 2, abs=0.11)
    assert [one[3] for one in (first, second, third)] == ["mon: 4 EST", "mon: 4 UI", "tue: 2 UI"]
    assert list(chart.columns) == ["Day", "EST", "UI"]
    assert [list(row) for row in chart.rows] == [["mon", "4", "4"], ["tue", "0", "2"]]


@pytest.mark.parametrize("values", [[], [0], [0] * 30, [1], [10**9] * 30])
def test_all_numbers_fit(values: list[int]) -> None:
    """Nothing is drawn outside, whatever the values."""
    chart = bars("a", "T", [str(n) for n in range(len(values))], [Series("x", values)], heading="n", every=7)
    root = Tree.fromstring(chart.svg)
    width, height = (float(one) for one in root.attrib["viewBox"].split()[2:])
    for x, y, tall, _ in bars_of(chart.svg):
        assert 0 <= x <= width
        assert 0 <= y <= y + tall <= height


def test_labels_do_not_overlap() -> None:
    """On a phone, where a unit is a pixel, there is room between the labels of 30 days."""
    chart = bars("a", "T", [f"12-{day:02}" for day in range(1, 31)], [Series("x", [1] * 30)], heading="d", every=7)
    places = [float(x) for x in re.findall(r'<text x="([0-9.]+)" y="154.0"', chart.svg)]
    assert len(places) == 5
    assert min(b - a for a, b in itertools.pairwise(places)) > 40


def test_it_is_described() -> None:
    """Title and description are there for who can't see it, and texts are only text."""
    chart = ranks("k", "Keys <b>", [("RSA/2048", 3), ("<i>", 1)], heading="Key", counted="N")
    root = Tree.fromstring(chart.svg)
    assert root.findtext("title") == "Keys <b>"
    assert root.findtext("desc") == "4 in all"
    assert "<i>" not in chart.svg
    assert "3 (75 %)" in chart.svg
    assert "style" not in chart.svg


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1000, "1k"), (1250, "1.2k"), (34_500, "34k"), (2 * 10**6, "2M")]
)
def test_short(number: int, text: str) -> None:
    """Axis labels are short."""
    assert short(number) == text


@pytest.mark.parametrize(("number", "end"), [(0, 1), (1, 1), (3, 4), (6, 10), (11, 20), (450, 500), (999, 1000)])
def test_ceiling(number: int, end: int) -> None:
    """An axis ends at a round number."""
    assert ceiling(number) == end
