"""Two nodes: servers with the same CA, each with its own files and ports, on one PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from pikachu.storage.migrate import migrate
from tests.support.ports import free_ports
from tests.support.server import Server, end, make_server
from tests.support.stack import Changes

#: The settings of nodes in tests: an outage is noticed soon.
NODE_CHANGES: Final = {("DATABASE", "timeout"): "2s", ("CRL", "crl_delay"): "0.2s"}


def copy_node(first: Server, folder: Path, changes: dict[tuple[str, str], str] | None = None) -> Server:
    """Return another node of the same CA: a copy of its files, with other ports.

    :param changes: settings of the copy, each of which the original has.
    """
    shutil.copytree(first.folder, folder)
    ports = dict(zip(first.ports, free_ports(len(first.ports)), strict=True))
    config = folder / "config.ini"
    text = config.read_text()
    for name, port in first.ports.items():
        text = text.replace(f" = {port}\n", f" = {ports[name]}\n")
    for (_, key), value in (changes or {}).items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"{key} = "))
        text = text.replace(line, f"{key} = {value}")
    config.write_text(text)
    return Server(replace(first.files, folder=folder, config=config), ports)


@contextmanager
def two_nodes(
    folder: Path, url: str, key_types: tuple[str, ...] = ("p256",), *, changes: Changes | None = None
) -> Iterator[tuple[Server, Server]]:
    """Two nodes that are not started yet; they are killed at the end."""
    migrate(url)
    settings = {("DATABASE", "url"): url, **NODE_CHANGES, **(changes or {})}
    first = make_server(folder / "a", key_types, changes=settings)
    second = copy_node(first, folder / "b")
    try:
        yield first, second
    finally:
        end(first)
        end(second)
