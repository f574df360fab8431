"""``/metrics`` of a real server, and what docs, dashboard and alert rules say of them (OPS-4)."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from pikachu.cli.session import done
from pikachu.core.model.people import SYSTEM, AccountState, Role, Scope
from pikachu.operations.metric_names import METRICS
from pikachu.signers.files import load_certificates
from pikachu.x509.certificate import parse_certificate
from tests.support.interop import require
from tests.support.ocsp import cert_id
from tests.support.ocsp import request as ocsp_request
from tests.support.rest import csr_pem
from tests.support.server import Answer, Server, running_server

ROOT: Final = Path(__file__).parents[2]
ALERTS: Final = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD: Final = ROOT / "deploy/grafana/pikachu.json"
NAME: Final = re.compile(r"\bpikachu_[a-z_]+\b")


class Monitored:
    """A server with tokens of an administrator and of others."""

    def __init__(self, server: Server) -> None:
        self.server = server
        with server.application() as app:
            accounts = {
                name: done(
                    app.accounts.add_user(SYSTEM, name, "a@example.com", role, AccountState.ACTIVE, "long enough")
                )
                for name, role in (("root", Role.ADMIN), ("user", Role.USER))
            }

            def token(name: str, scopes: frozenset[Scope] | None = None) -> str:
                return str(done(app.tokens.create(SYSTEM, accounts[name].id, str(len(scopes or ())), scopes=scopes))[1])

            self.tokens = {
                "root": token("root"),
                "user": token("user"),
                "reader": token("root", frozenset({Scope.READ})),
                "issuer": token("root", frozenset({Scope.ENROLL, Scope.ADMIN})),
            }

    def metrics(self, who: str | None = None) -> Answer:
        """The answer over HTTPS with a token."""
        fields = {} if who is None else {"Authorization": f"Bearer {self.tokens.get(who, who)}"}
        return self.server.ask("https", "/metrics", headers=fields)

    def samples(self) -> dict[str, float]:
        """Values by name and labels, over HTTP from this machine."""
        answer = self.server.ask("http", "/metrics")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        lines = [line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    with running_server(tmp_path_factory.mktemp("metrics")) as server:
        yield Monitored(server)


def test_access(monitored: Monitored) -> None:
    """Over HTTPS for administrators' tokens with both scopes; over HTTP for this machine without one."""
    assert monitored.metrics().status == 401
    assert monitored.metrics("wrong").status == 401
    for who in ("user", "reader", "issuer"):
        assert monitored.metrics(who).status == 403, who
    answer = monitored.metrics("root")
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert monitored.server.ask("https", "/metrics/x").status == 404
    assert monitored.server.ask("scep", "/metrics").status == 404


