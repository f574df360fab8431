"""The form of every refusal."""

from __future__ import annotations

from tests.support.stack import Response


def refused(response: Response, status: int) -> str:
    """The one line of text of a refusal."""
    assert response.status == status, (response.status, response.body)
    assert response.headers["Content-Type"].startswith("text/plain")
    line = response.body.decode()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    challenge = response.headers.get("WWW-Authenticate")
    assert challenge == ('Basic realm="estrealm"' if status == 401 else None)
    return line
