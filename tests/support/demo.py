"""A CA that has been in use, for pictures and for checks of whole pages: something for every kind of page."""

from __future__ import annotations

from dataclasses import dataclass, field

from pikachu.accounts.batches import BatchOrder
from pikachu.accounts.challenge_passwords import ANY_PURPOSE, Purpose
from pikachu.core.model.certificates import Method, RevocationReason
from pikachu.core.model.events import Event
from pikachu.core.model.jobs import JobAction, JobArguments, JobResource, JobSelection
from pikachu.core.model.notices import NoticeKind, NoticeOrder
from pikachu.core.model.passkeys import NewPasskey
from pikachu.core.model.people import SYSTEM, Account, AccountState, Principal, Role
from pikachu.core.model.policies import Approval, Policy
from pikachu.core.model.times import utc
from pikachu.inventory.csrs import RequestSource
from pikachu.inventory.templates import TemplateDraft
from pikachu.server.application import Application
from pikachu.web.ui.csrs import EXAMPLE
from pikachu.x509.certificate import parse_certificate
from tests.support.deferreds import result_of
from tests.support.pki import make_csr
from tests.support.recovered import recover
from tests.support.stack import DEFAULT_EXTENSIONS

PASSWORD = "correct horse battery"
_KINDS = ("p256", "rsa2048", "p384", "ed25519", "mldsa44")


@dataclass
class Demo:
    """The objects created: ids by the kind of object that a page shows.

    :ivar ids: such as ``certificates`` → the id of one of them.
    :ivar names: such as ``ca`` → what else stands in paths of that kind.
    """

    accounts: dict[str, Account] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    names: dict[str, dict[str, str]] = field(default_factory=dict)

    def principal(self, app: Application, name: str) -> Principal:
        """Somebody, as when signed in."""
        return result_of(app.authenticator.basic(name, PASSWORD, "192.0.2.10"))


def fill(app: Application) -> Demo:
    """Use *core* for everything that there is a page for."""
    demo = Demo()
    for name, role, state in (
        ("administrator", Role.ADMIN, AccountState.ACTIVE),
        ("fleet_operator", Role.USER, AccountState.ACTIVE),
        ("second_user", Role.USER, AccountState.ACTIVE),
        ("waiting_user", Role.USER, AccountState.PENDING),
        ("former_user", Role.USER, AccountState.ACTIVE),
    ):
        adding = app.accounts.add_user(SYSTEM, name, f"{name}@example.com", role, state, PASSWORD)
        demo.accounts[name] = result_of(adding)
    result_of(app.accounts.suspend(SYSTEM, demo.accounts["former_user"].id))
    admin = demo.principal(app, "administrator")
    user = demo.principal(app, "fleet_operator")
    _policies(app, demo, admin, user)
    _certificates(app, demo, admin, user)
    bound = Purpose("pump 9", "CN=pump-9.example.com", ["DNS:pump-9.example.com"])
    for purpose in (ANY_PURPOSE, ANY_PURPOSE, bound):
        challenge, _ = result_of(app.challenge_passwords.create(user, purpose=purpose))
        demo.ids["challenge-passwords"] = challenge.id
    names = "pump-001,pump-001.example.com\npump-002,pump-002.example.com,192.0.2.2"
    demo.ids["batches"] = result_of(app.batches.create(user, BatchOrder("Hamburg", "System", names))).id
    csr = make_csr("p256", "sensor-77.example.com", ["DNS:sensor-77.example.com"], slot=99)[1]
    demo.ids["csrs"] = result_of(app.requests.store(user, "sensor 77", csr)).id
    for name, kind in (("gateway", "rsa2048"), ("sensor 78", "prime256v1"), ("sensor 79", "mldsa65")):
        demo.ids["keys"] = result_of(app.keys.generate(user, name, kind)).id
        made = app.requests.generate(user, name, RequestSource(demo.ids["keys"], text=EXAMPLE))
        demo.ids["requests"] = result_of(made).id
    token, _ = result_of(app.tokens.create(user, demo.accounts["fleet_operator"].id, "inventory script"))
    demo.ids["tokens"] = token.id
    demo.ids["users"] = demo.accounts["second_user"].id
    demo.ids["events"] = 3
    demo.names["ca"] = {"name": "ec"}
    demo.names["help"] = {"name": "getting-started"}
    demo.names["users"] = {"name": "suspend"}
    demo.names["x509-templates"] = {"name": "mqtt_broker.cnf.j2"}
    demo.ids["account/tokens"] = demo.ids["tokens"]
    demo.ids["ra/approvals"] = demo.ids["approvals"]
    demo.ids["ra/csrs"] = demo.ids["csrs"]
    template = TemplateDraft("fleet gateways", "TLS client", DEFAULT_EXTENSIONS)
    demo.ids["templates"] = result_of(app.templates.add(user, template)).id
    _bound_certificate(app, demo, user)
    _passkey(app, demo)
    order = NoticeOrder("pumps", NoticeKind.CERTIFICATES, (30, 7, 1), device="pump-*", to_owner=True)
    event = Event("create", "notice rule", order.name, "root")
    demo.ids["notices"] = result_of(app.store.put_notice_rule(None, order, "root", event, app.authority.now()))
    demo.ids["identity-lists"] = result_of(app.identity_lists.create(admin, "pumps 2026", "1234567\npump-001")).id
    demo.ids["devices"] = result_of(app.store.certificate(demo.ids["certificates"])).device_id or 0
    selection = JobSelection((demo.ids["keys"] + 1, demo.ids["keys"] + 2))
    job = app.jobs.create(user, JobResource.KEYS, JobAction.DELETE, selection, JobArguments())
    demo.ids["jobs"] = result_of(job).id
    demo.names["views"] = {"list": "certificates"}
    demo.names["va"] = {"ca": "ec"}
    demo.names["va/recovered"] = demo.names["va/recovered-all"] = {"name": "release"}
    demo.ids["va/recovered"] = recover(app, app.clock, 0x1234)[0]
    return demo


