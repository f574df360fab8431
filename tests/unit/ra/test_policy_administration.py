"""The rules about enrollment policies (POL-1, POL-2, POL-4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twisted.internet.defer import Deferred

import pytest

from pikachu.ca.bootstrap import DEFAULT_VALIDITY
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import (
    AuthenticationFailed,
    BadTemplate,
    Conflict,
    LintFailed,
    MalformedRequest,
    NotAuthorized,
    NotFound,
    PikachuError,
    PolicyViolation,
)
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import Event
from pikachu.core.model.lint import NOT_FINISHED, Finding, Severity
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import ANONYMOUS, Principal, Role, Scope
from pikachu.core.model.policies import Policy, PolicyLimits
from pikachu.ra.default_policy import DefaultPolicyFiles
from pikachu.ra.policies import PolicyResolver
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.ra.policy_lint import PolicyLint
from pikachu.signers.key import KeySigner
from pikachu.x509.certificate import CLIENT_AUTH
from pikachu.x509.template.defaults import DEFAULT_SERVER_EXTENSIONS
from tests.support.databases import execute
from tests.support.deferreds import failure_of, result_of
from tests.support.people import World, make_world
from tests.support.pki import make_ca
from tests.support.stack import build_core

TEXT = "[ v3_ext ]\nextendedKeyUsage = clientAuth\n"


@dataclass
class Desk:
    """The rules, and people who use them."""

    world: World
    rules: PolicyAdministration
    book: PolicyResolver
    issuers: IssuingCAs
    admin: Principal
    alice: Principal
    bob: Principal


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    world = make_world()
    extensions, validity = tmp_path / "ext.cnf", tmp_path / "days"
    extensions.write_text(DEFAULT_SERVER_EXTENSIONS)
    validity.write_text(DEFAULT_VALIDITY)
    book = PolicyResolver(world.store, DefaultPolicyFiles(extensions, validity), world.clock, ImmediatePool())
    signer = KeySigner(world.ca.key, world.ca.der, (world.ca.der,), ImmediatePool())
    issuers = IssuingCAs("ec", {"ec": IssuingCA(world.issuer, signer)})
    people = [world.as_person(world.add(name, role)) for name, role in (("root", Role.ADMIN), ("alice", Role.USER))]
    people.append(world.as_person(world.add("bob")))
    lint = PolicyLint(issuers=issuers, clock=world.clock, pool=ImmediatePool())
    rules = PolicyAdministration(store=world.store, policies=book, issuers=issuers, clock=world.clock, policy_lint=lint)
    yield Desk(world, rules, book, issuers, *people)
    result_of(world.store.close())


def draft(name: str = "mine", **values: object) -> Policy:
    return replace(Policy(0, name, 30, TEXT), **values)  # type: ignore[arg-type]


def chosen(desk: Desk, method: Method = Method.EST, named: str | None = None) -> Policy:
    """The policy that applies to alice."""
    return result_of(Deferred.fromCoroutine(desk.book.choose(method, None, desk.alice, named=named)))


def names(desk: Desk, actor: Principal) -> list[str]:
    return [one.name for one in result_of(desk.rules.list(actor, ListQuery(sort="id"))).items]


def test_policies_of_a_former_version(tmp_path: Path) -> None:
    """Limits that were stored before there were settings about names say nothing about them."""
    stack = build_core(tmp_path)
    store = stack.app.store
    event = Event("create", "policy", "old", "test")
    made = result_of(store.add_policy(Policy(0, "old", 30, TEXT, system=True), event, stack.app.authority.now()))
    stored = '{"keys": ["EC"], "subject": null, "names": [], "honour_names": true, "max_days": null, '
    stored += '"own_subject": false, "linked": true, "same_key": true}'
    # A colon would begin a parameter.
    escaped = stored.replace(":", "\\:")
    execute(f"sqlite:///{stack.files.folder}/pikachu.sqlite", f"UPDATE policies SET limits = '{escaped}'")
    assert result_of(store.policy(made.id)).limits == PolicyLimits(keys=("EC",), linked=True)
    stack.close()


def test_a_policy_belongs_to_who_makes_it(desk: Desk) -> None:
    """POL-1: owner and creation time are stored, and the event is recorded."""
    made = result_of(desk.rules.add(desk.alice, draft(use_for_est=True)))
    assert (made.owner_id, made.system, made.use_for_est) == (desk.alice.owner_id, False, True)
    assert made.created_at == made.updated_at == desk.world.now
    (event,) = desk.world.events("create")[-1:]
    assert (event.event.resource_type, event.event.resource_name, event.event.actor) == ("policy", "mine", "alice")
    assert event.event.owner_id == desk.alice.owner_id


def test_who_sees_what(desk: Desk) -> None:
    """POL-1: users see their own and system policies, admins all; a hidden one is not found."""
    mine = result_of(desk.rules.add(desk.alice, draft()))
    shared = result_of(desk.rules.add(desk.admin, draft("shared", system=True)))
    assert names(desk, desk.alice) == ["mine", "shared"]
    assert names(desk, desk.bob) == ["shared"]
    assert names(desk, desk.admin) == ["mine", "shared"]
    assert result_of(desk.rules.get(desk.bob, shared.id)) == shared
    for hidden in (desk.rules.get(desk.bob, mine.id), desk.rules.find(desk.bob, "mine"), desk.rules.get(desk.bob, 99)):
        assert failure_of(hidden, NotFound).public == "there is no such policy"
    assert result_of(desk.rules.find(desk.alice, "mine")) == mine
    assert failure_of(desk.rules.list(ANONYMOUS, ListQuery()), AuthenticationFailed)


def test_an_admin_s_restricted_token_sees_what_a_user_sees(desk: Desk) -> None:
    """A token without the scope ``admin`` makes no admin."""
    result_of(desk.rules.add(desk.alice, draft()))
    token = replace(desk.admin, scopes=frozenset({Scope.READ}))
    assert names(desk, token) == []
    failure_of(desk.rules.find(token, "mine"), NotFound)
    failure_of(desk.rules.add(token, draft("x")), NotAuthorized)
    failure_of(desk.rules.update(replace(desk.alice, scopes=frozenset({Scope.READ})), draft(id=1)), NotAuthorized)


def test_system_policies_are_for_admins(desk: Desk) -> None:
    """POL-1: admins only may set the flag, and change what has it."""
    failure_of(desk.rules.add(desk.alice, draft(system=True)), NotAuthorized)
    mine = result_of(desk.rules.add(desk.alice, draft()))
    failure_of(desk.rules.update(desk.alice, replace(mine, system=True)), NotAuthorized)
    shared = result_of(desk.rules.update(desk.admin, replace(mine, system=True)))
    assert (shared.system, shared.owner_id) == (True, None)
    failure_of(desk.rules.update(desk.alice, shared), NotAuthorized)
    failure_of(desk.rules.delete(desk.alice, shared.id), NotAuthorized)
    given = result_of(desk.rules.update(desk.admin, replace(shared, system=False, owner_id=desk.bob.owner_id)))
    assert given.owner_id == desk.bob.owner_id


def test_policies_for_others(desk: Desk) -> None:
    """Only admins make them, and only for somebody who is there."""
    failure_of(desk.rules.add(desk.alice, draft(owner_id=desk.bob.owner_id)), NotAuthorized)
    made = result_of(desk.rules.add(desk.admin, draft(owner_id=desk.bob.owner_id)))
    assert made.owner_id == desk.bob.owner_id
    failure_of(desk.rules.add(desk.admin, draft("x", owner_id=99)), NotFound)
    nobody = replace(desk.admin, owner_id=None)
    failure_of(desk.rules.add(nobody, draft("x")), MalformedRequest)
    # Who changes it does not take it.
    assert result_of(desk.rules.update(desk.admin, replace(made, owner_id=None))).owner_id == desk.bob.owner_id


def test_policies_of_deleted_accounts(desk: Desk) -> None:
    """A deleted account gets no new policies; admins still change its existing ones."""
    made = result_of(desk.rules.add(desk.bob, draft()))
    mine = result_of(desk.rules.add(desk.alice, draft("other")))
    assert desk.bob.owner_id is not None
    deleted = Event("delete", "user", "bob", "root", owner_id=desk.bob.owner_id, about_account=True)
    result_of(desk.world.store.delete_account(desk.bob.owner_id, lambda _: deleted, desk.world.now))
    failure_of(desk.rules.add(desk.admin, draft("x", owner_id=desk.bob.owner_id)), NotFound)
    failure_of(desk.rules.update(desk.admin, replace(mine, owner_id=desk.bob.owner_id)), NotFound)
    assert result_of(desk.rules.update(desk.admin, replace(made, days=9))).owner_id == desk.bob.owner_id


def test_changing_and_deleting(desk: Desk) -> None:
    mine = result_of(desk.rules.add(desk.alice, draft()))
    desk.world.clock.advance(60)
    changed = result_of(desk.rules.update(desk.alice, replace(mine, name="renamed", days=9)))
    assert (changed.name, changed.days, changed.created_at) == ("renamed", 9, mine.created_at)
    assert changed.updated_at == desk.world.now
    failure_of(desk.rules.update(desk.bob, changed), NotFound)
    failure_of(desk.rules.delete(desk.bob, changed.id), NotFound)
    result_of(desk.rules.delete(desk.alice, changed.id))
    assert names(desk, desk.alice) == []
    assert [one.event.type for one in desk.world.events() if one.event.resource_type == "policy"] == [
        "create",
        "update",
        "delete",
    ]


def test_conflicts_name_who_has_it(desk: Desk) -> None:
    """Names are unique, and any number of policies are used for a protocol."""
    result_of(desk.rules.add(desk.alice, draft("first", use_for_est=True)))
    result_of(desk.rules.add(desk.alice, draft("second", use_for_est=True)))
    assert "first" in failure_of(desk.rules.add(desk.bob, draft("first")), Conflict).public
    result_of(desk.rules.add(desk.bob, draft("third", use_for_est=True)))
    result_of(desk.rules.add(desk.admin, draft("fourth", system=True, use_for_est=True)))


def test_a_default_is_used(desk: Desk) -> None:
    """The default for a protocol is used for it; the policy in files is nobody's default."""
    failure_of(desk.rules.add(desk.alice, draft("first", default_for_est=True)), MalformedRequest)
    made = result_of(desk.rules.add(desk.alice, draft("first", use_for_est=True)))
    assert made.default_for_est
    for values in ({"default_for_scep": True}, {"default_for_scep": True, "use_for_est": False}):
        wrong = replace(made, **values)  # type: ignore[arg-type]
        failure_of(desk.rules.update(desk.alice, wrong), MalformedRequest)
    in_files = replace(result_of(desk.rules.default(desk.admin)), default_for_est=True)
    failure_of(desk.rules.update(desk.admin, in_files), MalformedRequest)
    assert not result_of(desk.rules.update(desk.alice, replace(made, use_for_est=False))).default_for_est


