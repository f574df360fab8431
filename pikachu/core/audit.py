"""Audit events for the actions of principals (AUD-1)."""

from __future__ import annotations

from pikachu.core.model.events import Event
from pikachu.core.model.people import Principal


def event_by(
    actor: Principal, type_: str, resource_type: str, name: str, owner_id: int | None, **details: object
) -> Event:
    """Return an event of *actor* about an object of *owner_id*, with the client's address and the job."""
    details |= address_details(actor.address)
    if actor.job_id is not None:
        details["job"] = actor.job_id
    return Event(type_, resource_type, name, actor.name, details, owner_id=owner_id, actor_id=actor.owner_id)


def address_details(address: str) -> dict[str, object]:
    """Return the client's address as event details, or none without one."""
    return {"ip": address} if address else {}
