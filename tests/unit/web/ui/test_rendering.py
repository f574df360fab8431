"""Cells of lists as phones show them."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from pikachu.web.ui.rendering import cells
from pikachu.web.ui.tables import Heading

HEADINGS = (Heading("ID", "id", "", ""), Heading('"Name"', "name", "", "", part="title"))


def test_cells() -> None:
    """Each cell has the label of its column, escaped, and what it is on a card."""
    row = Markup('\n<td>1</td>\n<td class="name"><a href="/x">&lt;b&gt;</a></td>\n')
    assert cells(row, HEADINGS) == (
        '<td data-label="ID" data-part="">1</td>\n'
        '<td data-label="&#34;Name&#34;" data-part="title" class="name"><a href="/x">&lt;b&gt;</a></td>\n'
    )


@pytest.mark.parametrize("row", ["<td>1</td>", "<td>1</td><td>2</td><td>3</td>"])
def test_another_number_of_cells(row: str) -> None:
    """A row whose cells are not those of the columns is a defect of its page."""
    with pytest.raises(ValueError, match="argument 2"):
        cells(Markup(row), HEADINGS)