def test_who_chooses_the_default(desk: Desk) -> None:
    """One's own by its owner, the system's by administrators; the choices are policies of the same owner."""
    system = [result_of(desk.rules.add(desk.admin, draft(name, system=True, use_for_est=True))) for name in "ab"]
    own = [result_of(desk.rules.add(desk.alice, draft(name, use_for_est=True))) for name in "cd"]
    result_of(desk.rules.add(desk.bob, draft("e", use_for_est=True)))
    failure_of(desk.rules.update(desk.alice, replace(system[1], default_for_est=True)), NotAuthorized)
    failure_of(desk.rules.update(desk.bob, replace(own[1], default_for_est=True)), NotFound)
    for actor, (first, second) in ((desk.admin, system), (desk.alice, own)):
        choices = result_of(desk.rules.next_default_choices(actor, first.id))
        assert {protocol: [one.name for one in found] for protocol, found in choices.items()} == {
            Method.EST: [second.name]
        }
        assert result_of(desk.rules.next_default_choices(actor, second.id)) == {}
        assert result_of(desk.rules.update(actor, replace(second, default_for_est=True))).default_for_est
    failure_of(desk.rules.next_default_choices(desk.bob, own[1].id), NotFound)
    assert [one.name for one in result_of(desk.rules.labels(desk.alice, Method.EST))] == ["a", "b", "c", "d"]
    assert result_of(desk.rules.labels(desk.alice, Method.SCEP)) == ()


