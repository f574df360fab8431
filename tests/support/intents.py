"""Intents that no certificate follows."""

from __future__ import annotations

from pikachu.ca.issuance import Order
from pikachu.cli.session import done
from pikachu.core.model.certificates import Method
from pikachu.core.model.requests import NewRequest
from pikachu.server.application import Core
from pikachu.x509.names import COMMON_NAME, build_name, parse_name
from pikachu.x509.spki import describe_spki
from tests.support.pki import make_key, spki


def begin_only(core: Core, process: str) -> int:
    """Store an intent, as a server of that name did that was killed before it had signed; its serial."""
    issuer = core.issuers.default
    key = describe_spki(spki(make_key("p256")))
    subject = parse_name(build_name([(COMMON_NAME, "never completed")]))
    core.authority.process = process
    intent, _ = core.authority.prepare(Order(issuer, core.policies.default, subject, key, (), 1, False, b""))
    request = NewRequest(
        method=Method.EST,
        csr=b"",
        subject=subject.text,
        key_type=key.text,
        key_id=key.key_id,
        policy=core.policies.default.name,
        issuer=issuer.name,
        principal="test",
        owner_id=None,
        created_at=core.authority.now(),
    )
    done(core.store.begin(request, intent, core.authority.now()))
    return intent.serial
