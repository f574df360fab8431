"""Audit events for the actions of principals (AUD-1)."""

from __future__ import annotations

from pikachu.core.model.events import Event
from pikachu.core.model.people import Principal


def event_by(
    actor: Principal, type_: str, resource_type: str, name: str, owner_id: int | None, **details: object
) -> Event:
    """That *actor* has done something with what belongs to *owner_id*, with the address that they came from."""
    details |= address_details(actor.address)
    return Event(type_, resource_type, name, actor.name, details, owner_id=owner_id, actor_id=actor.owner_id)


def address_details(address: str) -> dict[str, object]:
    """Return how the details of an event tell the client's address, where there is one."""
    return {"ip": address} if address else {}
