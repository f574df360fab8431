"""Ports that tests hand out: one process never gives what another one has reserved."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.support.ports import BLOCK_SIZE, Ports, free_ports


def test_blocks_of_two_processes_differ() -> None:
    """A second process takes the next block; a block is free again once its owner closes it."""
    mine = set(free_ports(3))
    program = "from tests.support.ports import free_ports; print(*free_ports(50))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    others = {int(port) for port in done.stdout.split()}
    assert len(others) == 50
    assert not others & mine
    first, second = Ports(), Ports()
    assert not set(first.ports) & set(second.ports)
    first.close()
    second.close()


def test_a_port_in_use_is_passed_over() -> None:
    """A port in use is skipped, and the error names how many are free."""
    ports = Ports()
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", ports.ports[1]))
        busy.listen()
        assert ports.take(BLOCK_SIZE - 2) == [port for port in ports.ports if port != ports.ports[1]]
        with pytest.raises(RuntimeError, match=f"{BLOCK_SIZE - 2} of the ports .* are free"):
            ports.take(BLOCK_SIZE - 1)
    ports.close()
