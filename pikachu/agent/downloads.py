"""Bounded downloads over HTTP: CRLs, and the names of revoked certificates."""

from __future__ import annotations

import json
import ssl
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from socket import SHUT_RDWR, socket
from threading import Timer
from time import monotonic
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pikachu.core.errors import Unavailable

_MAX_DOCUMENT_SIZE: Final = 256 * 1024


def download(
    url: str, *, limit: int, timeout: float, headers: dict[str, str] | None = None, ca_cert: Path | None = None
) -> bytes:
    """Return the content at an address; follows no redirect, since the operator has named the servers.  Blocks.

    :param limit: bytes; more is an error.
    :param timeout: seconds for the connection, and then for the whole answer.
    :param ca_cert: the CA certificates for its TLS certificate; ``None``: the system's.
    :raises Unavailable: it can't be had; the message has no more of the address than its host.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with closing(_connection(parts, timeout, ca_cert)) as connection:
            connection.connect()
            end = Timer(timeout, _end, (connection.sock,))
            end.daemon = True
            begin = monotonic()
            end.start()
            try:
                connection.request("GET", target, headers=headers or {})
                answer = connection.getresponse()
                if answer.status != HTTPStatus.OK:
                    raise Unavailable(f"{host} answers {answer.status}")
                content = answer.read(limit + 1)
            finally:
                end.cancel()
            # An answer that was cut short looks like a whole one.
            if monotonic() - begin >= timeout or (answer.length and len(content) <= limit):
                raise Unavailable(f"{host} does not send the whole answer within {timeout:g} seconds")
    except (OSError, HTTPException, ValueError) as error:
        raise Unavailable(f"{host} does not answer", error=str(error)) from error
    if len(content) > limit:
        raise Unavailable(f"{host} sends more than {limit} bytes")
    return content


def _connection(parts: SplitResult, timeout: float, ca_cert: Path | None) -> HTTPConnection:
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca_cert)
        return HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    return HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)


def _end(connected: socket) -> None:
    """End a connection that another thread reads from: one that sends a byte now and then would hold it for ever."""
    with suppress(OSError):
        connected.shutdown(SHUT_RDWR)


def same_origin(url: str, others: tuple[str, ...]) -> bool:
    """Return whether an address is on the same server as one of *others*."""

    def origin(text: str) -> tuple[str, str | None, int | None]:
        parts = urlsplit(text)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)

    try:
        return origin(url) in map(origin, others)
    except ValueError:
        return False


class CertificateNames:
    """Asks the CA's REST API for the common names of certificates.

    :param url: the CA's HTTPS address.
    :param token_file: its first line is an API token.
    """

    def __init__(self, url: str, token_file: Path, ca_cert: Path | None, timeout: float) -> None:
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._ca_cert = ca_cert
        self._timeout = timeout

    def common_name(self, serial: str) -> str | None:
        """Return the common name of a certificate's subject, or None when it has none; blocks.

        :param serial: in hex.
        :raises Unavailable: the API does not answer, or refuses the token.
        """
        try:
            token = self._token_file.read_text(encoding="ascii").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable("the file of the API token can't be read", error=str(error)) from error
        content = download(
            f"{self._url}/api/v1/certificates?q={serial}",
            limit=_MAX_DOCUMENT_SIZE,
            timeout=self._timeout,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            ca_cert=self._ca_cert,
        )
        try:
            names = [str(one["common_name"]) for one in json.loads(content)["items"] if one["serial"] == serial]
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable("the API's answer is not that of this CA") from error
        return next(iter(names), "") or None