@pytest.mark.parametrize("name", ["T\u00fcren", "a/b", " padded", "x" * 80, "cacerts", "pkiclient.exe"])
def test_a_name_that_an_earlier_version_accepted(desk: Desk, name: str) -> None:
    """The policy keeps working, and is edited without a new name; another one does not get such a name."""
    old = draft(name, owner_id=desk.alice.owner_id, use_for_est=True, use_for_scep=True)
    event = Event("create", "policy", name, "test")
    old = result_of(desk.world.store.add_policy(old, event, desk.world.now))
    assert chosen(desk).name == name
    assert chosen(desk, Method.API, name).name == name
    assert result_of(desk.rules.find(desk.alice, name)) == old
    assert result_of(desk.rules.update(desk.alice, replace(old, days=7))).days == 7
    renamed = result_of(desk.rules.add(desk.alice, draft("good")))
    failure_of(
        desk.rules.update(desk.alice, replace(renamed, name=f"{name}\u00fc", use_for_est=True)), MalformedRequest
    )


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (draft(""), MalformedRequest),
        (draft("a/b"), MalformedRequest),
        (draft("x" * 65), MalformedRequest),
        (draft(" padded"), MalformedRequest),
        (draft(".."), MalformedRequest),
        (draft("tab\t"), MalformedRequest),
        (draft("System"), Conflict),
        (draft("system"), Conflict),
        (draft("cacerts", use_for_est=True), MalformedRequest),
        (draft("pkiclient.exe", use_for_scep=True), MalformedRequest),
        (draft(days=0), PolicyViolation),
        (draft(days=36501), PolicyViolation),
        (draft(issuer="rsa"), MalformedRequest),
        (draft(extensions="nonsense"), BadTemplate),
        (draft(extensions="[ v3_ext ]\nkeyUsage = nonsense\n"), BadTemplate),
        (draft(extensions="[ req ]\ndistinguished_name = dn\n[ dn ]\nCN = x\n"), BadTemplate),
        (draft(extensions=TEXT + "#" * 70000), MalformedRequest),
        (draft(limits=PolicyLimits(keys=("DSA",))), MalformedRequest),
        (draft(limits=PolicyLimits(keys=("RSA/",))), MalformedRequest),
        (draft(limits=PolicyLimits(subject="")), MalformedRequest),
        (draft(limits=PolicyLimits(subject="a\nb")), MalformedRequest),
        (draft(limits=PolicyLimits(names=("x" * 257,))), MalformedRequest),
        (draft(limits=PolicyLimits(names=tuple(f"DNS:{n}" for n in range(65)))), MalformedRequest),
        (draft(limits=PolicyLimits(max_days=0)), PolicyViolation),
        (draft(limits=PolicyLimits(max_days=29)), PolicyViolation),
    ],
)
def test_what_a_policy_may_not_say(desk: Desk, policy: Policy, error: type[PikachuError]) -> None:
    """POL-1, POL-4, TPL-2: one line for each; nothing is stored."""
    failed = failure_of(desk.rules.add(desk.alice, policy), error)
    assert "\n" not in failed.public
    assert names(desk, desk.alice) == []


