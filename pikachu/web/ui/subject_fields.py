"""Form fields for the subject and the subject alternative names of a certificate or a CSR."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pikachu.web.ui.forms import Form
from pikachu.x509.names import COMMON_NAME, COUNTRY, build_name
from pikachu.x509.san_input import TypedName, read_names, with_prefix

#: (field, OID, label, maximum length) of the attributes, in the order of the encoding.
ATTRIBUTES: Final = (
    ("country", COUNTRY, "Country (C)", 2),
    ("state", "2.5.4.8", "State or province (ST)", 128),
    ("locality", "2.5.4.7", "Locality (L)", 128),
    ("organization", "2.5.4.10", "Organization (O)", 64),
    ("unit", "2.5.4.11", "Organizational unit (OU)", 64),
    ("serial_number", "2.5.4.5", "Serial number of the device (serialNumber)", 64),
)
_SEPARATORS: Final = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True)
class SubjectFields:
    """The fields as typed.

    :ivar sans: names, one a line; the kind of a name without a prefix is guessed.
    :ivar adds_name: a common name that is a host name, an IP address or an e-mail address is a SAN, too.
    :ivar attributes: other attributes of the subject, by their field.
    """

    common_name: str = ""
    sans: str = ""
    adds_name: bool = True
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, form: Form) -> SubjectFields:
        """Read the submitted form; what is no text is left out."""
        values = form.values
        return cls(
            values.get("common_name", "").strip(),
            values.get("sans", "").replace("\r\n", "\n").strip(),
            "adds_name" in values,
            {name: values.get(name, "").strip() for name, *_ in ATTRIBUTES},
        )

    @property
    def subject_der(self) -> bytes:
        """The DER Name.

        :raises BadCSR: a value is not allowed.
        """
        pairs = [(oid, self.attributes.get(name, "")) for name, oid, *_ in ATTRIBUTES]
        return build_name([pair for pair in (*pairs, (COMMON_NAME, self.common_name)) if pair[1]])

    @property
    def has_attributes(self) -> bool:
        """Whether another attribute than the common name is filled in."""
        return any(self.attributes.values())

    @property
    def texts(self) -> list[str]:
        """The subject alternative names with their prefixes, first that of the common name."""
        typed = [with_prefix(text) for text in _SEPARATORS.split(self.sans) if text]
        name = self._common_name_as_san() if self.adds_name else ""
        return [name, *typed] if name else typed

    @property
    def typed_names(self) -> tuple[TypedName, ...]:
        """Each typed name, checked; that of the common name is not among them."""
        return tuple(
            TypedName(text, checked.name, checked.error)
            for text in dict.fromkeys(_SEPARATORS.split(self.sans))
            if text
            for checked in read_names([with_prefix(text)])
        )

    @property
    def is_empty(self) -> bool:
        """Whether no name is typed."""
        return not (self.common_name or self.sans or self.has_attributes)

    def _common_name_as_san(self) -> str:
        text = with_prefix(self.common_name)
        is_name = "." in text or ":" in text.partition(":")[2] or text == "DNS:localhost"
        return text if self.common_name and is_name and read_names([text])[0].name is not None else ""
