"""The order of resources in a listener's tree."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

import pytest

from pikachu.http.tree import ParentDirectory


class Named(Resource):
    """Answers with its name."""

    isLeaf = True

    def __init__(self, name: bytes) -> None:
        Resource.__init__(self)
        self._name = name

    def render(self, request: object) -> bytes:
        """The name."""
        return self._name


@pytest.mark.parametrize(
    ("below", "answers"),
    [
        ([], b"page"),
        ([b""], b"page"),
        ([b"ec"], b"page"),
        ([b"ec", b""], b"page"),
        ([b"ec.crt"], b"file"),
        ([b"ec", b"chain.pem"], b"file"),
        ([b"a.b", b"ec"], b"page"),
    ],
)
def test_pages_beside_files(below: list[bytes], answers: bytes) -> None:
    """UI-6: names with a suffix are files, all else is pages."""
    request: Any = DummyRequest(below)
    assert ParentDirectory(Named(b"page"), Named(b"file")).render(request) == answers
