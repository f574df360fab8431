"""One HTTP request to Vault through hvac: time limit, size limit, TLS, and what each answer means."""

from __future__ import annotations

import io
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import hvac.adapters
import hvac.exceptions
import requests
import requests.exceptions
import urllib3
import urllib3.exceptions

from pikachu.core.errors import ConfigError
from pikachu.signers.vault.deadline import TimedAdapter
from pikachu.signers.vault.faults import VaultFault, VaultRefused, VaultUnreachable

# Bytes; a PKI engine's CRL is the longest answer.
MAX_ANSWER_BYTES: Final = 64 << 20
_CHUNK_BYTES: Final = 64 << 10
_MAX_REASON_LENGTH: Final = 200
_CONNECTIONS: Final = 16
# A request whose time has run out fails as one that is not answered.
_MIN_TIMEOUT_SECONDS: Final = 0.001


@dataclass(frozen=True, slots=True)
class VaultAddress:
    """Where Vault is, and how its TLS certificate is verified.

    :param url: such as ``https://vault.example.org:8200``.
    :param verify: whether TLS certificates are verified.
    :param ca_certificates: a PEM file of trust anchors; ``None`` uses the system's.
    :param takes_keys: whether private keys may be sent there as they are: nobody in between can read them.
    """

    url: str
    verify: bool = True
    ca_certificates: Path | None = None
    takes_keys: bool = True

    def trust(self) -> str | bool:
        """Return the trust anchors as requests takes them.

        :raises ConfigError: when the file holds no certificate that can be read.
        """
        if not self.verify:
            return False
        if self.ca_certificates is None:
            paths = ssl.get_default_verify_paths()
            return paths.cafile or paths.capath or True
        try:
            ssl.create_default_context(cafile=str(self.ca_certificates))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"[VAULT] ca_cert_path: {self.ca_certificates} holds no certificate that can be read "
                f"({error.strerror or 'not PEM'}); name a PEM file with the CA of Vault's TLS certificate"
            ) from None
        return str(self.ca_certificates)


