"""Builds the worker pools of the server and of commands."""

from __future__ import annotations

import os
from dataclasses import fields

from pikachu.core.concurrency import ImmediatePool, IThreadCaller, WorkerPool
from pikachu.server.application import Pools


def threaded_pools(reactor: IThreadCaller) -> Pools:
    """Return the server's pools."""
    processors = os.cpu_count() or 1
    return Pools(
        WorkerPool("signing", reactor, processors, queue=2000),
        WorkerPool("passwords", reactor, max(1, processors // 2), queue=200),
        WorkerPool("files", reactor, 2, queue=100),
        WorkerPool("keys", reactor, max(1, processors // 2), queue=50),
        # An RSA-4096 key takes half a second or more, and devices give up after some ten seconds.
        WorkerPool("server-keys", reactor, max(1, processors // 2), queue=20),
        WorkerPool("inspection", reactor, 2, queue=20),
        WorkerPool("rotation", reactor, 1, queue=10),
        WorkerPool("policies", reactor, 1, queue=200),
        # pkilint is a process that lints one certificate at a time.
        WorkerPool("lint", reactor, 1, queue=50),
        WorkerPool("indexing", reactor, 1, queue=1),
        WorkerPool("token", reactor, 4, queue=500, max_lost=8),
        WorkerPool("vault", reactor, 8, queue=500, max_lost=8),
        WorkerPool("directory", reactor, 4, queue=100, max_lost=4),
        WorkerPool("provider", reactor, 4, queue=50, max_lost=4),
        WorkerPool("broker", reactor, 2, queue=10, max_lost=2),
        WorkerPool("notices", reactor, 4, queue=50, max_lost=4),
    )


def immediate_pools() -> Pools:
    """Return pools for commands, which run everything at once."""
    pool = ImmediatePool()
    return Pools(*[pool] * len(fields(Pools)))
