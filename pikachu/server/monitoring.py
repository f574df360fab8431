"""Builds what Prometheus asks for (OPS-4)."""

from __future__ import annotations

from pikachu.operations.metrics import Metrics
from pikachu.server.application import Application


def build_metrics(app: Application) -> Metrics:
    """Build the metrics of an application; the listeners' numbers are added by their owners."""
    metrics = Metrics(
        clock=app.clock,
        store=app.store,
        statistics=app.statistics,
        readiness=app.readiness,
        issuers=app.issuers,
        authority=app.authority,
        enrollment=app.enrollment,
        publisher=app.publisher,
        responder=app.responder,
        pools=app.pools.services(),
        is_leader=app.nodes.is_leader,
        vault=app.vault,
    )
    if app.broker_publisher is not None:
        metrics.watch_broker(app.broker_publisher)
    metrics.watch_housekeeping(app.housekeeping.removed)
    metrics.watch_notices(app.notices.delivery.outcomes)
    return metrics
