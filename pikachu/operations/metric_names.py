"""The metrics: names, kinds, labels and meanings (OPS-4); docs/metrics.md has the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    :param kind: ``counter``, ``gauge`` or ``histogram``.
    """

    kind: str
    meaning: str
    labels: tuple[str, ...] = ()


_CA: Final = ("ca", "key")
_CRL_PART: Final = (*_CA, "part")
_ISSUED: Final = ("protocol", "policy", "ca")

#: All metrics but those of the process, which prometheus_client names.
METRICS: Final[Mapping[str, Metric]] = {
    "pikachu_build_info": Metric("gauge", "The version; always 1.", ("version",)),
    "pikachu_issuance_seconds": Metric(
        "histogram",
        "Times from the stored intent to the stored certificate, one for each certificate.",
        _ISSUED,
    ),
    "pikachu_issuance_failures_total": Metric("counter", "Certificates that could not be signed or stored.", _ISSUED),
    "pikachu_enrollments_not_issued_total": Metric(
        "counter",
        "Authenticated enrollments that a policy refused, or that wait for approval.",
        ("protocol", "policy", "result"),
    ),
    "pikachu_http_request_seconds": Metric(
        "histogram",
        "Times of answered requests, without those that are answered from the cache of OCSP responses.",
        ("listener", "area", "status"),
    ),
    "pikachu_http_requests_in_flight": Metric("gauge", "Requests that are not answered yet.", ("listener",)),
    "pikachu_ocsp_responses_total": Metric(
        "counter",
        "Signed OCSP responses, by what they say and where they came from.",
        ("result", "source"),
    ),
    "pikachu_ocsp_errors_total": Metric("counter", "OCSP responses without a signature, by their status.", ("status",)),
    "pikachu_ocsp_cache_responses": Metric("gauge", "Signed OCSP responses in the cache."),
    "pikachu_ocsp_cache_bytes": Metric("gauge", "The size of the cached OCSP responses."),
    "pikachu_crl_number": Metric("gauge", "The number of the newest CRL.", _CA),
    "pikachu_crl_entries": Metric("gauge", "The entries of the newest CRL.", _CA),
    "pikachu_crl_size_bytes": Metric("gauge", "The size of the newest CRL.", _CA),
    "pikachu_crl_this_update_timestamp_seconds": Metric("gauge", "When the newest CRL was issued.", _CA),
    "pikachu_crl_next_update_timestamp_seconds": Metric("gauge", "When the newest CRL expires.", _CA),
    "pikachu_crl_parts": Metric("gauge", "Delta CRLs and sharded CRLs that are published.", _CRL_PART),
    "pikachu_crl_part_number": Metric("gauge", "The number of the delta CRL, or the highest of a shard.", _CRL_PART),
    "pikachu_crl_part_entries": Metric("gauge", "The entries of the delta CRL, or of all shards.", _CRL_PART),
    "pikachu_crl_part_size_bytes": Metric("gauge", "The size of the delta CRL, or of the largest shard.", _CRL_PART),
    "pikachu_crl_part_this_update_timestamp_seconds": Metric(
        "gauge", "When the delta CRL, or the oldest shard, was issued.", _CRL_PART
    ),
    "pikachu_crl_part_next_update_timestamp_seconds": Metric(
        "gauge", "When the delta CRL, or the first of the shards, expires.", _CRL_PART
    ),
    "pikachu_backup_last_success_timestamp_seconds": Metric(
        "gauge", "When `pikachu backup` last wrote a backup; absent before the first one."
    ),
    "pikachu_backup_failing_since_timestamp_seconds": Metric(
        "gauge", "When `pikachu backup` first failed after the last backup; absent while it works."
    ),
    "pikachu_ca_not_after_timestamp_seconds": Metric("gauge", "When the certificate of a CA expires.", _CA),
    "pikachu_ocsp_responder_not_after_timestamp_seconds": Metric(
        "gauge",
        "When the OCSP responder's certificate of a CA expires; a server renews those of its own issuing CAs.",
        _CA,
    ),
    "pikachu_https_certificate_not_after_timestamp_seconds": Metric(
        "gauge",
        "When the HTTPS certificate in use expires.",
        ("listener",),
    ),
    "pikachu_certificates": Metric("gauge", "Certificates in the lists.", ("status",)),
    "pikachu_certificates_expiring": Metric("gauge", "Valid certificates that expire within so many days.", ("days",)),
    "pikachu_approvals_pending": Metric("gauge", "Enrollments that wait for approval."),
    "pikachu_accounts_pending": Metric("gauge", "Accounts that wait for approval."),
    "pikachu_check_state": Metric(
        "gauge", "The result of each readiness check: 1 for its state, 0 for the others.", ("check", "state")
    ),
    "pikachu_vault_reachable": Metric("gauge", "Whether Vault is reachable; absent where it isn't used."),
    "pikachu_vault_outages_total": Metric("counter", "How often Vault became unreachable."),
    "pikachu_mqtt_connected": Metric(
        "gauge", "Whether this server is connected with the MQTT broker; absent where none is used."
    ),
    "pikachu_mqtt_connections_total": Metric("counter", "Connections that the MQTT broker has accepted."),
    "pikachu_mqtt_messages_total": Metric(
        "counter", "Messages to the MQTT broker, by their kind and by what became of them.", ("kind", "result")
    ),
    "pikachu_mqtt_outstanding": Metric("gauge", "Revocations that the MQTT broker has not confirmed."),
    "pikachu_pool_threads_max": Metric("gauge", "The threads that a worker pool has at most.", ("pool",)),
    "pikachu_pool_threads_lost": Metric("gauge", "Threads whose calls have not returned in time.", ("pool",)),
    "pikachu_pool_calls": Metric("gauge", "Calls that wait or are being done.", ("pool",)),
    "pikachu_nodes": Metric("gauge", "The running servers of this database."),
    "pikachu_leader": Metric("gauge", "Whether this server does what one at a time does, such as making CRLs."),
    "pikachu_jobs": Metric("gauge", "Jobs by their state.", ("state",)),
    "pikachu_transparency_log_entries": Metric("gauge", "Events and certificates in the transparency log."),
    "pikachu_transparency_log_pending": Metric(
        "gauge", "Events and certificates that are not in the transparency log yet, at most."
    ),
    "pikachu_housekeeping_removed_total": Metric("counter", "Objects that housekeeping has removed.", ("kind",)),
    "pikachu_notice_messages_total": Metric(
        "counter", "Attempts to send a message with notices, by what became of them.", ("channel", "result")
    ),
    "pikachu_collection_failed": Metric("gauge", "Whether a part of the metrics is missing here.", ("part",)),
}
