"""Recovered revocations, without a restore."""

from __future__ import annotations

from pikachu.core.audit import event_by
from pikachu.core.interfaces import IClock
from pikachu.core.model.certificates import PublishedRevocation, RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.times import utc
from pikachu.core.recovery_interfaces import UNDECIDED
from pikachu.server.application import Application
from pikachu.x509.crl import crl_entry
from tests.support.deferreds import result_of


def recover(
    app: Application,
    clock: IClock,
    *serials: int,
    reason: RevocationReason = RevocationReason.KEY_COMPROMISE,
    ca: str = "ec",
) -> list[int]:
    """Record these serial numbers as an issuing CA's recovered revocations; return the ids of the undecided."""
    issuer, now = app.issuers.named(ca), utc(clock.seconds())
    entries = [PublishedRevocation(serial, now, reason, crl_entry(serial, now, reason)) for serial in serials]
    event = event_by(SYSTEM, "recover", "CRL", issuer.key_identifier.hex(), None)
    period = (now, issuer.certificate.not_after)
    result_of(app.store.recover_revocations(issuer.id, entries, period, event, now))
    return undecided_ids(app)


def undecided_ids(app: Application) -> list[int]:
    """Return the ids of what waits for a decision, ascending."""
    query = ListQuery(limit=1000, sort="id", filters={"decision": UNDECIDED})
    return [one.id for one in result_of(app.store.recovered_revocations(query)).items]
