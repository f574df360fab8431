"""A server with OpenAI's chat completions API, as real ones stream it, which can also misbehave (UI-11).

``python -m tests.support.language_model PORT LOG CERT KEY`` serves HTTPS until it is killed, and appends each request
to LOG, a line of JSON each, and to LOG.gone the names of those whose client has gone early.  The question chooses what
it does (:func:`question_for`); any other is answered from the first source.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

Document = dict[str, Any]
DONE: Final = b"data: [DONE]\n\n"


def event(delta: Document, finish: str | None = None) -> bytes:
    """Return a chunk as the API has it."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    document = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "small",
        "system_fingerprint": "fp_1",
        "choices": [choice],
    }
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def text(answer: str, size: int = 12) -> list[bytes]:
    """Return the chunks of a text, with the usage at the end as an event without choices."""
    parts = [answer[start : start + size] for start in range(0, len(answer), size)]
    usage = {"object": "chat.completion.chunk", "choices": [], "usage": {"total_tokens": len(parts)}}
    return [
        event({"role": "assistant", "content": "", "refusal": None}),
        *(event({"content": part}) for part in parts),
        event({}, "stop"),
        b"data: " + json.dumps(usage).encode() + b"\n\n",
        DONE,
    ]


def calls(*wanted: tuple[str, str]) -> list[bytes]:
    """Return the chunks of calls of tools, whose arguments come in parts as real models send them."""
    chunks = [event({"role": "assistant", "content": None})]
    for index, (name, arguments) in enumerate(wanted):
        function = {"name": name, "arguments": ""}
        chunks.append(
            event({"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": function}]})
        )
        chunks += [
            event({"tool_calls": [{"index": index, "function": {"arguments": arguments[start : start + 7]}}]})
            for start in range(0, len(arguments), 7)
        ]
    return [*chunks, event({}, "tool_calls"), DONE]


def results(request: Document) -> list[str]:
    """Return what the tools have answered."""
    return [message["content"] for message in request["messages"] if message["role"] == "tool"]


def tool(*wanted: tuple[str, str]) -> Callable[[Document], list[bytes]]:
    """Return a model that calls tools, and then repeats what they have answered."""
    return lambda request: text("Result: " + " | ".join(results(request))) if results(request) else calls(*wanted)


def raw(*chunks: bytes) -> Callable[[Document], list[bytes]]:
    """Return a model that sends these bytes."""
    return lambda _: list(chunks)


def first_source(request: Document) -> list[bytes]:
    """Return the chunks of an answer as a good model gives it."""
    asked = json.loads(request["messages"][1]["content"])
    if not asked["sources"]:
        return text("The documents don't say.")
    return text(f"This is about {asked['sources'][0]['title']} [1].\nYou can only do it yourself.")