def test_numbers(monitored: Monitored) -> None:
    """They follow what happens; labels say by which protocol, policy and CA."""
    before = monitored.samples()
    fields = {"Authorization": f"Bearer {monitored.tokens['root']}", "Content-Type": "application/json"}

    def enroll(body: dict[str, object]) -> Answer:
        return monitored.server.ask("https", "/api/v1/certificates", "POST", json.dumps(body).encode(), fields)

    issued = json.loads(enroll({"csr": csr_pem("metered.example.com")}).body)
    assert enroll({"csr": csr_pem("too-long.example.com"), "validity_days": 30_000}).status == 422
    issuer = parse_certificate(monitored.server.files.issuers["ec"].der)
    request = ocsp_request(cert_id(issuer, int(issued["serial"], 16)))
    for _ in range(3):
        kind = {"Content-Type": "application/ocsp-request"}
        assert monitored.server.ask("http", "/ocsp", "POST", request, kind).status == 200
    assert monitored.server.ask("http", "/ocsp", "POST", b"nonsense", kind).status == 200
    after = monitored.samples()

    def grown(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    assert grown('pikachu_issuance_seconds_count{ca="ec",policy="System",protocol="API"}') == 1
    refused = 'pikachu_enrollments_not_issued_total{policy="System",protocol="API",result="refused"}'
    assert grown(refused) == 1
    responses = {
        source: grown(f'pikachu_ocsp_responses_total{{result="good",source="{source}"}}')
        for source in ("signed", "cache")
    }
    assert responses["signed"] >= 1
    assert sum(responses.values()) == 3
    assert grown('pikachu_ocsp_errors_total{status="malformed_request"}') == 1
    assert grown('pikachu_http_request_seconds_count{area="api",listener="https",status="2xx"}') == 1
    assert grown('pikachu_http_request_seconds_count{area="api",listener="https",status="4xx"}') == 1
    assert after['pikachu_check_state{check="database",state="ok"}'] == 1
    assert after['pikachu_check_state{check="vault",state="disabled"}'] == 1
    assert after["pikachu_nodes"] == after["pikachu_leader"] == 1
    assert after['pikachu_pool_threads_lost{pool="token"}'] == 0
    assert after['pikachu_jobs{state="running"}'] == 0
    ends = [value for name, value in after.items() if "_not_after_timestamp_seconds{" in name]
    assert min(ends) > time.time()
    for name in ("https", "trusted_https"):
        certificate = load_certificates(monitored.server.folder / "https.crt", "")[0]
        expected = certificate.not_after.timestamp()
        assert after[f'pikachu_https_certificate_not_after_timestamp_seconds{{listener="{name}"}}'] == expected
    responders = [name for name in after if name.startswith("pikachu_ocsp_responder_not_after_timestamp_seconds{")]
    assert sorted(re.findall('ca="([a-z]+)"', "".join(responders))) == ["ec", "root"]
    crls = {name: value for name, value in after.items() if name.startswith("pikachu_crl_size_bytes")}
    assert crls
    assert min(crls.values()) > 100
    assert not any(value for name, value in after.items() if name.startswith("pikachu_collection_failed"))
    assert after["pikachu_process_resident_memory_bytes"] > 1e7


def test_names(monitored: Monitored) -> None:
    """Every name is declared; units and suffixes are Prometheus' own."""
    text = monitored.metrics("root").text
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    own = {name: kind for name, kind in families.items() if not name.startswith("pikachu_process_")}
    assert own.items() <= {name: metric.kind for name, metric in METRICS.items()}.items()
    # Vault, MQTT and parts of CRLs are off, nobody has been refused by every metric yet, and no backup was made.
    assert {name for name in METRICS if name not in own} <= {
        "pikachu_backup_last_success_timestamp_seconds",
        "pikachu_backup_failing_since_timestamp_seconds",
        *(name for name in METRICS if name.startswith("pikachu_crl_part")),
        "pikachu_mqtt_connected",
        "pikachu_mqtt_connections_total",
        "pikachu_mqtt_messages_total",
        "pikachu_mqtt_outstanding",
        "pikachu_vault_reachable",
        "pikachu_vault_outages_total",
        "pikachu_issuance_failures_total",
        "pikachu_enrollments_not_issued_total",
        "pikachu_issuance_seconds",
        "pikachu_ocsp_errors_total",
    }
    for name, metric in METRICS.items():
        assert name.endswith("_total") == (metric.kind == "counter"), name
        assert metric.meaning.endswith("."), name


def test_promtool_reads_the_answer(monitored: Monitored) -> None:
    """Prometheus' own linter finds nothing."""
    require("promtool")
    text = monitored.metrics("root").text
    ended = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_document() -> None:
    """It has each metric with its kind, labels and meaning, and no other."""
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
    rows = {
        f"| `{name}` | {metric.kind} | {', '.join(f'`{one}`' for one in metric.labels)} | {metric.meaning} |"
        for name, metric in METRICS.items()
    }
    assert {line for line in text.splitlines() if line.startswith("| `pikachu_")} == rows


@pytest.mark.parametrize("file", [ALERTS, DASHBOARD], ids=["alerts", "dashboard"])
def test_names_in_deploy(monitored: Monitored, file: Path) -> None:
    """Alert rules and dashboard use names and labels that the server has."""
    answered = set(re.findall(r"^# TYPE (\S+) ", monitored.metrics("root").text, re.MULTILINE))
    text = file.read_text("utf-8")
    names = set(NAME.findall(text))
    assert len(names) > 8
    for name in names:
        family = re.sub(r"_(bucket|count|sum)$", "", name)
        is_histogram = family in METRICS and METRICS[family].kind == "histogram"
        assert name in METRICS or is_histogram or name in answered, name
    labels = {"instance", "job", "le", "status", *(label for metric in METRICS.values() for label in metric.labels)}
    assert set(re.findall(r"\$labels\.([a-z]+)", text)) <= labels
    assert {one.strip() for group in re.findall(r"\bby \(([^)]*)\)", text) for one in group.split(",")} <= labels
    assert set(re.findall(r"([a-z]+)=~?\\?\"", text)) <= labels


def test_rules(tmp_path: Path) -> None:
    """Promtool accepts the rules and the configuration, and they fire when they should."""
    require("promtool")
    (tmp_path / "alerts.yml").write_bytes(ALERTS.read_bytes())
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8")
    for name in ("pikachu.token", "pikachu-root.crt"):
        (tmp_path / name).touch()
        text = text.replace(f"/etc/prometheus/{name}", str(tmp_path / name))
    (tmp_path / "prometheus.yml").write_text(text, encoding="utf-8")
    (tmp_path / "test.yml").write_text(_RULE_TEST, encoding="utf-8")
    (tmp_path / "days.yml").write_text(_RULE_TEST_OF_DAYS, encoding="utf-8")
    for arguments in (
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("test", "rules", "test.yml", "days.yml"),
    ):
        ended = subprocess.run(
            ["promtool", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


_RULE_TEST: Final = """\
rule_files: [alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: pikachu_crl_next_update_timestamp_seconds{ca="ec",key="00",instance="a"}
        values: 90000+0x300
      - series: pikachu_crl_part_next_update_timestamp_seconds{ca="ec",key="00",part="shards",instance="a"}
        values: 90000+0x300
      - series: pikachu_crl_part_next_update_timestamp_seconds{ca="ec",key="00",part="delta",instance="a"}
        values: 6000+0x300
      - series: pikachu_pool_threads_lost{pool="token",instance="a"}
        values: 0 0 1+0x60
      - series: pikachu_check_state{check="signer",state="unavailable",instance="a"}
        values: 0 0 0
    alert_rule_test:
      - eval_time: 30m
        alertname: PikachuCRLExpires
      - eval_time: 80m
        alertname: PikachuCRLExpires
        exp_alerts:
          - exp_labels: {severity: critical, ca: ec, key: "00", instance: a}
            exp_annotations:
              summary: The CRL of ec expires within a day; brokers will refuse every client.
      - eval_time: 60m
        alertname: PikachuShardedCRLExpires
      - eval_time: 80m
        alertname: PikachuShardedCRLExpires
        exp_alerts:
          - exp_labels: {severity: critical, ca: ec, key: "00", part: shards, instance: a}
            exp_annotations:
              summary: A sharded CRL of ec expires within a day; clients that fetch it will refuse its certificates.
      - eval_time: 99m
        alertname: PikachuDeltaCRLExpired
      - eval_time: 110m
        alertname: PikachuDeltaCRLExpired
        exp_alerts:
          - exp_labels: {severity: warning, ca: ec, key: "00", part: delta, instance: a}
            exp_annotations:
              summary: The delta CRL of ec has expired; clients don't learn of new revocations from it.
      - eval_time: 10m
        alertname: PikachuThreadsLost
        exp_alerts:
          - exp_labels: {severity: warning, pool: token, instance: a}
            exp_annotations:
              summary: Calls of token don't return on a; restart it if that lasts.
      - eval_time: 10m
        alertname: PikachuNotReady
"""
_RULE_TEST_OF_DAYS: Final = """\
rule_files: [alerts.yml]
evaluation_interval: 1h
tests:
  - interval: 1h
    input_series:
      - series: pikachu_build_info{version="1",instance="a"}
        values: 1+0x100
      - series: pikachu_build_info{version="1",instance="b"}
        values: 1+0x100
      - series: pikachu_backup_last_success_timestamp_seconds{instance="a"}
        values: 3600+0x100
      - series: pikachu_backup_failing_since_timestamp_seconds{instance="b"}
        values: _x20 72000+0x50 stale
      - series: pikachu_notice_messages_total{channel="mail",result="failed",instance="a"}
        values: 0x10 2+0x90
    alert_rule_test:
      - eval_time: 48h
        alertname: PikachuBackupOld
      - eval_time: 51h
        alertname: PikachuBackupOld
        exp_alerts:
          - exp_labels: {severity: warning, instance: a}
            exp_annotations:
              summary: The last backup of a is older than two days; run `pikachu backup`.
      - eval_time: 40h
        alertname: PikachuNoBackup
      - eval_time: 50h
        alertname: PikachuNoBackup
        exp_alerts:
          - exp_labels: {severity: warning, version: "1", instance: b}
            exp_annotations:
              summary: b has no backup yet; run `pikachu backup`.
      - eval_time: 19h
        alertname: PikachuBackupFails
      - eval_time: 30h
        alertname: PikachuBackupFails
        exp_alerts:
          - exp_labels: {severity: warning, instance: b}
            exp_annotations:
              summary: Backups of b fail; the event of the failure says why.
      - eval_time: 11h
        alertname: PikachuNoticesFail
        exp_alerts:
          - exp_labels: {severity: warning, channel: mail, instance: a}
            exp_annotations:
              summary: Notices by mail were given up on a; the page Notices says why.
      - eval_time: 90h
        alertname: PikachuNoticesFail
"""
