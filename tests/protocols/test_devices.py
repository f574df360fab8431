"""Devices, whatever they enroll by: each certificate joins the device of its name (DEV-1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.core.errors import PolicyViolation
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.devices import Device
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.policies import Approval, PolicyLimits
from tests.support.deferreds import result_of
from tests.support.est import est_server
from tests.support.pki import make_ca, make_csr, make_leaf
from tests.support.ways_in import WAYS, Person, Server, every_way

#: Ways to get a certificate for the person's name.
ENROLLING = (
    *("EST simpleenroll by certificate", "EST simplereenroll by certificate", "EST serverkeygen by certificate"),
    *("EST simpleenroll by password", "EST by challenge password", "REST by token", "REST by certificate"),
    "REST of an administrator for the owner",
)
SCEP_WAYS = ("SCEP PKCSReq by challenge password", "SCEP PKCSReq by certificate", "SCEP RenewalReq")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with every_way(tmp_path_factory.mktemp("server")) as made:
        yield made


def devices(person: Person) -> list[Device]:
    """The person's devices."""
    store, now = person.server.stack.app.store, person.server.stack.app.authority.now()
    return list(result_of(store.devices(ListQuery(owner_id=person.account.id), now)).items)


@pytest.mark.parametrize("name", [*ENROLLING, *SCEP_WAYS])
def test_each_way_adds_to_the_device(server: Server, name: str) -> None:
    """Its first certificate, or a further one."""
    person, way = Person(server), WAYS[name]
    attempt = way.prepare(person)
    before = devices(person)
    assert attempt() == way.good
    (device,) = devices(person)
    assert device.method.value == name.split()[0].replace("REST", "API")
    assert device.certificates == 1 + (before[0].certificates if before else 0)
    assert device.certificate_id is not None
    assert device.address
    if before:
        assert device.id == before[0].id
        assert device.enrolled_at >= before[0].enrolled_at


@pytest.mark.parametrize("name", [*ENROLLING, *SCEP_WAYS, "EST repeated", "SCEP PKCSReq repeated"])
def test_a_retired_device_gets_nothing(server: Server, name: str) -> None:
    """DEV-2: over any way, with any credentials; and OCSP tells that its certificates are revoked."""
    person, way = Person(server), WAYS[name]
    # The second is what SCEP clients ask for.
    first, _ = (server.stack.issue(one, owner_id=person.account.id) for one in (person.username, "device"))
    attempt = way.prepare(person)
    app = server.stack.app
    for device in devices(person):
        result_of(app.devices.retire(person.principal, device.id, RevocationReason.SUPERSEDED))
    assert result_of(app.store.certificate(first.record.id)).reason is RevocationReason.SUPERSEDED
    assert attempt() not in ("200", "201", "SUCCESS")
    assert all(device.certificate_id is None for device in devices(person))


def test_timeline(server: Server) -> None:
    """It has the events of the device's certificates and challenge passwords, and none of another owner's."""
    person, other = Person(server), Person(server)
    app = server.stack.app
    first = server.stack.issue("shared-name", owner_id=person.account.id)
    server.stack.issue("shared-name", owner_id=other.account.id)
    (device,) = devices(person)
    challenge = result_of(app.devices.create_challenge(person.principal, device.id))
    result_of(app.devices.create_challenge(other.principal, devices(other)[0].id))
    server.stack.revoke(first)
    events = [record.event for record in result_of(app.devices.timeline(person.principal, device.id))]
    assert [(one.resource_type, one.type) for one in events] == [
        ("certificate", "revoke"),
        ("challenge password", "create"),
        ("certificate", "create"),
    ]
    assert {one.owner_id for one in events} == {person.account.id}
    assert [one.id for one in result_of(app.devices.challenges(SYSTEM, device.id, 10))] == [challenge.id]


def test_required_identities(tmp_path: Path) -> None:
    """DEV-3: EST and SCEP refuse what is not on the list of their policy, each in its own way, and record it."""
    with every_way(tmp_path) as server:
        app = server.stack.app
        ways = [WAYS[name] for name in ("EST by challenge password", "SCEP PKCSReq by challenge password")]
        person = Person(server)
        result_of(app.identity_lists.create(SYSTEM, "known", f"{person.username.upper()}\ndevice"))
        limits = PolicyLimits(identities="known")
        values = {"use_for_scep": True, "default_for_est": True, "default_for_scep": True, "limits": limits}
        server.policy("listed", **values)
        assert [way.prepare(person)() for way in ways] == ["200", "SUCCESS"]
        result_of(app.identity_lists.replace(SYSTEM, 1, "another"))
        assert [way.prepare(person)() for way in ways] == ["400", "badRequest"]
        refused = [record.event for record in server.events("reject")]
        assert [one.resource_name for one in refused] == [person.username, "device"]
        assert {one.owner_id for one in refused} == {person.account.id}


def test_required_idevids(tmp_path: Path) -> None:
    """DEV-3: with a manufacturer's certificate its identity counts, whatever name is requested."""
    maker = make_ca(name="Maker root")
    (tmp_path / "maker.crt").write_bytes(maker.pem)
    settings = {("TRUSTED_HTTPS", "client_ca"): str(tmp_path / "maker.crt")}
    with est_server(tmp_path / "server", changes=settings) as est:
        result_of(est.stack.app.identity_lists.create(SYSTEM, "known", "serial 1\npump"))
        est.policy("listed", default_for_est=True, limits=PolicyLimits(identities="known"))
        known, other = (est.connect(make_leaf(maker, name)) for name in ("serial 1", "serial 2"))
        est.certificate(est.enroll(make_csr(subject="any name", slot=1)[1], tls=known))
        assert est.enroll(make_csr(subject="pump", slot=2)[1], tls=other).status == 400


def test_idevids_of_approvals(tmp_path: Path) -> None:
    """DEV-3: at an approval the identity that was presented counts, too."""
    maker = make_ca(name="Maker root")
    (tmp_path / "maker.crt").write_bytes(maker.pem)
    settings = {("TRUSTED_HTTPS", "client_ca"): str(tmp_path / "maker.crt")}
    with est_server(tmp_path / "server", changes=settings) as est:
        app = est.stack.app
        result_of(app.identity_lists.create(SYSTEM, "known", "serial 1"))
        limits = PolicyLimits(identities="known")
        est.policy("listed", default_for_est=True, limits=limits, approval=Approval.MANUAL)
        known = est.connect(make_leaf(maker, "serial 1"))
        assert est.enroll(make_csr(subject="any name", slot=1)[1], tls=known).status == 202
        (waiting,) = result_of(app.store.requests(ListQuery(filters={"state": "pending"}))).items
        result_of(app.identity_lists.replace(SYSTEM, 1, "any name"))
        with pytest.raises(PolicyViolation):
            result_of(app.registration.approve(SYSTEM, waiting.id))
        result_of(app.identity_lists.replace(SYSTEM, 1, "SERIAL 1"))
        record = result_of(app.registration.approve(SYSTEM, waiting.id))
        assert record is not None
        assert record.common_name == "any name"
