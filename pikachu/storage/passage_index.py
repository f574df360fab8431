"""A full-text index of passages in memory: SQLite's FTS5 with BM25 and stemming by Porter (UI-11)."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable
from typing import Final

from pikachu.core.concurrency import new_lock
from pikachu.core.errors import Unavailable

#: The weight of a word in a passage's heading and in its title; in its text it is 1.
_HEADING: Final = 6.0
_TITLE: Final = 2.0
# FTS5's own floor for the rarity of a phrase that more than half of the passages have.
_LEAST_RARITY: Final = 1e-6
_TOKENIZERS: Final = {
    "literal": "unicode61 remove_diacritics 2",
    "stemmed": "porter unicode61 remove_diacritics 2",
}


class PassageIndex:
    """Finds passages by phrases.  Each call blocks for about a tenth of a millisecond; threads take turns.

    :param passages: heading, title and text of each; the numbers of passages are their positions.
    :raises Unavailable: when SQLite was built without FTS5.
    """

    def __init__(self, passages: Iterable[tuple[str, str, str]]) -> None:
        self._lock = new_lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        rows = [(number, *passage) for number, passage in enumerate(passages)]
        self._size = len(rows)
        try:
            for table, tokenizer in _TOKENIZERS.items():
                self._connection.execute(
                    f"CREATE VIRTUAL TABLE {table} USING fts5(heading, title, body, tokenize = '{tokenizer}')"
                )
        except sqlite3.OperationalError as error:
            raise Unavailable(
                "The guide can't be searched: this Python's SQLite lacks FTS5.", error=str(error)
            ) from error
        with self._connection:
            for table in _TOKENIZERS:
                self._connection.executemany(
                    f"INSERT INTO {table}(rowid, heading, title, body) VALUES (?, ?, ?, ?)",  # noqa: S608
                    rows,
                )

    def __len__(self) -> int:
        """Return the number of passages."""
        return self._size

    def occurrences(self, phrase: str, *, stemmed: bool = False, prefix: bool = False) -> dict[int, float]:
        """Return how much each passage is about a phrase: BM25 without the rarity of the phrase, from 0 to 2.2.

        :param phrase: words in any punctuation.
        :param stemmed: whether the endings of words don't matter.
        :param prefix: whether its last word may go on.
        """
        words = " ".join("".join(one if one.isalnum() else " " for one in phrase).split())
        if not words:
            return {}
        table = "stemmed" if stemmed else "literal"
        with self._lock:
            rows = self._connection.execute(
                f"SELECT rowid, bm25({table}, {_HEADING}, {_TITLE}, 1.0) FROM {table} WHERE {table} MATCH ?",  # noqa: S608
                (f'"{words}"*' if prefix else f'"{words}"',),
            ).fetchall()
        rarity = max(_LEAST_RARITY, math.log((self._size - len(rows) + 0.5) / (len(rows) + 0.5)))
        return {number: -score / rarity for number, score in rows}