class Transport:
    """Requests to one Vault server.

    The environment's proxies, CA bundles and tokens are not used: only the configuration counts.

    :param monotonic: a clock that is never set, in seconds.
    :raises ConfigError: when the trust anchors can't be read.
    """

    def __init__(self, address: VaultAddress, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        trust = address.trust()
        if trust is False:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        session = requests.Session()
        session.trust_env = False
        session.verify = trust
        session.headers["Accept-Encoding"] = "identity"
        for scheme in ("https://", "http://"):
            session.mount(scheme, TimedAdapter(pool_maxsize=_CONNECTIONS))
        # hvac.Client would look for a token, a client certificate and trust anchors in the environment.
        self._adapter: Any = hvac.adapters.JSONAdapter(
            base_uri=address.url, verify=trust, session=session, allow_redirects=False
        )

    def close(self) -> None:
        """Close the idle connections; later requests open new ones."""
        self._adapter.close()

    def request(
        self, method: str, path: str, body: Mapping[str, object] | None, token: str, timeout: float
    ) -> dict[str, Any]:
        """Return the JSON object that Vault answers with; empty when the answer has no content.

        :param path: without ``/v1/``.
        :param token: empty for none.
        :param timeout: seconds to connect, and again for the whole answer.
        :raises VaultUnreachable: when there is no answer, or none of Vault.
        :raises VaultRefused: when Vault refuses.
        """
        deadline = self._monotonic() + timeout
        try:
            answer = self._adapter.request(
                method,
                f"v1/{path}",
                headers={"X-Vault-Token": token} if token else {},
                json=body,
                timeout=max(timeout, _MIN_TIMEOUT_SECONDS),
                hooks={"response": partial(self._read, deadline=deadline)},
            )
        except hvac.exceptions.VaultError as error:
            raise _refusal(path, error) from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise _unreachable(error, timeout) from None
        return _object(path, answer)

    def _read(self, response: requests.Response, *_: object, deadline: float, **__: object) -> None:
        """Read the body, within the deadline and the size limit."""
        body = bytearray()
        try:
            while chunk := response.raw.read(_CHUNK_BYTES):
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise requests.exceptions.ContentDecodingError("the answer is too long")
                if self._monotonic() > deadline:
                    raise requests.exceptions.ReadTimeout
        except BaseException:
            response.close()
            raise
        response.raw = io.BytesIO(bytes(body))


def _object(path: str, answer: Any) -> dict[str, Any]:
    """Return the content of a successful answer."""
    if isinstance(answer, dict):
        return answer
    if isinstance(answer, requests.Response):
        if answer.status_code == 204:
            return {}
        if 300 <= answer.status_code < 400:
            raise VaultUnreachable(
                "Vault redirects to another node. Name the active node, or a load balancer in front of the nodes, in "
                "[VAULT] address.",
                status=answer.status_code,
            )
    raise VaultUnreachable("The answer is not Vault's. Check [VAULT] address.", path=path)


def _refusal(path: str, error: Any) -> VaultFault:
    """Return the fault for an answer with an HTTP status of 400 or more."""
    statuses = {
        hvac.exceptions.InvalidRequest: 400,
        hvac.exceptions.Unauthorized: 401,
        hvac.exceptions.Forbidden: 403,
        hvac.exceptions.InvalidPath: 404,
    }
    status = statuses.get(type(error), 0)
    # A null instead of a list of errors, and an error page of something else, are no answers of Vault.
    errors = error.errors if isinstance(error.errors, list) else None
    text = _one_line(str(errors[0])) if errors else ""
    if isinstance(error, hvac.exceptions.VaultNotInitialized):
        return VaultUnreachable("Vault is not initialized. Initialize and unseal it.")
    if isinstance(error, hvac.exceptions.VaultDown) and "sealed" in text.lower():
        return VaultUnreachable("Vault is sealed. Unseal it.")
    if not status or errors is None:
        detail = f": {text}" if text else ""
        return VaultUnreachable(f"Vault can't answer now ({type(error).__name__}{detail}).", path=path)
    if status == 403:
        return VaultRefused(
            f"Vault denies access to {path}. Permit it in the policy of Pikachu's AppRole.", status=status
        )
    if status == 404 and "no handler" in text:
        # Nothing can be said about what would be there, so this is no 404.
        return VaultRefused(f"Nothing is mounted in Vault at {path}. Enable the secrets engine there.")
    if status == 404:
        return VaultRefused(f"Vault has no {path}. Check the name in [VAULT].", status=status)
    return VaultRefused(f"Vault refuses {path}: {text or 'no reason given'}.", status=status)


def _unreachable(error: Exception, timeout: float) -> VaultUnreachable:
    """Return the fault for a request without an answer."""
    if isinstance(error, requests.exceptions.SSLError):
        return VaultUnreachable(_tls_reason(error), was_sent=False)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return VaultUnreachable(f"Vault did not accept a connection within {timeout:.3g} seconds.", was_sent=False)
    if isinstance(error, requests.exceptions.Timeout):
        return VaultUnreachable(f"Vault did not answer within {timeout:.3g} seconds.")
    causes = list(_causes(error))
    if any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in causes):
        detail = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "")
        return VaultUnreachable(f"Vault can't be reached{detail and f' ({detail})'}. Start it.", was_sent=False)
    return VaultUnreachable("The connection to Vault broke before the answer.", error=type(error).__name__)


def _causes(error: BaseException | None) -> list[BaseException]:
    """Return an exception with those that caused it: libraries pass them as arguments and as ``reason``."""
    causes: list[BaseException] = []
    pending = [error]
    while pending:
        current = pending.pop()
        if isinstance(current, BaseException) and not any(current is one for one in causes):
            causes.append(current)
            pending += [getattr(current, "reason", None), current.__cause__, current.__context__, *current.args]
    return causes


def _tls_reason(error: Exception) -> str:
    """Return why there is no TLS connection: the certificate, or a server that speaks something else or has ended."""
    failures = [cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)]
    for failure in failures:
        if isinstance(failure, ssl.SSLCertVerificationError):
            return (
                f"Vault's TLS certificate is not accepted ({_one_line(failure.verify_message)}). Check [VAULT] "
                "ca_cert_path, and the host name in address."
            )
    detail = next((f" ({failure.reason})" for failure in failures if failure.reason), "")
    return f"No TLS connection to Vault is possible{detail}. Check that it runs, and [VAULT] address."


def _one_line(text: str) -> str:
    """Return the text of another server, fit for a message."""
    line = " ".join(text.split())
    return line[:_MAX_REASON_LENGTH].rstrip(".")
