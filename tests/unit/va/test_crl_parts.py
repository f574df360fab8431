"""Delta CRLs and sharded CRLs (CRL-D; RFC 5280 section 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

import pytest
from cryptography import x509

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.times import utc
from pikachu.va.crl_files import DELTA
from pikachu.x509.crl import assemble_crl, parse_crl_summary, tbs_cert_list
from pikachu.x509.crl_scope import FRESHEST_CRL, delta_crl_indicator
from pikachu.x509.profile import Addresses, crl_distribution_point
from tests.support.clocks import SteppedClock
from tests.support.crl_parts import URL, WITH_PARTS, check_listed, check_revocation, issue_named, shard_of
from tests.support.deferreds import result_of
from tests.support.stack import Leaf, Stack, build_core, open_stack
from tests.unit.va.publishing import crl_of, make, number_of, rotate, serials, settle

HOLD = RevocationReason.CERTIFICATE_HOLD
HOUR = 3600
DAY = 86400
Reasons = dict[int, str]


def open_core(folder: Path, **crl: str) -> Stack:
    """Return a CA with these settings of [CRL] that has published its CRLs."""
    changes = {("CRL", key): value for key, value in crl.items()} | {("CA", "public_url"): URL}
    made = build_core(folder / "ca", SteppedClock(), changes=changes)
    result_of(made.app.publisher.begin())
    return made


@pytest.fixture
def delta_stack(tmp_path: Path) -> Iterator[Stack]:
    """A CA with delta CRLs of an hour."""
    made = open_core(tmp_path, delta="1h")
    yield made
    made.close()


@pytest.fixture
def shard_stack(tmp_path: Path) -> Iterator[Stack]:
    """A CA with four shards."""
    made = open_core(tmp_path, shards="4")
    yield made
    made.close()


def issue(stack: Stack, days: int = 30) -> Leaf:
    """Return a certificate that names where its revocation is found."""
    return stack.issue(days=days, addresses=Addresses.under(URL, stack.issuer().certificate))


def part_of(stack: Stack, part: str) -> x509.CertificateRevocationList:
    """Return the part that is published, verified; its PEM is the same."""
    issuer = stack.issuer()
    der_path, pem_path = stack.app.publisher.folder.paths(issuer.key_identifier, part)
    crl = x509.load_der_x509_crl(der_path.read_bytes())
    key: Any = x509.load_der_x509_certificate(issuer.certificate.der).public_key()
    assert crl.is_signature_valid(key)
    assert x509.load_pem_x509_crl(pem_path.read_bytes()) == crl
    return crl


def base_of(crl: x509.CertificateRevocationList) -> int:
    """Return the BaseCRLNumber, which is critical."""
    extension = crl.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert extension.critical
    return extension.value.crl_number


def reasons_of(crl: x509.CertificateRevocationList) -> Reasons:
    """Return the reasons by serial number; cryptography has none for an unspecified one."""
    reasons = {}
    for entry in crl:
        codes = [one.value.reason.value for one in entry.extensions if isinstance(one.value, x509.CRLReason)]
        reasons[entry.serial_number] = codes[0] if codes else "unspecified"
    return reasons


def combined(base: Reasons, delta: Reasons) -> set[int]:
    """Return what a client considers revoked that adds a delta CRL to a full one (RFC 5280 section 6.3.3)."""
    removed = {serial for serial, reason in delta.items() if reason == "removeFromCRL"}
    return (base.keys() | delta.keys()) - removed


# --- delta CRLs --------------------------------------------------------------------------


def test_a_revocation_is_on_a_delta_at_once_and_on_a_full_crl_within_its_hour(delta_stack: Stack) -> None:
    stack = delta_stack
    before = crl_of(stack)
    leaf = issue(stack)
    stack.revoke(leaf, RevocationReason.KEY_COMPROMISE)
    settle(stack)
    delta = part_of(stack, DELTA)
    assert reasons_of(delta) == {leaf.serial: "keyCompromise"}
    assert base_of(delta) == number_of(before) < number_of(delta)
    assert (delta.next_update_utc - delta.last_update_utc).total_seconds() == HOUR  # type: ignore[operator]
    assert crl_of(stack) == before
    for _ in range(61):
        stack.clock.advance(60)
    full = crl_of(stack)
    assert serials(full) == [leaf.serial]
    # The delta that came with it has its number, and still serves those who have the first one.
    delta = part_of(stack, DELTA)
    assert number_of(delta) >= number_of(full)
    assert base_of(delta) == number_of(before)
    assert reasons_of(delta) == {leaf.serial: "keyCompromise"}


def test_the_full_crl_names_the_delta(delta_stack: Stack) -> None:
    crl = crl_of(delta_stack)
    freshest = crl.extensions.get_extension_for_class(x509.FreshestCRL)
    assert not freshest.critical
    (point,) = freshest.value
    key = delta_stack.issuer().key_identifier.hex()
    assert [name.value for name in point.full_name or []] == [f"{URL}/crl/{key}-delta.crl"]
    with pytest.raises(x509.ExtensionNotFound):
        part_of(delta_stack, DELTA).extensions.get_extension_for_class(x509.FreshestCRL)


def _hold_in_base(stack: Stack, leaf: Leaf) -> None:
    stack.revoke(leaf, HOLD)
    settle(stack)
    make(stack)
    stack.release(leaf)


def _hold_and_release(stack: Stack, leaf: Leaf) -> None:
    stack.revoke(leaf, HOLD)
    settle(stack)
    stack.release(leaf)


def _hold_in_base_then_again(stack: Stack, leaf: Leaf) -> None:
    _hold_in_base(stack, leaf)
    settle(stack)
    stack.revoke(leaf, HOLD)


def _hold_then_final(stack: Stack, leaf: Leaf) -> None:
    _hold_in_base(stack, leaf)
    settle(stack)
    make(stack)
    stack.revoke(leaf, RevocationReason.SUPERSEDED)


def _delete(stack: Stack, leaf: Leaf) -> None:
    stack.delete(leaf)


def _revoke_and_delete(stack: Stack, leaf: Leaf) -> None:
    stack.revoke(leaf)
    stack.delete(leaf)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_hold_in_base, "removeFromCRL"),
        (_hold_and_release, "removeFromCRL"),
        (_hold_in_base_then_again, "certificateHold"),
        (_hold_then_final, "superseded"),
        (_delete, None),
        (_revoke_and_delete, "unspecified"),
    ],
)
def test_each_base_and_the_delta_say_what_a_full_crl_would(
    delta_stack: Stack, change: Callable[[Stack, Leaf], None], expected: str | None
) -> None:
    """Whichever full CRL a client has that is good: with the delta it knows the same."""
    stack = delta_stack
    bases: dict[int, Reasons] = {}

    def keep(_: object, crl: Any) -> None:
        full = crl_of(stack)
        bases[number_of(full)] = reasons_of(full)

    keep(None, None)
    stack.app.publisher.subscribe(keep)
    leaf, other = issue(stack), issue(stack)
    stack.revoke(other)
    settle(stack)
    change(stack, leaf)
    settle(stack)
    delta = part_of(stack, DELTA)
    assert reasons_of(delta).get(leaf.serial) == expected
    make(stack)
    full = reasons_of(crl_of(stack)).keys()
    for number, base in bases.items():
        for later in (delta, part_of(stack, DELTA)):
            if base_of(later) <= number < number_of(later):
                assert combined(base, reasons_of(later)) == full


def test_a_certificate_that_expired_leaves_the_list(delta_stack: Stack) -> None:
    """It was on the base; deltas remove it, but only what was on one full CRL after its end (section 3.3)."""
    stack = delta_stack
    leaf, late = issue(stack, days=1), issue(stack, days=1)
    stack.revoke(leaf)
    settle(stack)
    make(stack)
    stack.clock.advance(DAY - 600)
    stack.revoke(late)
    settle(stack)
    # Expired before a full CRL had the second one: it stays.
    stack.clock.advance(900)
    assert reasons_of(part_of(stack, DELTA)) == {leaf.serial: "unspecified", late.serial: "unspecified"}
    make(stack)
    assert late.serial in reasons_of(crl_of(stack))
    stack.clock.advance(60)
    make(stack)
    assert reasons_of(crl_of(stack)) == {}
    assert reasons_of(part_of(stack, DELTA)) == {leaf.serial: "removeFromCRL", late.serial: "removeFromCRL"}


def test_a_restart_goes_on(delta_stack: Stack) -> None:
    stack = delta_stack
    leaf = issue(stack)
    stack.revoke(leaf)
    settle(stack)
    delta = number_of(part_of(stack, DELTA))
    again = stack.restart()
    try:
        result_of(again.app.publisher.begin())
        assert number_of(part_of(again, DELTA)) > delta
        assert number_of(crl_of(again)) > delta
        assert combined({}, reasons_of(part_of(again, DELTA))) == {leaf.serial}
        assert serials(crl_of(again)) == [leaf.serial]
    finally:
        again.close()


def test_a_restart_without_changes_publishes_nothing(delta_stack: Stack) -> None:
    paths = delta_stack.app.publisher.folder.path
    before = {path.name: path.read_bytes() for path in paths.glob("*.crl")}
    again = delta_stack.restart()
    try:
        result_of(again.app.publisher.begin())
        assert {path.name: path.read_bytes() for path in paths.glob("*.crl")} == before
    finally:
        again.close()


@pytest.mark.parametrize("seconds", [600, 2900])
def test_a_delta_has_the_number_of_a_full_crl_only_with_its_date(delta_stack: Stack, seconds: int) -> None:
    """RFC 5280 section 5.2.3; also where its files are lost, and then its number is a higher one."""
    stack = delta_stack
    stack.clock.advance(60)
    make(stack)
    full, first = crl_of(stack), part_of(stack, DELTA)
    for _ in range(seconds // 20):
        stack.clock.advance(20)
    before = number_of(part_of(stack, DELTA))
    for path in stack.app.publisher.folder.paths(stack.issuer().key_identifier, DELTA):
        path.unlink()
    again = stack.restart()
    try:
        result_of(again.app.publisher.begin())
        delta = part_of(again, DELTA)
        assert number_of(delta) > before
        assert number_of(first) == number_of(full)
        assert first.last_update_utc == full.last_update_utc
    finally:
        again.close()


def test_deltas_that_are_switched_off_are_good_to_their_end(delta_stack: Stack) -> None:
    """Full CRLs that name them are still in use; then their files go."""
    stack = delta_stack
    leaf = issue(stack)
    stack.revoke(leaf)
    settle(stack)
    delta = part_of(stack, DELTA)
    config = stack.files.config
    config.write_text(config.read_text("utf-8").replace("delta = 1h\n", ""), "utf-8")
    again = stack.restart()
    try:
        result_of(again.app.publisher.begin())
        assert serials(crl_of(again)) == [leaf.serial]
        assert (
            FRESHEST_CRL not in parse_crl_summary(again.app.publisher.paths(again.issuer())[0].read_bytes()).extensions
        )
        assert part_of(again, DELTA) == delta
        for _ in range(61):
            again.clock.advance(60)
        assert not list(again.app.publisher.folder.path.glob("*-delta.*"))
    finally:
        again.close()


def test_a_clock_that_was_ahead(delta_stack: Stack) -> None:
    """A delta that is dated ahead of the clock is replaced, with a higher number."""
    stack = delta_stack
    number = number_of(part_of(stack, DELTA))
    clock: Any = stack.clock
    clock.step(-2 * HOUR)
    clock.advance(61)
    clock.advance(61)
    delta = part_of(stack, DELTA)
    assert number_of(delta) > number
    assert delta.last_update_utc.timestamp() <= stack.clock.seconds()


class _Slow:
    """A store whose answers about deltas are old when they arrive."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.waiting: Deferred[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def delta_content(self, issuer_id: int, now: datetime, limit: int) -> Deferred[Any]:
        """Read, and answer when nothing is waited for."""

        async def work() -> Any:
            content = await self._store.delta_content(issuer_id, now, limit)
            if self.waiting is not None:
                await self.waiting
            return content

        return Deferred.fromCoroutine(work())


