"""A directory that misbehaves by script, for what no real one can be made to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, TypeAlias

BIND_REQUEST: Final = 0x60
SEARCH_REQUEST: Final = 0x63
SUCCESS: Final = 0
#: Returns the bytes of the answer to a request with that message id; None: close the connection.
Answer: TypeAlias = Callable[[int], bytes | None]


def der(tag: int, *contents: bytes) -> bytes:
    """Return a value in DER."""
    body = b"".join(contents)
    if len(body) < 128:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def take(data: bytes) -> tuple[bytes, bytes]:
    """Return the contents of the first value, and the rest."""
    size, begin = data[1], 2
    if size & 0x80:
        begin += size & 0x7F
        size = int.from_bytes(data[2:begin], "big")
    return data[begin : begin + size], data[begin + size :]


def message(message_id: int, operation: bytes) -> bytes:
    """Return an LDAPMessage (RFC 4511 section 4.1.1)."""
    return der(0x30, der(0x02, message_id.to_bytes(message_id.bit_length() // 8 + 1, "big")), operation)


def result(tag: int, code: int, *more: bytes) -> bytes:
    """Return an LDAPResult."""
    return der(tag, der(0x0A, bytes((code,))), der(0x04), der(0x04), *more)


def bound(code: int = SUCCESS) -> Answer:
    """Answer a bind."""
    return lambda number: message(number, result(0x61, code))


def entry(dn: bytes, attributes: Mapping[str, list[bytes]]) -> bytes:
    """Return a SearchResultEntry."""
    values = (
        der(0x30, der(0x04, name.encode()), der(0x31, *(der(0x04, one) for one in every)))
        for name, every in attributes.items()
    )
    return der(0x64, der(0x04, dn), der(0x30, *values))


def found(*entries: bytes, code: int = SUCCESS, more: bytes = b"") -> Answer:
    """Answer a search with entries and a result."""

    def answer(number: int) -> bytes:
        return b"".join((*(message(number, one) for one in entries), message(number, result(0x65, code, more))))

    return answer


class Cut(bytes):
    """Bytes after which the connection ends."""


def cut(data: bytes) -> Answer:
    """Answer with these bytes and the end of the connection."""
    return lambda _: Cut(data)


def raw(data: bytes | None) -> Answer:
    """Answer with these bytes, or with the end of the connection."""
    return lambda _: data


class ScriptedDirectory:
    """Answers requests by the tag of their operation.

    :ivar port: of the loopback interface.
    :ivar binds: the DN and password of each bind.
    :ivar requests: the tags of all requests so far.
    :ivar connections: number of connections so far.
    """

    def __init__(self) -> None:
        self.answers: dict[int, list[Answer]] = {}
        self.binds: list[tuple[bytes, bytes]] = []
        self.requests: list[int] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def script(self, binds: list[Answer], searches: list[Answer]) -> None:
        """Answer the next requests of each kind so, on new connections; the last answer is repeated."""
        self.hang_up()
        self.answers = {BIND_REQUEST: list(binds), SEARCH_REQUEST: list(searches)}

    def close(self) -> None:
        """Close everything."""
        # A thread that waits in accept is not woken by a mere close.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    def hang_up(self) -> None:
        """Close all connections."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as stream:
            while True:
                head = stream.read(2)
                if len(head) < 2:
                    return
                size = head[1]
                if size & 0x80:
                    size = int.from_bytes(stream.read(size & 0x7F), "big")
                body = stream.read(size)
                number, operation = take(body)
                tag = operation[0]
                self.requests.append(tag)
                if tag == BIND_REQUEST:
                    self.binds.append(name_and_password(operation))
                data = self.answer(int.from_bytes(number, "big"), operation)
                if data is None:
                    return
                connection.sendall(data)
                if isinstance(data, Cut):
                    return

    def answer(self, number: int, operation: bytes) -> bytes | None:
        """Return the answer to a request, or None to close the connection."""
        every = self.answers.get(operation[0])
        if not every:
            return None
        return (every.pop(0) if len(every) > 1 else every[0])(number)


def name_and_password(request: bytes) -> tuple[bytes, bytes]:
    """Return name and password of a bind: version, name, simple [0]."""
    rest, _ = take(request)
    _, rest = take(rest)
    name, rest = take(rest)
    return name, take(rest)[0]


@contextmanager
def scripted_directory() -> Iterator[ScriptedDirectory]:
    """Run one."""
    directory = ScriptedDirectory()
    try:
        yield directory
    finally:
        directory.close()