def test_what_a_policy_may_say(desk: Desk) -> None:
    """POL-4; names that are operations are only refused as labels."""
    limits = PolicyLimits(
        keys=("RSA/2048", "RSA/8192", "EC", "Ed25519", "PQC/mldsa44", "EC"),
        subject="CN=*,O=Acme",
        names=("DNS:*.example.com", "IP:10.*"),
        max_days=30,
    )
    made = result_of(desk.rules.add(desk.alice, draft("cacerts", issuer="ec", limits=limits)))
    assert made.limits == replace(limits, keys=limits.keys[:5])
    result_of(desk.rules.add(desk.alice, draft("A b-c_d.9")))


def test_the_default_policy(desk: Desk) -> None:
    """POL-2: everybody sees it, admins change it in its files, nobody deletes it."""
    default = result_of(desk.rules.get(desk.alice, 0))
    assert default == result_of(desk.rules.default(desk.alice)) == result_of(desk.rules.find(desk.bob, "System"))
    assert (default.name, default.days, default.extensions) == ("System", 365, DEFAULT_SERVER_EXTENSIONS)
    failure_of(desk.rules.update(desk.alice, replace(default, days=9)), NotAuthorized)
    failure_of(desk.rules.delete(desk.admin, 0), Conflict)
    failure_of(desk.rules.update(desk.admin, replace(default, extensions="nonsense")), BadTemplate)
    changed = result_of(desk.rules.update(desk.admin, replace(default, days=9, extensions=TEXT)))
    assert (changed.days, changed.extensions) == (9, TEXT)
    assert desk.book.default.days == 9
    assert desk.book.files.validity.read_text() == DEFAULT_VALIDITY.replace("365", "9")
    failure_of(desk.rules.default(ANONYMOUS), AuthenticationFailed)
    assert desk.world.events("update")[-1].event.resource_name == "System"