def test_a_full_crl_overtakes_a_delta(tmp_path: Path) -> None:
    """The delta that was read before it has a lower number, and another one follows."""
    stores: list[_Slow] = []

    def wrap(store: Any) -> _Slow:
        stores.append(_Slow(store))
        return stores[0]

    changes = {("CRL", "delta"): "1h", ("CA", "public_url"): URL}
    stack = build_core(tmp_path / "ca", SteppedClock(), changes=changes, wrap_store=wrap)
    try:
        result_of(stack.app.publisher.begin())
        first, second = issue(stack), issue(stack)
        waiting: Deferred[None] = Deferred()
        stores[0].waiting = waiting
        stack.revoke(first, HOLD)
        settle(stack)
        stack.release(first)
        stack.revoke(second)
        make(stack)
        full = crl_of(stack)
        assert serials(full) == [second.serial]
        stores[0].waiting = None
        waiting.callback(None)
        delta = part_of(stack, DELTA)
        assert number_of(delta) >= number_of(full)
        assert reasons_of(delta) == {first.serial: "removeFromCRL", second.serial: "unspecified"}
    finally:
        stack.close()


@pytest.mark.parametrize("number", [1 << 62, (1 << 62) + 1, (1 << 159) - 1])
def test_a_number_that_another_program_made(delta_stack: Stack, number: int) -> None:
    """The next delta has a higher number where the database can count to it; else deltas go on below."""
    stack = delta_stack
    issuer, now = stack.issuer(), utc(stack.clock.seconds())
    tbs = tbs_cert_list(
        algorithm=issuer.signer.algorithm,
        issuer_der=issuer.certificate.subject_der,
        updates=(now, now + timedelta(hours=1)),
        entries=b"",
        number=number,
        authority_key_identifier=issuer.key_identifier,
        extensions=[delta_crl_indicator(1)],
    )
    der = assemble_crl(tbs, issuer.signer.algorithm, result_of(issuer.signer.sign(tbs)))
    stack.app.publisher.folder.paths(issuer.key_identifier, DELTA)[0].write_bytes(der)
    again = stack.restart()
    try:
        result_of(again.app.publisher.begin())
        leaf = issue(again)
        again.revoke(leaf)
        settle(again)
        delta = part_of(again, DELTA)
        assert reasons_of(delta) == {leaf.serial: "unspecified"}
        assert (number_of(delta) > number) is (number <= 1 << 62)
    finally:
        again.close()


