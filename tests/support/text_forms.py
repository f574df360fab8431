"""One object as text, in the forms that programs and people send."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Callable
from typing import Final

from pikachu.x509.pem import pem

Form = Callable[[str, bytes], bytes]


def _one_line(label: str, content: bytes) -> str:
    return f"-----BEGIN {label}-----{base64.b64encode(content).decode()}-----END {label}-----"


#: Name → what makes the text of a label and DER.
TEXT_FORMS: Final[dict[str, Form]] = {
    "PEM": lambda label, content: pem(label, content).encode(),
    "CRLF": lambda label, content: pem(label, content).replace("\n", "\r\n").encode(),
    "CR": lambda label, content: pem(label, content).replace("\n", "\r").encode(),
    "no line breaks": lambda label, content: _one_line(label, content).encode(),
    "spaces for line breaks": lambda label, content: pem(label, content).replace("\n", " ").encode(),
    "indented, with empty lines": lambda label, content: pem(label, content).replace("\n", "\n\n  \t").encode(),
    "text around it": lambda label, content: f"Subject: CN=Ärger: x\n\n{pem(label, content)}\nend\n".encode(),
    "byte order mark": lambda label, content: codecs.BOM_UTF8 + pem(label, content).encode(),
    "UTF-16 LE": lambda label, content: codecs.BOM_UTF16_LE + pem(label, content).encode("utf-16-le"),
    "UTF-16 BE": lambda label, content: codecs.BOM_UTF16_BE + pem(label, content).encode("utf-16-be"),
    "UTF-16 LE, no mark": lambda label, content: pem(label, content).encode("utf-16-le"),
    "UTF-16 BE, no mark, text": lambda label, content: f"CN=x\r\n{pem(label, content)}".encode("utf-16-be"),
    "base64": lambda label, content: base64.b64encode(content),
    "base64 with whitespace": lambda label, content: b" \t\r\n" + base64.encodebytes(content).replace(b"\n", b" \r\n"),
    "base64 in UTF-16": lambda label, content: base64.encodebytes(content).decode().encode("utf-16"),
    "base64 in UTF-16 BE, no mark": lambda label, content: base64.b64encode(content).decode().encode("utf-16-be"),
}
