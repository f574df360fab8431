"""What somebody has pasted or sent: which kind of object it is, the facts in it, and its text (UI-7).

Pure functions of bytes.  What was given is neither kept nor judged; what can't be read raises
:class:`pikachu.core.errors.MalformedRequest`.
"""

from __future__ import annotations

from pikachu.inspection.recognition.decoding import decode
from pikachu.inspection.recognition.kinds import Decoded, Fact, Found, Kind, Value
from pikachu.inspection.recognition.reading import MAXIMUM_INPUT, read

__all__ = ["MAXIMUM_INPUT", "Decoded", "Fact", "Found", "Kind", "Value", "decode", "read"]