def test_each_kind_of_key(tmp_path: Path) -> None:
    """Each CA has parts of its own."""
    stack = build_core(tmp_path / "ca", SteppedClock(), ("p256", "rsa2048", "mldsa44"), changes=WITH_PARTS)
    try:
        result_of(stack.app.publisher.begin())
        for name in stack.app.issuers.current:
            check_revocation(stack, name)
    finally:
        stack.close()


@pytest.mark.parametrize("is_restarted", [False, True])
def test_each_generation_has_its_parts(tmp_path: Path, *, is_restarted: bool) -> None:
    """After a rotation both generations list what they have issued, each signed with its own key."""
    stack = build_core(tmp_path / "ca", SteppedClock(), changes=WITH_PARTS)
    try:
        result_of(stack.app.publisher.begin())
        former = stack.issuer()
        before, late = issue_named(stack, former), issue_named(stack, former)
        stack.revoke(before)
        settle(stack)
        rotate(stack, "ec", "--now")
        if is_restarted:
            stack = stack.restart()
            result_of(stack.app.publisher.begin())
        current = stack.issuer()
        assert current.certificate.der != former.certificate.der
        after = issue_named(stack, current)
        stack.revoke(late)
        stack.revoke(after)
        settle(stack)
        check_listed(stack, former, before, late)
        check_listed(stack, current, after)
    finally:
        stack.close()


