"""Sheets of labels for the devices of a batch, of the pages and REST (ENR-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pikachu.accounts.batches import BatchPassword, PasswordPages
from pikachu.core.errors import Conflict, NotFound
from pikachu.core.model.batches import EnrollmentBatch
from pikachu.core.model.list_queries import ListQuery
from pikachu.documents.labels import Label, LabelLayout, LabelSheet, label_sheet
from pikachu.x509.names import parse_name

PDF: Final = b"application/pdf"
#: Names of a batch whose labels are in one document: ten A4 sheets, which take some seconds.
PART: Final = 240


def parts_of(batch: EnrollmentBatch) -> int:
    """Return the number of documents that have the labels of a batch together."""
    return -(-batch.total // PART)


async def labels_of(fetch: PasswordPages, part: int) -> list[Label]:
    """Return the labels of the devices of a part that can still be enrolled.

    :param part: from 1; by the position of the names in the batch.

    Fails with NotFound when there is no such part, and with Conflict when none of its devices can be enrolled.
    """
    query, found = ListQuery(limit=PART, sort="id"), None
    for number in range(1, part + 1):
        found = await fetch(query)
        if found.next_cursor is None and number < part:
            raise NotFound("This batch has fewer parts.")
        query = replace(query, cursor=found.next_cursor)
    labels = [] if found is None else _labels(found.items)
    if not labels:
        raise Conflict("There is nothing to print: each of these devices is enrolled, or its password has expired.")
    return labels


def _labels(passwords: Sequence[BatchPassword]) -> list[Label]:
    return [Label(_name(one), one.text) for one in passwords if one.text and one.challenge.names is not None]


def _name(password: BatchPassword) -> str:
    names = password.challenge.names
    assert names is not None  # noqa: S101 - those of a batch are bound
    return parse_name(names.subject_der).common_name or names.subject


def labels_pdf(batch: EnrollmentBatch, url: str, labels: Sequence[Label], layout: LabelLayout) -> bytes:
    """Return the sheet; to be called in a pool."""
    expires = f"{batch.expires_at:%Y-%m-%d %H:%M} UTC"
    return label_sheet(LabelSheet(batch.label, url, expires), labels, layout)


def labels_filename(batch: EnrollmentBatch, part: int) -> str:
    """Return the name of the file."""
    number = f"-{part}" if parts_of(batch) > 1 else ""
    return f"batch-{batch.id}-labels{number}.pdf"
