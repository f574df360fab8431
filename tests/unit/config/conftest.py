"""Small configurations to start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pikachu.config.configuration import Configuration
from pikachu.config.loading import load

Load = Callable[..., Configuration]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Load a text as ``config.ini`` of a folder of its own."""

    def load_it(text: str | bytes, environ: Mapping[str, str] | None = None) -> Configuration:
        path = tmp_path / "config.ini"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, environ or {})

    return load_it