def test_policies_keep_their_addresses(shard_stack: Stack) -> None:
    """A certificate with other addresses, or without any, is on the full CRL only."""
    stack = shard_stack
    own = crl_distribution_point("http://crl.example.org/own.crl")
    addresses = Addresses.under(URL, stack.issuer().certificate)
    for leaf in (stack.issue(), stack.issue(addresses=addresses, extensions=[own])):
        stack.revoke(leaf)
        settle(stack)
        assert leaf.serial in serials(crl_of(stack))
        assert not any(leaf.serial in reasons_of(part_of(stack, str(shard))) for shard in range(4))


def test_certificates_name_the_delta(tmp_path: Path) -> None:
    """By setting; it is not critical, and beside the full CRL only."""
    for shards in ("", "2"):
        stack = open_core(tmp_path / f"of{shards}", delta="1h", delta_in_certificates="true", shards=shards)
        extensions = x509.load_der_x509_certificate(issue(stack).der).extensions
        key = stack.issuer().key_identifier.hex()
        named = [one for one in extensions if isinstance(one.value, x509.FreshestCRL)]
        names = [(one.critical, name.value) for one in named for point in one.value for name in point.full_name or []]
        assert names == ([] if shards else [(False, f"{URL}/crl/{key}-delta.crl")])
        stack.close()