@pytest.mark.parametrize(
    "line",
    [
        "basicConstraints = critical, CA:TRUE",
        "basicConstraints = DER:30030101FF",
        "2.5.29.19 = DER:30030101FF",
        "keyUsage = digitalSignature, keyCertSign",
        "keyUsage = cRLSign",
        "extendedKeyUsage = clientAuth, OCSPSigning",
        "extendedKeyUsage = 1.3.6.1.5.5.7.3.9",
        "extendedKeyUsage = 1.3.6.1.5.5.7.3.28",
        "noCheck = ignored",
        "1.3.6.1.5.5.7.48.1.5 = DER:0500",
        "nameConstraints = permitted;DNS:example.com",
        "nsCertType = sslCA",
        "extendedKeyUsage = @${ca}\n[ ec ]\na = OCSPSigning\n[ rsa ]\na = clientAuth\n[ mldsa ]\na = clientAuth\n"
        "[ ca ]\na = clientAuth",
    ],
)
def test_powers_of_the_ca_are_given_by_admins_only(desk: Desk, line: str) -> None:
    """With OCSPSigning a user would answer for the certificates of all others (RFC 6960 section 4.2.2.2)."""
    text = f"[ v3_ext ]\n{line}\n"
    failure_of(desk.rules.add(desk.alice, draft(extensions=text)), NotAuthorized)
    mine = result_of(desk.rules.add(desk.alice, draft()))
    failure_of(desk.rules.update(desk.alice, replace(mine, extensions=text)), NotAuthorized)
    given = result_of(desk.rules.update(desk.admin, replace(mine, extensions=text), override="For this test."))
    # What an admin wrote stays while its owner changes something else.
    assert result_of(desk.rules.update(desk.alice, replace(given, days=20))).days == 20