def _bound_certificate(app: Application, demo: Demo, user: Principal) -> None:
    record = result_of(app.store.certificate(demo.ids["certificates"]))
    bound = result_of(app.sessions.bind(user, demo.accounts["fleet_operator"].id, parse_certificate(record.der)))
    demo.ids["account/certificates"] = bound.id


def _passkey(app: Application, demo: Demo) -> None:
    account_id, now = demo.accounts["second_user"].id, utc(app.clock.seconds())
    passkey = NewPasskey(account_id, "phone", "ca.example.com", b"credential", b"", 0, b"", 1, ())
    added = Event("add passkey", "user", "second_user", "second_user", owner_id=account_id, about_account=True)
    result_of(app.store.add_passkey(passkey, 1, added, now))
    [stored] = result_of(app.store.passkeys_of(account_id))
    demo.ids["account/passkeys"] = stored.id


def _policies(app: Application, demo: Demo, admin: Principal, user: Principal) -> None:
    fleet = Policy(0, "fleet", 90, DEFAULT_EXTENSIONS, system=True, use_for_est=True, use_for_scep=True)
    checked = Policy(0, "checked by a person", 30, DEFAULT_EXTENSIONS, system=True, approval=Approval.MANUAL)
    own = Policy(0, "gateways", 365, DEFAULT_EXTENSIONS)
    result_of(app.policy_administration.add(admin, fleet))
    result_of(app.policy_administration.add(admin, checked))
    demo.ids["policies"] = result_of(app.policy_administration.add(user, own)).id


def _certificates(app: Application, demo: Demo, admin: Principal, user: Principal) -> None:
    for number in range(32):
        who = user if number % 3 else admin
        method = (Method.UI, Method.API, Method.EST, Method.SCEP)[number % 4]
        name = f"device-{number:03}.example.com"
        csr = make_csr(_KINDS[number % len(_KINDS)], name, [f"DNS:{name}"], slot=100 + number)[1]
        issued = result_of(app.registration.sign(who, csr, method, days=5 + number * 11))
        record = getattr(issued, "record", None)
        assert record is not None
        if number % 7 == 3:
            reason = (RevocationReason.KEY_COMPROMISE, RevocationReason.CERTIFICATE_HOLD)[number % 2]
            result_of(app.authority.revoke(record.serial, reason, who))
        elif who is user:
            demo.ids["certificates"] = record.id
    waiting = make_csr("p256", "gateway-1.example.com", ["DNS:gateway-1.example.com"], slot=98)[1]
    pending = result_of(app.registration.sign(user, waiting, Method.UI, policy="checked by a person"))
    demo.ids["approvals"] = int(getattr(pending, "request_id", 0))