def test_a_file_that_vanished_is_made_again(delta_stack: Stack) -> None:
    der_path, _ = delta_stack.app.publisher.folder.paths(delta_stack.issuer().key_identifier, DELTA)
    der_path.unlink()
    delta_stack.clock.advance(61)
    assert base_of(part_of(delta_stack, DELTA)) >= 1


# --- shards ------------------------------------------------------------------------------


def test_each_shard_lists_its_own(shard_stack: Stack) -> None:
    stack = shard_stack
    leaves = [issue(stack) for _ in range(16)]
    by_shard = {shard: {leaf.serial for leaf in leaves if shard_of(leaf) == shard} for shard in range(4)}
    assert [leaf.serial % 4 for leaf in leaves] == [shard_of(leaf) for leaf in leaves]
    for leaf in leaves:
        stack.revoke(leaf, HOLD)
    settle(stack)
    key = stack.issuer().key_identifier.hex()
    for shard, expected in by_shard.items():
        crl = part_of(stack, str(shard))
        assert reasons_of(crl).keys() == expected
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert point.critical
        assert [name.value for name in point.value.full_name or []] == [f"{URL}/crl/{key}-{shard}.crl"]
    full = crl_of(stack)
    assert reasons_of(full).keys() == {leaf.serial for leaf in leaves}
    with pytest.raises(x509.ExtensionNotFound):
        full.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    stack.release(leaves[0])
    settle(stack)
    assert leaves[0].serial not in reasons_of(part_of(stack, str(shard_of(leaves[0]))))


def test_a_revocation_rebuilds_one_shard(shard_stack: Stack) -> None:
    stack = shard_stack
    leaf = issue(stack)
    before = {shard: part_of(stack, str(shard)) for shard in range(4)}
    stack.revoke(leaf)
    settle(stack)
    changed = [shard for shard, crl in before.items() if part_of(stack, str(shard)) != crl]
    assert changed == [shard_of(leaf)]


