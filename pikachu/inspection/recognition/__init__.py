"""Recognition of pasted or uploaded objects: their kind, their fields and their text (UI-7).

Pure functions of bytes.  They neither store nor validate the input; unreadable input raises
:class:`pikachu.core.errors.MalformedRequest`.
"""

from __future__ import annotations

from pikachu.inspection.recognition.decoding import decode
from pikachu.inspection.recognition.kinds import Decoded, Fact, Kind, RecognisedObject, Value
from pikachu.inspection.recognition.reading import MAXIMUM_INPUT, read

__all__ = ["MAXIMUM_INPUT", "Decoded", "Fact", "Kind", "RecognisedObject", "Value", "decode", "read"]
