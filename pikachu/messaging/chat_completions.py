# mypy: allow-untyped-calls
# ruff: noqa: N802 - the names are Twisted's
"""Language models with OpenAI's chat completions API, streamed (UI-11; docs/adr/0053).

The model and its server are not trusted: sizes of lines, streams, texts and calls are bounded, redirects are not
followed, and whatever is not the API's form ends the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from pikachu import __version__
from pikachu.core.chat_interfaces import Completion, Conversation, ToolCall
from pikachu.core.errors import NoticeNotDelivered, Unavailable
from pikachu.core.interfaces import IWorkerPool
from pikachu.messaging.secret_files import read_secret

#: Bytes of a line and of a stream, characters of a text, calls of one answer, and characters of a call.
MAX_LINE: Final = 64 * 1024
MAX_STREAM: Final = 2 * 1024 * 1024
MAX_TEXT: Final = 16_000
MAX_CALLS: Final = 8
MAX_CALL: Final = 4_000
# Bytes of a connection in all, with the header of the answer, which the HTTP client does not bound.
_MAX_RECEIVED: Final = MAX_STREAM + 64 * 1024
_CONNECT_SECONDS: Final = 10.0
_SETTING: Final = "[CHAT] api_key_file"
_FAILED: Final = "The language model doesn't answer."


@dataclass(frozen=True, slots=True)
class ChatModelSettings:
    """Where a model is, and how it is asked.

    :param endpoint: the base URL, to which ``/chat/completions`` is added.
    :param key_file: has the API key in its first line; read for each request.
    """

    endpoint: str
    model: str
    key_file: Path | None = None
    max_tokens: int = 800


def unavailable(reason: str) -> Unavailable:
    """Return the error; *reason* is for the log."""
    return Unavailable(_FAILED, reason=reason)


def make_agent(reactor: Any, trust: Any) -> Agent:
    """Return an HTTP client without redirects, proxies and kept connections.

    :param trust: the roots that verify certificates (an IOpenSSLTrustRoot).
    """
    pool = HTTPConnectionPool(reactor, persistent=False)
    endpoints = _Endpoints(reactor, BrowserLikePolicyForHTTPS(trust))
    agent: Agent = Agent.usingEndpointFactory(reactor, endpoints, pool)
    return agent


class _BoundedConnection(ProtocolWrapper):
    """A connection that is aborted when it receives too much, and when it is to be closed.

    With TLS, closing waits for the other side, which may never close and go on sending.
    """

    _received = 0

    def dataReceived(self, data: bytes) -> None:
        """Pass it on, up to the limit."""
        self._received += len(data)
        if self._received > _MAX_RECEIVED:
            self.abortConnection()
        else:
            super().dataReceived(data)

    def loseConnection(self) -> None:
        """Abort: the request was sent, and nothing of the answer matters any more."""
        self.abortConnection()


class _BoundedConnections(WrappingFactory):
    protocol = _BoundedConnection
    noisy = False


@implementer(IStreamClientEndpoint)
class _BoundedEndpoint:
    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Connect."""
        connecting: Deferred[Any] = self._endpoint.connect(_BoundedConnections(factory))
        return connecting.addCallback(lambda connection: connection.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: Any, policy: BrowserLikePolicyForHTTPS) -> None:
        self._reactor = reactor
        self._policy = policy

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Return where the server of a URL is."""
        endpoint = HostnameEndpoint(self._reactor, uri.host.decode("ascii"), uri.port, timeout=_CONNECT_SECONDS)
        if uri.scheme == b"https":
            return _BoundedEndpoint(wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint))
        return _BoundedEndpoint(endpoint)


class ChatCompletions:
    """See :class:`pikachu.core.chat_interfaces.IChatModel`.

    :param pool: reads the file with the API key.
    """

    def __init__(self, settings: ChatModelSettings, agent: Agent, pool: IWorkerPool) -> None:
        self._settings = settings
        self._agent = agent
        self._pool = pool

    def complete(self, conversation: Conversation, on_text: Callable[[str], None]) -> Deferred[Completion]:
        """Answer."""
        return Deferred.fromCoroutine(self._complete(conversation, on_text))

    async def _complete(self, conversation: Conversation, on_text: Callable[[str], None]) -> Completion:
        settings = self._settings
        headers = {
            "Content-Type": ["application/json"],
            "Accept": ["text/event-stream"],
            "User-Agent": [f"Pikachu-CA/{__version__}"],
        }
        if settings.key_file is not None:
            try:
                key = await self._pool.run(read_secret, settings.key_file, _SETTING)
            except NoticeNotDelivered as error:
                raise unavailable(error.public) from error
            headers["Authorization"] = [f"Bearer {key}"]
        document: dict[str, object] = {
            "model": settings.model,
            "messages": list(conversation.messages),
            "max_tokens": settings.max_tokens,
            "stream": True,
        }
        if conversation.tools:
            document["tools"] = list(conversation.tools)
        url = f"{settings.endpoint.rstrip('/')}/chat/completions".encode("ascii")
        try:
            response = await self._agent.request(b"POST", url, Headers(headers), _Body(json.dumps(document).encode()))
        except CancelledError:
            raise
        except Exception as error:
            raise unavailable(_reason(error)) from error
        stream = _Stream(on_text)
        response.deliverBody(stream)
        content_type = (response.headers.getRawHeaders(b"content-type") or [b""])[0]
        if response.code != 200 or not content_type.lower().startswith(b"text/event-stream"):
            stream.fail(unavailable(f"status {response.code}, {content_type[:100]!r}"))
        return await stream.finished


def _reason(error: Exception) -> str:
    reasons = getattr(error, "reasons", None)
    return "; ".join(one.getErrorMessage() for one in reasons) if reasons else str(error) or type(error).__name__


@implementer(IBodyProducer)
class _Body:
    """The body of a request."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Write it."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: it was written at once."""

    def resumeProducing(self) -> None:
        """Do nothing, likewise."""

    def stopProducing(self) -> None:
        """Do nothing, likewise."""


class _Call:
    """A call of a tool, whose parts come one after the other."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = ""

    def add(self, part: dict[str, Any]) -> None:
        """Add a part."""
        function = part.get("function") or {}
        self.id += _text(part.get("id"))
        self.name += _text(function.get("name"))
        self.arguments += _text(function.get("arguments"))
        if len(self.id) + len(self.name) + len(self.arguments) > MAX_CALL:
            raise ValueError("a call is too long")


