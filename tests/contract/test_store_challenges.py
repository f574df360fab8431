"""Challenge passwords with labels and names in every kind of database (ENR-1)."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import BoundNames, NewChallengePassword
from tests.support.databases import NOW, Opened, event, seal

HOUR = timedelta(hours=1)
SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")]).public_bytes()


def test_labels_and_names(db: Opened) -> None:
    """They are returned as stored; lists filter, sort and search them."""
    plain = [
        db.get(
            db.store.add_challenge(
                NewChallengePassword(bytes([index]), f"{index:08}", seal, None, NOW + HOUR), event(), NOW
            )
        )
        for index in range(3)
    ]
    assert {(one.label, one.names) for one in plain} == {("", None)}
    names = BoundNames("CN=a", ("DNS:a.example.com", "DNS:b.example.com"), SUBJECT, b"names")
    new = NewChallengePassword(b"bound", "ABCDEF00", seal, None, NOW + HOUR, "Pump", names)
    bound = db.get(db.store.add_challenge(new, event(), NOW))
    assert (bound.label, bound.names) == ("Pump", names)
    for query in (ListQuery(q="pump B.EXAMPLE"), ListQuery(filters={"label": "Pump"}), ListQuery(q="abcdef")):
        assert db.get(db.store.challenges(query, NOW)).items == (bound,)
    by_label = db.get(db.store.challenges(ListQuery(sort="-label", limit=2), NOW))
    assert by_label.items[0] == bound
    rest = db.get(db.store.challenges(ListQuery(sort="-label", limit=9, cursor=by_label.next_cursor), NOW))
    assert [one.id for one in (*by_label.items[1:], *rest.items)] == [one.id for one in reversed(plain)]
