"""Declarations of the section ``[CHAT]`` (UI-11)."""

# Each field is declared by a call, so that the type checker compares its kind with its type.
# ruff: noqa: RUF009

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pikachu.config.schema import Section
from pikachu.config.schema import setting as _key
from pikachu.config.setting_types import BOOLEAN, PATH, TEXT, URL, duration, number, optional


@dataclass(frozen=True, slots=True)
class ChatSection(Section):
    """``[CHAT]``."""

    NAME: ClassVar[str] = "CHAT"
    ABOUT: ClassVar[str] = (
        "ChatPikachu answers from the guide without any setting. A language model can compose its answers; it gets the "
        "question, passages of the guide, and what the user may see."
    )
    UPPER: ClassVar[frozenset[str]] = frozenset()

    enabled: bool = _key(BOOLEAN, "true", "Whether a language model composes answers, if endpoint names one.")
    endpoint: str | None = _key(
        optional(URL),
        "",
        "The base URL of an OpenAI-compatible API, such as https://llm.example.com/v1; http is only for this machine.",
    )
    model: str = _key(TEXT, "", "The name of the model.")
    api_key_file: Path | None = _key(
        optional(PATH), "", "A file with mode 0600 whose first line is the API key; empty: none is sent."
    )
    ca_cert_path: Path | None = _key(
        optional(PATH), "", "The CA that the endpoint's certificate is verified with; empty: the system's."
    )
    timeout: int = _key(
        duration("s", minimum=1, maximum=600), "60s", "How long an answer may take; then the guide alone answers."
    )
    max_tokens: int = _key(number(16, 8192), "800", "The most tokens of an answer.")
    concurrent: int = _key(
        number(1, 64), "4", "Questions that are answered at the same time; at most two of one account."
    )

    @property
    def composes(self) -> bool:
        """Whether a language model composes answers."""
        return self.enabled and self.endpoint is not None
