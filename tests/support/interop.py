"""Programs of other projects that some tests run."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def require(*names: str) -> None:
    """Skip the test where one of these programs is missing; fail it where ``PIKACHU_REQUIRE_INTEROP`` is 1."""
    for name in names:
        if shutil.which(name) is None:
            missing(f"{name} is not installed")


def missing(reason: str) -> NoReturn:
    """Skip the test for what this machine lacks; fail it where ``PIKACHU_REQUIRE_INTEROP`` is 1."""
    if os.environ.get("PIKACHU_REQUIRE_INTEROP") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