MARKUP: Final = (
    "<script>alert(1)</script> <img src=x onerror=alert(2)> [click](https://evil.example.com/?q=secret) "
    "javascript:alert(3) www.evil.example.com \u202ereversed\u200b [99] **bold** //evil.example.com [1]"
)
SCENARIOS: Final[Mapping[str, Callable[[Document], list[bytes]]]] = {
    "tools": tool(("expiring_certificates", '{"days": 7}'), ("crls", "")),
    "unknown": tool(("revoke_certificate", '{"serial": "1"}'), ("__import__", '{"name": "os"}'), ("", "")),
    "arguments": tool(
        ("expiring_certificates", '{"days": -1}'),
        ("expiring_certificates", '{"days": "7"}'),
        ("expiring_certificates", '{"days": 7, "owner": "bob"}'),
        ("find_certificates", "not json"),
        ("find_certificates", '{"name": ""}'),
        ("devices_to_renew", '{"state": "all"}'),
        ("crls", "[1]"),
        ("crls", '"x"'),
    ),
    "others": tool(("find_certificates", '{"name": "b.example.com"}'), ("certificate_counts", "{}")),
    "flood": lambda _: calls(*[("crls", "{}")] * 8),
    "many": lambda _: calls(*[("crls", "{}")] * 50),
    "huge-text": lambda _: text("x" * 1_000_000, 10_000),
    "huge-line": raw(b"data: " + b"x" * 300_000),
    "huge-call": lambda _: calls(("find_certificates", '{"name": "' + "x" * 50_000 + '"}')),
    "comments": raw(*[b": " + b"x" * 10_000 + b"\n"] * 400),
    "garbage": raw(b"data: {not json\n\n"),
    "binary": raw(bytes(range(256)) * 10 + b"\n", b"data: \xff\xfe\n\n"),
    "array": raw(b"data: [1, 2]\n\n"),
    "no-choices": raw(b'data: {"choices": "x"}\n\n'),
    "number": raw(b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'),
    "null-choice": raw(b'data: {"choices": [null]}\n\n'),
    "bad-calls": raw(b'data: {"choices": [{"delta": {"tool_calls": [{"index": -1}]}}]}\n\n'),
    "text-calls": raw(b'data: {"choices": [{"delta": {"tool_calls": "x"}}]}\n\n'),
    "nested": raw(b"data: " + b"[" * 50_000 + b"\n\n"),
    "error": raw(b'data: {"error": {"message": "overloaded"}}\n\n'),
    "empty": raw(DONE),
    "break": raw(event({"content": "half of an "})),
    "markup": lambda _: text(MARKUP),
    "crlf": lambda _: [chunk.replace(b"\n", b"\r\n") for chunk in text("Lines may end so. ")],
}


#: Those that are no chunks of an answer: of HTTP, and of time.
OTHERS: Final = ("hang", "slow", "status", "redirect", "html", "header", "stays")
NAMES: Final = (*SCENARIOS, *OTHERS)


def question_for(name: str) -> str:
    """Return a question about revoking that has the model behave so; its digits don't change what the guide answers."""
    tens, ones = divmod(NAMES.index(name), 10)
    return f"How do I revoke a certificate? {tens} {ones}"


def named_scenario(question: str) -> str:
    """Return the scenario of a question, or an empty string."""
    found = re.search(r"\? ([0-9]) ([0-9])$", question)
    return "" if found is None else NAMES[int(found[1] + found[2])]


class Model(Resource):
    """``/v1/chat/completions``."""

    isLeaf = True

    def __init__(self, reactor: Any, log: Path) -> None:
        Resource.__init__(self)
        self._reactor = reactor
        self._log = log

    def render(self, request: Any) -> int:
        """Answer."""
        document = json.loads(request.content.read())
        authorization = request.getHeader("authorization")
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"path": request.path.decode(), "authorization": authorization, **document}) + "\n")
        question = json.loads(document["messages"][1]["content"])["question"]
        name = named_scenario(question)
        request.notifyFinish().addErrback(self._gone, name)
        if name == "hang":
            return NOT_DONE_YET
        if name in ("status", "redirect", "html"):
            request.setResponseCode({"status": 500, "redirect": 302, "html": 200}[name])
            request.setHeader("Location", "/v1/elsewhere")
            request.setHeader("Content-Type", "text/html")
            request.write(b"<html>")
            request.finish()
            return NOT_DONE_YET
        if name == "header":
            request.transport.write(b"HTTP/1.1 200 OK\r\n")
            self._lengthen(request)
            return NOT_DONE_YET
        request.setHeader("Content-Type", "text/event-stream; charset=utf-8")
        if name == "stays":
            request.write(b"data: {not json\n\n")
        if name in ("slow", "stays"):
            self._drip(request)
        else:
            self._send(request, iter(SCENARIOS.get(name, first_source)(document)), breaks=name == "break")
        return NOT_DONE_YET

    def _send(self, request: Any, chunks: Iterator[bytes], *, breaks: bool) -> None:
        """Send a chunk a turn of the reactor, until the client is gone."""
        if request.channel is None:
            return
        chunk = next(chunks, None)
        if chunk is None:
            if breaks:
                request.transport.abortConnection()
            else:
                request.finish()
            return
        request.write(chunk)
        self._reactor.callLater(0, self._send, request, chunks, breaks=breaks)

    def _gone(self, _: object, name: str) -> None:
        with self._log.with_suffix(".gone").open("a", encoding="utf-8") as gone:
            gone.write(f"{name}\n")

    def _lengthen(self, request: Any) -> None:
        """Send a header without an end."""
        if request.channel is not None:
            request.transport.write(b"X-Field: " + b"x" * 8000 + b"\r\n")
            self._reactor.callLater(0.001, self._lengthen, request)

    def _drip(self, request: Any) -> None:
        """Send a word now and then, without an end."""
        if request.channel is not None:
            request.write(event({"content": "word "}))
            self._reactor.callLater(0.1, self._drip, request)


def main() -> None:
    """Serve until killed."""
    # A test process that imports this module must not get a reactor.
    from twisted.internet import reactor as installed

    reactor: Any = installed
    _, port, requests, certificate, key = sys.argv
    tls = f"ssl:{port}:interface=127.0.0.1:certKey={certificate}:extraCertChain={certificate}:privateKey={key}"
    serverFromString(reactor, tls).listen(Site(Model(reactor, Path(requests))))
    reactor.run()


if __name__ == "__main__":
    main()
