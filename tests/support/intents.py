"""Intents that no certificate follows."""

from __future__ import annotations

from pikachu.ca.issuance import IssuanceRequest
from pikachu.cli.session import done
from pikachu.core.model.certificates import Method
from pikachu.core.model.requests import NewRequest
from pikachu.server.application import Application
from pikachu.x509.names import COMMON_NAME, build_name, parse_name
from pikachu.x509.profile import authority_key_identifier
from pikachu.x509.spki import describe_spki
from tests.support.pki import make_key, spki


def begin_only(app: Application, process: str) -> int:
    """Store an intent, as a server of that name did that was killed before it had signed; its serial."""
    issuer = app.issuers.default
    key = describe_spki(spki(make_key("p256")))
    subject = parse_name(build_name([(COMMON_NAME, "never completed")]))
    app.authority.process = process
    intent, _ = app.authority.prepare(
        IssuanceRequest(
            issuer=issuer,
            policy=app.policies.default,
            subject=subject,
            key=key,
            extensions=(authority_key_identifier(issuer.certificate),),
            days=1,
        )
    )
    request = NewRequest(
        method=Method.EST,
        csr=b"",
        subject=subject.text,
        key_type=key.text,
        key_id=key.key_id,
        policy=app.policies.default.name,
        issuer=issuer.name,
        principal="test",
        owner_id=None,
        created_at=app.authority.now(),
    )
    done(app.store.begin(request, intent, app.authority.now()))
    return intent.serial