def test_purposes_outside_those_of_the_issuing_ca(desk: Desk) -> None:
    """A policy that its issuing CA can't serve is refused when it is saved, for admins too."""
    issuers, world = desk.rules._issuers, desk.world
    limited = make_ca("p256", "Client CA", path_length=0, purposes=[CLIENT_AUTH])
    record = world.store.register_issuer("rsa", limited.key_identifier, limited.der, world.now)
    issuers.switch_to(IssuingCA(record, KeySigner(limited.key, limited.der, (limited.der,), ImmediatePool())))
    server, client = (f"[ v3_ext ]\nextendedKeyUsage = {purpose}\n" for purpose in ("serverAuth", "clientAuth"))
    refusal = failure_of(desk.rules.add(desk.admin, draft(extensions=server, issuer="rsa")), PolicyViolation)
    assert "TLS Web Server Authentication lies outside the extendedKeyUsage of the CA" in refusal.public
    for text, issuer in ((server, None), (server, "ec"), (client, "rsa"), ("[ v3_ext ]\n", "rsa")):
        saved = result_of(desk.rules.add(desk.alice, draft(f"{issuer} {len(text)}", extensions=text, issuer=issuer)))
        assert saved.extensions == text
    failure_of(desk.rules.update(desk.alice, replace(saved, extensions=server)), PolicyViolation)


def test_plain_policies_are_anybody_s(desk: Desk) -> None:
    text = (
        "[ v3_ext ]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = digitalSignature\n"
        "extendedKeyUsage = serverAuth\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid:always\n"
        "authorityInfoAccess = OCSP;URI:${http_url}/ocsp\n"
    )
    rules = PolicyAdministration(
        store=desk.world.store,
        policies=desk.book,
        issuers=desk.issuers,
        clock=desk.world.clock,
        policy_lint=PolicyLint(issuers=desk.issuers, clock=desk.world.clock, pool=ImmediatePool()),
        public_url="http://pki.example.com/",
    )
    assert result_of(rules.add(desk.alice, draft(extensions=text))).extensions == text


def test_powers_of_the_ca_under_the_key_that_comes_next(desk: Desk) -> None:
    """VLT-4: a text that is harmless until a rotation, and gives OCSPSigning then, is refused beforehand."""
    issuers, world = desk.issuers, desk.world
    coming = make_ca("p256", "Test CA", path_length=0)
    record = world.store.register_issuer("ec", coming.key_identifier, coming.der, world.now)
    issuers.add_next(IssuingCA(record, KeySigner(coming.key, coming.der, (coming.der,), ImmediatePool())))
    present, next_one = issuers.default.key_identifier.hex(), coming.key_identifier.hex()
    text = (
        "[ v3_ext ]\n2.5.29.37 = ASN1:SEQUENCE:k${ski}\n"
        f"[ k{'0' * 40} ]\na = OID:clientAuth\n[ k{present} ]\na = OID:clientAuth\n"
        f"[ k{next_one} ]\na = OID:OCSPSigning\n"
    )
    failure_of(desk.rules.add(desk.alice, draft(extensions=text)), NotAuthorized)


class _Linter:
    """A linter that does not finish the first time."""

    name = "slow 1"

    def __init__(self) -> None:
        self.lints = 0

    def lint(self, certificates: Sequence[bytes]) -> tuple[Finding, ...]:
        """Return its findings."""
        self.lints += 1
        return (Finding(Severity.ERROR, NOT_FINISHED, "It did not finish."),) if self.lints == 1 else ()


def test_a_linter_that_did_not_finish_is_asked_again(desk: Desk) -> None:
    """Nothing is saved unseen, but the next attempt is not refused for the first one's sake (LNT-1)."""
    linter = _Linter()
    lint = PolicyLint(issuers=desk.issuers, clock=desk.world.clock, pool=ImmediatePool(), linter=linter)
    rules = PolicyAdministration(
        store=desk.world.store, policies=desk.book, issuers=desk.issuers, clock=desk.world.clock, policy_lint=lint
    )
    failure_of(rules.add(desk.alice, draft()), LintFailed)
    made = result_of(rules.add(desk.alice, draft()))
    assert result_of(rules.lint(made)).errors == ()
    assert linter.lints == 2
