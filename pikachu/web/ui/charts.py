"""Charts as SVG, rendered here (UI-3): colours are classes of the style sheet, so they follow light and dark, and the
strict Content-Security-Policy allows them.

A chart's units are a phone's pixels: its text is readable there, and larger on a desktop.  A table with the same
numbers serves screen readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

_WIDTH: Final = 340
_HEIGHT: Final = 160
_LEFT: Final = 30
_TOP: Final = 15
_BOTTOM: Final = 22
_ROW: Final = 30
# The least distance of bars that have room for their numbers above them; else only the highest has its number.
_NUMBER: Final = 20
#: Number of colours in the style sheet.
COLOURS: Final = 6


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one colour.

    :param colour: 1 to ``COLOURS``.
    :param links: for each value the address of what it counts.
    """

    name: str
    values: Sequence[int]
    colour: int = 1
    links: Sequence[str] = ()

    def link(self, index: int) -> str:
        """Return the address of what a value counts, or an empty string."""
        return self.links[index] if self.links and self.values[index] else ""

    @property
    def total(self) -> int:
        """Return the sum of the values."""
        return sum(self.values)


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, and its numbers.

    :param svg: the drawing.
    :param columns: headings of the table.
    :param rows: its rows; the first cell is the row's heading.
    :param links: for each cell the address of what it counts, or an empty string.
    """

    svg: Markup
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    series: Sequence[Series]
    links: Sequence[Sequence[str]]


def short(number: int) -> str:
    """Format a number in at most four characters: 950, 1.2k, 34k, 5M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            text = f"{number / size:.1f}" if number < 10 * size else str(number // size)
            return text.removesuffix(".0") + unit
    return str(number)


def ceiling(number: int) -> int:
    """Return the upper end of an axis: the next 1, 2, 4, 5 or 10 times a power of ten."""
    size = 1
    while True:
        for step in (1, 2, 4, 5):
            if number <= step * size:
                return step * size
        size *= 10


def bars(
    name: str, title: str, labels: Sequence[str], series: Sequence[Series], *, heading: str, every: int = 1
) -> Chart:
    """Draw vertical bars; several series are stacked.

    :param name: prefix of the chart's element ids, unique in the page.
    :param labels: one for each bar.
    :param heading: heading of the labels.
    :param every: number of bars per label.
    """
    totals = [sum(one.values[index] for one in series) for index in range(len(labels))]
    top = ceiling(max([1, *totals]))
    height = _HEIGHT - _TOP - _BOTTOM
    step = (_WIDTH - _LEFT) / max(1, len(labels))
    shapes = [_axis(value, _TOP + height - height * value / top) for value in sorted({0, top // 2, top})]
    for index, label in enumerate(labels):
        x = _LEFT + index * step
        base = 0
        for one in series:
            value = one.values[index]
            if value:
                y = _TOP + height - height * (base + value) / top
                tooltip = f"{label}: {value:,}" + (f" {one.name}" if len(series) > 1 else "")
                bar = _bar(x + step * 0.12, y, step * 0.76, height * value / top, one.colour, tooltip)
                shapes.append(_linked(bar, one.link(index)))
                base += value
        if base and (step >= _NUMBER or base == max(totals)):
            y = _TOP + height - height * base / top - 3
            shapes.append(_text(*_place(index, len(labels), x, step, y), short(base)))
        if index % every == 0:
            shapes.append(_text(*_place(index, len(labels), x, step, _HEIGHT - 6.0), label))
    description = f"{sum(totals):,} in all" + (f", at most {max(totals):,} in one bar" if totals else "")
    columns = [heading, *(one.name for one in series)]
    rows = [[label, *(f"{one.values[index]:,}" for one in series)] for index, label in enumerate(labels)]
    links = [["", *(one.link(index) for one in series)] for index in range(len(labels))]
    return Chart(_svg(name, title, description, _HEIGHT, shapes), columns, rows, series, links)


def ranks(
    name: str,
    title: str,
    values: Iterable[tuple[str, int]],
    *,
    heading: str,
    counted: str,
    link: Callable[[str], str] = lambda _: "",
) -> Chart:
    """Draw horizontal bars with their names above them, in the order of *values*.

    :param heading: heading of the names.
    :param counted: heading of the numbers.
    :param link: returns the address of what the number of a name counts, or an empty string.
    """
    ranking = list(values)
    total = sum(value for _, value in ranking)
    greatest = max([1, *(value for _, value in ranking)])
    shapes = []
    for index, (label, value) in enumerate(ranking):
        y = index * _ROW
        share = f"{value:,} ({100 * value / max(1, total):.0f} %)"
        shapes.append(_text(0, y + 11, "start", label[:40]))
        shapes.append(_text(_WIDTH, y + 11, "end", share))
        bar = _bar(0, y + 16, max(2.0, _WIDTH * value / greatest), 8, 1 + index % COLOURS, f"{label}: {share}")
        shapes.append(_linked(bar, link(label)))
    description = f"{total:,} in all"
    rows = [[label, f"{value:,}"] for label, value in ranking]
    height = max(1, len(ranking)) * _ROW
    links = [["", link(label)] for label, _ in ranking]
    return Chart(_svg(name, title, description, height, shapes), [heading, counted], rows, (), links)


def _svg(name: str, title: str, description: str, height: int, shapes: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {width} {height}" role="group" aria-labelledby="{name}-title {name}-desc">'
        '<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>{parts}</svg>'
    ).format(
        width=_WIDTH, height=height, name=name, title=title, description=description, parts=Markup("").join(shapes)
    )


def _axis(value: int, y: float) -> Markup:
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"></line>').format(_LEFT, _WIDTH, y, y)
    return line + _text(_LEFT - 4, y + 3.5, "end", short(value))


def _bar(x: float, y: float, width: float, height: float, colour: int, tooltip: str) -> Markup:
    return Markup(
        '<rect class="fill-{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
    ).format(colour, x, y, width, height, tooltip)


def _linked(bar: Markup, link: str) -> Markup:
    """Return the bar in a link for pointers; the table of numbers has the same one for keyboards and readers."""
    return Markup('<a href="{}" tabindex="-1">{}</a>').format(link, bar) if link else bar


def _place(index: int, count: int, x: float, step: float, y: float) -> tuple[float, float, str]:
    """Return the position and anchor of a text of a bar: centred, but within the drawing."""
    if index == 0:
        return x, y, "start"
    return (_WIDTH, y, "end") if index == count - 1 else (x + step / 2, y, "middle")


def _text(x: float, y: float, anchor: str, text: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, escape(text))
