"""Python packages of other projects that some tests use."""

from __future__ import annotations

import importlib
from typing import Any

from tests.support.interop import missing


def require_package(name: str) -> Any:
    """Import a package; skip the test where it is not installed, and fail it where ``PIKACHU_REQUIRE_INTEROP`` is 1."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"the package {name} is not installed")
