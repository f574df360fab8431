"""Rows of lists: cells with labels, in the columns that are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest
from markupsafe import Markup

from pikachu.web.ui.rendering import cells
from pikachu.web.ui.tables import Heading, ListView

ID = Heading("ID", "id", "", "")
NAME = Heading('"Name"', "name", "", "", part="title")
POLICY = Heading("Policy", "policy", "", "", text=lambda item: item.policy)
ROW = Markup('\n<td>1</td>\n<td class="name"><a href="/x">&lt;b&gt;</a></td>\n')


@dataclass
class Item:
    policy: str


def view(*headings: Heading) -> ListView:
    """A list whose template has cells for id and name."""
    return cast(ListView, type("View", (), {"headings": headings, "cells": ("id", "name")})())


def test_cells() -> None:
    """Each cell has the label of its column, escaped, and what it is on a card."""
    assert cells(ROW, view(ID, NAME), None) == (
        '<td data-label="ID" data-part="">1</td>\n'
        '<td data-label="&#34;Name&#34;" data-part="title" class="name"><a href="/x">&lt;b&gt;</a></td>\n'
    )


def test_chosen_columns() -> None:
    """A hidden column has no cell, and one without a cell in the template shows its text, escaped."""
    row = cells(ROW, view(NAME, POLICY), Item("<lab>"))
    assert row.endswith('<td data-label="Policy" data-part="">&lt;lab&gt;</td>')
    assert ">1<" not in row
    assert cells(ROW, view(POLICY), Item("")) == '<td data-label="Policy" data-part="">\u2013</td>'


@pytest.mark.parametrize("row", ["<td>1</td>", "<td>1</td><td>2</td><td>3</td>"])
def test_another_number_of_cells(row: str) -> None:
    """A row whose cells are not those of the columns is a defect of its page."""
    item: Any = None
    with pytest.raises(ValueError, match="argument 2"):
        cells(Markup(row), view(ID, NAME), item)