@pytest.mark.parametrize("shards", ["2", "7", ""])
def test_another_number_of_shards_leaves_certificates_in_theirs(shard_stack: Stack, shards: str) -> None:
    stack = shard_stack
    leaves = [issue(stack) for _ in range(12)]
    config = stack.files.config
    config.write_text(config.read_text("utf-8").replace("shards = 4\n", f"shards = {shards}\n"), "utf-8")
    again = stack.restart()
    try:
        result_of(again.app.publisher.begin())
        newer = [issue(again) for _ in range(12)]
        for leaf in (*leaves, *newer):
            again.revoke(leaf)
        settle(again)
        sharded = [*leaves, *newer] if shards else leaves
        for leaf in sharded:
            assert leaf.serial in reasons_of(part_of(again, str(shard_of(leaf))))
        for shard in {shard_of(leaf) for leaf in sharded}:
            expected = {leaf.serial for leaf in sharded if shard_of(leaf) == shard}
            assert reasons_of(part_of(again, str(shard))).keys() == expected
    finally:
        again.close()


def test_another_address_is_added_to_the_shard(shard_stack: Stack) -> None:
    """RFC 5280 section 6.3.3 (b): a name in the CRL has to be one in the certificate."""
    stack = shard_stack
    leaf = issue(stack)
    stack.revoke(leaf)
    config = stack.files.config
    config.write_text(config.read_text("utf-8").replace(URL, "http://pki.example.org"), "utf-8")
    again = stack.restart()
    try:
        result_of(again.app.publisher.begin())
        crl = part_of(again, str(shard_of(leaf)))
        assert reasons_of(crl).keys() == {leaf.serial}
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
        names = {name.value.partition("/crl/")[0] for name in point.full_name or []}
        assert names == {URL, "http://pki.example.org"}
    finally:
        again.close()


def test_an_expired_certificate_stays_until_its_shard_was_made_again(shard_stack: Stack) -> None:
    """Section 3.3 is about each CRL."""
    stack = shard_stack
    leaf = issue(stack, days=1)
    stack.revoke(leaf)
    settle(stack)
    stack.clock.advance(DAY + 600)
    make(stack)
    make(stack)
    assert serials(crl_of(stack)) == [leaf.serial]
    for _ in range(8 * 24):
        stack.clock.advance(HOUR)
    make(stack)
    assert serials(crl_of(stack)) == []


# --- copies of the database --------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"delta": "1h"}, {"shards": "4"}, {"delta": "1h", "shards": "4"}])
def test_what_only_parts_have_outlives_an_older_database(tmp_path: Path, settings: dict[str, str]) -> None:
    """The delta CRL, or a shard, may be all that has a revocation."""
    stack = open_core(tmp_path, **settings)
    old = stack.files.folder / "pikachu.sqlite"
    leaves = [issue(stack) for _ in range(4)]
    stack.close()
    copy = old.read_bytes()
    stack = open_stack(stack.files, stack.clock)
    result_of(stack.app.publisher.begin())
    lost = issue(stack)
    for leaf in (*leaves, lost):
        stack.revoke(leaf, RevocationReason.KEY_COMPROMISE)
        settle(stack)
    numbers = [crl.number for crl in stack.app.publisher.parts.published(stack.issuer()).values()]
    stack.close()
    for path in old.parent.glob("pikachu.sqlite-*"):
        path.unlink()
    old.write_bytes(copy)
    warnings: list[str] = []
    again = open_stack(stack.files, stack.clock, warn=warnings.append)
    try:
        result_of(again.app.publisher.begin())
        expected = {leaf.serial for leaf in (*leaves, lost)}
        assert set(serials(crl_of(again))) == expected
        assert number_of(crl_of(again)) > max(numbers)
        if "shards" in settings:
            for leaf in (*leaves, lost):
                assert leaf.serial in reasons_of(part_of(again, str(shard_of(leaf))))
    finally:
        again.close()
