"""crlDistributionPoints and certificatePolicies, whose values may refer to sections (RFC 5280 section 4.2.1)."""

from __future__ import annotations

from typing import Final

from pikachu.x509 import der
from pikachu.x509.template.configuration import quoted
from pikachu.x509.template.general_names import general_name, name_fragment, names_of
from pikachu.x509.template.values import Item, Location, Source, ascii_bytes, base_name, integer, object_identifier

_VISIBLE_STRING: Final = 0x1A
_REASONS: Final = (
    "unused",
    "keyCompromise",
    "CACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
    "AACompromise",
)
_POINT: Final = ("fullname", "relativename", "CRLissuer", "reasons")
_CPS: Final = "1.3.6.1.5.5.7.2.1"
_USER_NOTICE: Final = "1.3.6.1.5.5.7.2.2"
_TEXT_PREFIXES: Final = {
    "UTF8": der.UTF8_STRING,
    "UTF8String": der.UTF8_STRING,
    "VISIBLE": _VISIBLE_STRING,
    "VISIBLESTRING": _VISIBLE_STRING,
}
_MAXIMUM_NOTICE: Final = 200


def crl_distribution_points(value: str, source: Source, location: Location) -> bytes:
    """Encode CRLDistributionPoints: ``URI:…`` items, or names of sections with the full form."""
    points = []
    for item in source.items(value, location):
        if item.value is None:
            points.append(_point(source.section_items(item.name, item.location), item.location, source))
        else:
            name = general_name(item, source)
            points.append(der.sequence(der.explicit(0, der.explicit(0, name))))
    return der.sequence(*points)


def _point(items: list[Item], location: Location, source: Source) -> bytes:
    fields: dict[str, bytes] = {}
    for item in items:
        text = item.text()
        if item.name == "fullname":
            part = der.explicit(0, der.explicit(0, names_of(text, source, item.location)))
        elif item.name == "relativename":
            fragment = der.parse(name_fragment(text, source, item.location)).content
            part = der.explicit(0, der.explicit(1, fragment))
        elif item.name == "CRLissuer":
            part = der.explicit(2, names_of(text, source, item.location))
        elif item.name == "reasons":
            part = der.implicit(1, _reasons(text, source, item.location))
        else:
            raise item.location.unknown("name", item.name, _POINT)
        fields[item.name] = part
    if "fullname" in fields and "relativename" in fields:
        raise location.error("a distribution point has either fullname or relativename")
    if not fields.keys() - {"reasons"}:
        raise location.error("a distribution point needs a name or a CRLissuer (RFC 5280 section 4.2.1.13)")
    return der.sequence(
        *(fields[name] for name in ("fullname", "relativename", "reasons", "CRLissuer") if name in fields)
    )


def _reasons(text: str, source: Source, location: Location) -> bytes:
    bits = set()
    for item in source.items(text, location):
        if item.name not in _REASONS or item.value is not None:
            raise item.location.unknown("reason", item.name, _REASONS)
        bits.add(_REASONS.index(item.name))
    return der.parse(der.named_bits(bits)).content


def certificate_policies(value: str, source: Source, location: Location) -> bytes:
    """Encode CertificatePolicies: OIDs and ``@section`` items; ``ia5org`` applies to the user notices after it."""
    policies = []
    organization_tag = _VISIBLE_STRING
    seen: set[str] = set()
    for item in source.inline(value, location):
        if item.value is not None:
            raise item.location.error(f"{quoted(item.name)} is followed by a colon; a policy is an OID or @section")
        if item.name == "ia5org":
            organization_tag = der.IA5_STRING
            continue
        qualifiers: list[bytes] = []
        if item.name.startswith("@"):
            oid, qualifiers = _policy(item, organization_tag, source)
        else:
            oid = object_identifier(item.name, item.location, "policy")
        if oid in seen:
            raise item.location.error(f"the policy {oid} stands twice (RFC 5280 section 4.2.1.4)")
        seen.add(oid)
        policies.append(der.sequence(der.oid(oid), *([der.sequence(*qualifiers)] if qualifiers else [])))
    if not policies:
        raise location.error("no policy is named")
    return der.sequence(*policies)


def _policy(reference: Item, organization_tag: int, source: Source) -> tuple[str, list[bytes]]:
    oid = None
    qualifiers = []
    for item in source.section_items(reference.name[1:], reference.location):
        kind = base_name(item.name)
        text = item.text()
        if item.name == "policyIdentifier":
            oid = object_identifier(text, item.location, "policy")
        elif kind == "CPS":
            if not text:
                raise item.location.error("CPS is empty")
            qualifiers.append(der.sequence(der.oid(_CPS), der.tlv(der.IA5_STRING, ascii_bytes(text, item.location))))
        elif kind == "userNotice":
            if not text.startswith("@"):
                raise item.location.error("userNotice is written userNotice = @section")
            notice = _notice(source.section_items(text[1:], item.location), item.location, organization_tag, source)
            qualifiers.append(der.sequence(der.oid(_USER_NOTICE), notice))
        else:
            raise item.location.unknown("name", item.name, ("policyIdentifier", "CPS", "userNotice"))
    if oid is None:
        raise reference.location.error(f"the section of {quoted(reference.name)} has no policyIdentifier")
    return oid, qualifiers


def _notice(items: list[Item], location: Location, organization_tag: int, source: Source) -> bytes:
    text = b""
    organization = numbers = None
    for item in items:
        value = item.text()
        if item.name == "explicitText":
            text = _display_text(value, item.location)
        elif item.name == "organization":
            organization = der.tlv(organization_tag, ascii_bytes(value, item.location))
        elif item.name == "noticeNumbers":
            listed = source.inline(value, item.location)
            numbers = der.sequence(*(der.integer(integer(number.name, number.location)) for number in listed))
        else:
            raise item.location.unknown("name", item.name, ("explicitText", "organization", "noticeNumbers"))
    if (organization is None) != (numbers is None):
        raise location.error("a user notice needs both organization and noticeNumbers, or neither")
    reference = b"" if organization is None or numbers is None else der.sequence(organization, numbers)
    return der.sequence(reference, text)


def _display_text(value: str, location: Location) -> bytes:
    prefix, colon, rest = value.partition(":")
    tag = _TEXT_PREFIXES.get(prefix) if colon else None
    text = value if tag is None else rest
    if tag is None and prefix in ("BMP", "BMPSTRING"):
        raise location.error("BMP texts are not accepted; write UTF8: before the text")
    if not 1 <= len(text) <= _MAXIMUM_NOTICE:
        raise location.error(f"a text of 1 to {_MAXIMUM_NOTICE} characters is expected (RFC 5280 section 4.2.1.4)")
    if tag != der.UTF8_STRING:
        if not text.isascii() or not text.isprintable():
            raise location.error(f"{quoted(text)} has characters outside ASCII; write UTF8: before the text")
        return der.tlv(_VISIBLE_STRING, text.encode("ascii"))
    return der.utf8_string(text)
