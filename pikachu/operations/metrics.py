"""Collects the metrics when somebody asks for them (OPS-4).

Nothing is counted twice: the parts of the server have numbers of their own (:mod:`pikachu.core.metrics`), which are
read here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as TooSlow

from pikachu import __version__
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.concurrency import WorkerPool, uncancelled
from pikachu.core.errors import PikachuError
from pikachu.core.interfaces import IClock
from pikachu.core.log_interfaces import LogState
from pikachu.core.metrics import CountsByLabel, Labels, Times, TimesByLabel
from pikachu.core.model.jobs import JobState
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.preferences import BackupState
from pikachu.operations.metric_names import METRICS
from pikachu.operations.readiness import CHECKING, DEGRADED, DISABLED, OK, UNAVAILABLE, Readiness, State
from pikachu.operations.statistics import Overview, Statistics
from pikachu.ra.enrollment import EnrollmentService
from pikachu.va.broker_publisher import BrokerPublisher
from pikachu.va.crl_files import DELTA, PublishedCRL
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.va.ocsp import OCSPResponder

T = TypeVar("T")
#: The samples of each metric: labels and value.
Samples: TypeAlias = Mapping[str, Sequence[tuple[Labels, float | Times]]]

#: Seconds after which a part that has no answer is left out.
MAX_WAIT: Final = 3.0
EXPIRING_DAYS: Final = (7, 30, 90)
#: The label of all sharded CRLs of a CA.
SHARDS: Final = "shards"
_STATES: Final = (OK, DEGRADED, UNAVAILABLE, DISABLED, CHECKING)


class IMetricStore(Protocol):
    """The numbers of jobs and nodes, and the last backup, in the store."""

    def job_counts(self) -> Deferred[dict[str, int]]:
        """Return the numbers of jobs by state."""

    def log_state(self) -> Deferred[LogState]:
        """Return the size of the transparency log, and what is not in it yet."""

    def node_count(self) -> Deferred[int]:
        """Return the number of running servers; 1 where a database has one only."""

    def backup_state(self) -> Deferred[BackupState]:
        """Return the last backup, and the first failure since."""


class IRemoteSigner(Protocol):
    """The availability of a signer behind a wire."""

    outages: int

    @property
    def is_reachable(self) -> bool:
        """Whether it answers."""


@dataclass(frozen=True, slots=True)
class ListenerNumbers:
    """The numbers of one listener.

    :param in_flight: returns the number of requests that are not answered yet.
    :param certificate_end: returns the end of the TLS certificate in use; ``None`` for a listener without TLS.
    """

    name: str
    answered: TimesByLabel
    in_flight: Callable[[], int]
    certificate_end: Callable[[], datetime] | None = None


class Metrics:
    """All metrics of the server."""

    def __init__(
        self,
        *,
        clock: IClock,
        store: IMetricStore,
        statistics: Statistics,
        readiness: Readiness,
        issuers: IssuingCAs,
        authority: CertificateAuthority,
        enrollment: EnrollmentService,
        publisher: CRLPublisher,
        responder: OCSPResponder,
        pools: Sequence[WorkerPool],
        is_leader: Callable[[], bool],
        vault: IRemoteSigner | None,
    ) -> None:
        self._clock = clock
        self._store = store
        self._statistics = statistics
        self._readiness = readiness
        self._issuers = issuers
        self._authority = authority
        self._enrollment = enrollment
        self._publisher = publisher
        self._responder = responder
        self._pools = pools
        self._is_leader = is_leader
        self._vault = vault
        self._broker: BrokerPublisher | None = None
        self._removed: Mapping[str, int] = {}
        self._notices: Mapping[Labels, int] = {}
        self._listeners: list[ListenerNumbers] = []
        self._ocsp_hits: list[Callable[[], Mapping[str, int]]] = []
        self._ocsp_errors: list[CountsByLabel] = []

    def watch_listener(self, numbers: ListenerNumbers) -> None:
        """Tell the numbers of a listener, too."""
        self._listeners.append(numbers)

    def watch_broker(self, publisher: BrokerPublisher) -> None:
        """Tell what is published to an MQTT broker, too."""
        self._broker = publisher

    def watch_housekeeping(self, removed: Mapping[str, int]) -> None:
        """Tell how much of each kind housekeeping has removed, too."""
        self._removed = removed

    def watch_notices(self, outcomes: Mapping[Labels, int]) -> None:
        """Tell what became of messages with notices, by channel and result, too."""
        self._notices = outcomes

    def watch_ocsp(self, hits: Callable[[], Mapping[str, int]], errors: CountsByLabel) -> None:
        """Tell of OCSP over HTTP, too: complete responses from memory, and responses without a signature."""
        self._ocsp_hits.append(hits)
        self._ocsp_errors.append(errors)

    @uncancelled
    async def collect(self) -> Samples:
        """Return the samples of all metrics; a part that fails is left out, and named in one of them."""
        samples = _Samples()
        samples.add("pikachu_build_info", 1, __version__)
        self._add_issuance(samples)
        self._add_ocsp(samples)
        self._add_cas(samples)
        self._add_server(samples)
        parts: dict[str, Callable[[], Deferred[None]]] = {
            "certificates": lambda: self._statistics.overview(SYSTEM).addCallback(_add_overview, samples),
            "checks": lambda: self._readiness.glance().addCallback(_add_checks, samples),
            "nodes": lambda: self._store.node_count().addCallback(lambda count: samples.add("pikachu_nodes", count)),
            "broker": lambda: self._add_broker(samples),
            "backup": lambda: self._store.backup_state().addCallback(_add_backup, samples),
            "transparency_log": lambda: self._store.log_state().addCallback(_add_log, samples),
            "jobs": lambda: self._store.job_counts().addCallback(_add_jobs, samples),
        }
        for part, add in parts.items():
            try:
                await add().addTimeout(MAX_WAIT, self._clock)  # type: ignore[arg-type]  # it needs callLater only
            except (PikachuError, TooSlow):
                samples.add("pikachu_collection_failed", 1, part)
            else:
                samples.add("pikachu_collection_failed", 0, part)
        return samples.by_metric

    def _add_issuance(self, samples: _Samples) -> None:
        samples.add_all("pikachu_issuance_seconds", self._authority.issued.items())
        samples.add_all("pikachu_issuance_failures_total", self._authority.failed.items())
        samples.add_all("pikachu_enrollments_not_issued_total", self._enrollment.not_issued.items())

    def _add_ocsp(self, samples: _Samples) -> None:
        cached = [self._responder.hits, *(hits() for hits in self._ocsp_hits)]
        sources: dict[str, list[Mapping[str, int]]] = {"signed": [self._responder.signed], "cache": cached}
        for source, numbers in sources.items():
            for result in self._responder.signed:
                total = sum(one[result] for one in numbers)
                samples.add("pikachu_ocsp_responses_total", total, result, source)
        for errors in self._ocsp_errors:
            samples.add_all("pikachu_ocsp_errors_total", errors.items())
        count, size = self._responder.cache_usage
        samples.add("pikachu_ocsp_cache_responses", count)
        samples.add("pikachu_ocsp_cache_bytes", size)

    def _add_cas(self, samples: _Samples) -> None:
        for issuer in self._issuers.all():
            labels = (issuer.name, issuer.key_identifier.hex()[:16])
            not_after = issuer.certificate.not_after.timestamp()
            samples.add("pikachu_ca_not_after_timestamp_seconds", not_after, *labels)
            crl = self._publisher.newest(issuer)
            if crl is not None:
                samples.add("pikachu_crl_number", crl.number, *labels)
                samples.add("pikachu_crl_entries", crl.entries, *labels)
                samples.add("pikachu_crl_size_bytes", crl.size, *labels)
                samples.add("pikachu_crl_this_update_timestamp_seconds", crl.this_update.timestamp(), *labels)
                samples.add("pikachu_crl_next_update_timestamp_seconds", crl.next_update.timestamp(), *labels)
            _add_crl_parts(self._publisher.parts.published(issuer), labels, samples)

        for ca, end in self._responder.responder_certificates():
            labels = (ca.name, ca.key_identifier.hex()[:16])
            samples.add("pikachu_ocsp_responder_not_after_timestamp_seconds", end.timestamp(), *labels)

    def _add_server(self, samples: _Samples) -> None:
        for one in self._listeners:
            samples.add("pikachu_http_requests_in_flight", one.in_flight(), one.name)
            if one.certificate_end is not None:
                not_after = one.certificate_end().timestamp()
                samples.add("pikachu_https_certificate_not_after_timestamp_seconds", not_after, one.name)
            for labels, times in one.answered.items().items():
                samples.add("pikachu_http_request_seconds", times, one.name, *labels)
        for pool in self._pools:
            samples.add("pikachu_pool_threads_max", pool.size, pool.pool_name)
            samples.add("pikachu_pool_threads_lost", pool.lost, pool.pool_name)
            samples.add("pikachu_pool_calls", pool.outstanding, pool.pool_name)
        samples.add("pikachu_leader", self._is_leader())
        for kind, count in self._removed.items():
            samples.add("pikachu_housekeeping_removed_total", count, kind)
        samples.add_all("pikachu_notice_messages_total", self._notices)
        if self._vault is not None:
            samples.add("pikachu_vault_reachable", self._vault.is_reachable)
            samples.add("pikachu_vault_outages_total", self._vault.outages)

    def _add_broker(self, samples: _Samples) -> Deferred[None]:
        broker = self._broker
        if broker is None:
            return succeed(None)
        samples.add("pikachu_mqtt_connected", broker.is_connected)
        samples.add("pikachu_mqtt_connections_total", broker.connections)
        for result, counts in (("published", broker.published), ("failed", broker.failed)):
            for kind, count in counts.items():
                samples.add("pikachu_mqtt_messages_total", count, kind, result)
        return broker.outstanding().addCallback(lambda count: samples.add("pikachu_mqtt_outstanding", count))


class _Samples:
    """The samples of an answer, as they are collected."""

    def __init__(self) -> None:
        self.by_metric: dict[str, list[tuple[Labels, float | Times]]] = {name: [] for name in METRICS}

    def add(self, name: str, value: float | Times, *labels: str) -> None:
        """Add a sample."""
        self.by_metric[name].append((labels, value))

    def add_all(self, name: str, values: Mapping[Labels, int] | Mapping[Labels, Times]) -> None:
        """Add the samples of several sets of labels."""
        self.by_metric[name] += values.items()


def _add_overview(overview: Overview, samples: _Samples) -> None:
    counts = overview.counts
    if counts is None:
        return
    for status, count in (("valid", counts.valid), ("revoked", counts.revoked), ("expired", counts.expired)):
        samples.add("pikachu_certificates", count, status)
    for days in EXPIRING_DAYS:
        samples.add("pikachu_certificates_expiring", overview.within(days), str(days))
    samples.add("pikachu_approvals_pending", counts.waiting)
    samples.add("pikachu_accounts_pending", counts.pending_accounts or 0)


def _add_crl_parts(parts: Mapping[str, PublishedCRL], ca: Labels, samples: _Samples) -> None:
    """Add the delta CRL, and the shards together: there may be a thousand of them."""
    kinds = {
        DELTA: [crl for part, crl in parts.items() if part == DELTA],
        SHARDS: [crl for part, crl in parts.items() if part != DELTA],
    }
    for kind, crls in kinds.items():
        if not crls:
            continue
        labels = (*ca, kind)
        samples.add("pikachu_crl_parts", len(crls), *labels)
        samples.add("pikachu_crl_part_number", max(crl.number for crl in crls), *labels)
        samples.add("pikachu_crl_part_entries", sum(crl.entries for crl in crls), *labels)
        samples.add("pikachu_crl_part_size_bytes", max(crl.size for crl in crls), *labels)
        issued, expires = min(crl.this_update for crl in crls), min(crl.next_update for crl in crls)
        samples.add("pikachu_crl_part_this_update_timestamp_seconds", issued.timestamp(), *labels)
        samples.add("pikachu_crl_part_next_update_timestamp_seconds", expires.timestamp(), *labels)


def _add_log(state: LogState, samples: _Samples) -> None:
    samples.add("pikachu_transparency_log_entries", state.size)
    samples.add("pikachu_transparency_log_pending", state.pending)


def _add_checks(states: Mapping[str, State], samples: _Samples) -> None:
    for check, result in states.items():
        for state in _STATES:
            samples.add("pikachu_check_state", result.state == state, check, state)


def _add_backup(state: BackupState, samples: _Samples) -> None:
    if state.last is not None:
        samples.add("pikachu_backup_last_success_timestamp_seconds", state.last.at.timestamp())
    if state.failed is not None:
        samples.add("pikachu_backup_failing_since_timestamp_seconds", state.failed.at.timestamp())


def _add_jobs(counts: Mapping[str, int], samples: _Samples) -> None:
    for state in JobState:
        samples.add("pikachu_jobs", counts.get(state.value, 0), state.value)