class _Stream(Protocol):
    """Reads the server-sent events of a completion.

    :ivar finished: fires with the completion; cancelling it closes the connection.
    """

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._buffer = b""
        self._size = 0
        self._answer = ""
        self._calls: dict[int, _Call] = {}
        self._is_over = False
        self.finished: Deferred[Completion] = Deferred(lambda _: self._close())

    def dataReceived(self, data: bytes) -> None:
        """Take the events of whole lines."""
        if self._is_over:
            return
        self._size += len(data)
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        if self._size > MAX_STREAM or max(map(len, (self._buffer, *lines))) > MAX_LINE:
            self.fail(unavailable("the stream or a line of it is too long"))
            return
        try:
            for line in lines:
                self._take(line.rstrip(b"\r"))
                if self._is_over:
                    return
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            self.fail(unavailable(f"not the form of the API: {error}"))
        except BaseException as error:  # noqa: BLE001 - of the reader of the text, who gets it back
            self.fail(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail unless the answer was complete: some servers end it without a last event."""
        complete = reason.check(ResponseDone) is not None and (self._answer or self._calls)
        if complete:
            self._finish()
        else:
            self.fail(unavailable(f"the stream broke off: {reason.getErrorMessage()}"))

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        if not self._is_over:
            self._close()
            self.finished.errback(Failure(error))

    def _close(self) -> None:
        self._is_over = True
        if self.transport is not None:
            self.transport.loseConnection()

    def _finish(self) -> None:
        if self._is_over:
            return
        self._close()
        calls = tuple(ToolCall(one.id, one.name, one.arguments) for _, one in sorted(self._calls.items()))
        self.finished.callback(Completion(self._answer, calls))

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name != b"data":
            return
        text = value.strip()
        if text == b"[DONE]":
            self._finish()
            return
        document = json.loads(text.decode("utf-8"))
        if "error" in document:
            raise ValueError("an error of the model")
        for choice in document["choices"][:1]:
            delta = choice.get("delta") or {}
            self._add_text(_text(delta.get("content")))
            for part in delta.get("tool_calls") or ():
                self._add_call(part)

    def _add_text(self, text: str) -> None:
        if not text:
            return
        self._answer += text
        if len(self._answer) > MAX_TEXT:
            raise ValueError("the text is too long")
        self._on_text(self._answer)

    def _add_call(self, part: dict[str, Any]) -> None:
        index = part.get("index", 0)
        if not isinstance(index, int) or not 0 <= index < MAX_CALLS:
            raise ValueError("too many calls")
        self._calls.setdefault(index, _Call()).add(part)


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    return value
