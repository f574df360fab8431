"""A client's decoder of CSR attributes (RFC 7030 section 4.5.2, RFC 9908)."""

from __future__ import annotations

from pikachu.x509 import der
from pikachu.x509.csrattrs import CSRAttribute


def parse_csrattrs(data: bytes) -> tuple[CSRAttribute, ...]:
    """Decode the elements of DER CsrAttrs, in the old and new forms."""
    attributes = []
    for item in der.parse(data, der.SEQUENCE).children():
        if item.tag == der.OBJECT_IDENTIFIER:
            attributes.append(CSRAttribute(item.oid()))
            continue
        oid, values = item.expect(der.SEQUENCE).sub()
        assert values.expect(der.SET).children(), "an attribute has at least one value"
        attributes.append(CSRAttribute(oid.oid(), tuple(sorted(value.whole for value in values.children()))))
    return tuple(attributes)
