"""CRLs and revocations as a broker gets them (MQT-2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.times import utc
from pikachu.messaging.mqtt.messages import ReceivedRevocation, decode_reference, verify_revocation
from pikachu.va.broker_publisher import BrokerPublisher
from tests.support.broker import FakeBroker
from tests.support.deferreds import result_of
from tests.support.stack import Changes, Files, make_files, open_stack

HOLD = RevocationReason.CERTIFICATE_HOLD


class Site:
    """A stack and its broker."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.broker = FakeBroker()
        self.stack = open_stack(files, broker=self.broker)
        self.begin()

    def begin(self) -> None:
        result_of(self.stack.app.publisher.begin())
        self.tend()

    @property
    def publisher(self) -> BrokerPublisher:
        publisher = self.stack.app.broker_publisher
        assert publisher is not None
        return publisher

    def tend(self) -> None:
        self.publisher.wake()

    def settle(self) -> None:
        """Let the CRL of the last revocations be made."""
        for _ in range(3):
            self.stack.clock.advance(1)

    def restart(self) -> None:
        """End the process, and start another one with another connection."""
        self.stack.close()
        self.broker = FakeBroker()
        self.stack = open_stack(self.files, self.stack.clock, broker=self.broker)
        self.begin()

    @property
    def base(self) -> str:
        return f"pikachu/v1/ec/{self.stack.issuer().key_identifier.hex()}"

    def received(self) -> list[ReceivedRevocation]:
        """The revocations as a subscriber reads them."""
        now = utc(self.stack.clock.seconds())
        issuer = self.stack.issuer().certificate
        return [verify_revocation(payload, issuer, now) for payload in self.broker.of_kind("revoked")]

    def sequence(self) -> list[tuple[int, int, RevocationReason | None]]:
        return [(one.seq, one.serial, one.reason) for one in self.received()]


@pytest.fixture
def new_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def new(changes: Changes | None = None) -> Site:
        site = Site(make_files(tmp_path, changes=changes))
        sites.append(site)
        return site

    yield new
    for site in sites:
        site.stack.close()


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    made = new_site()
    made.broker.connect()
    return made


def test_crls_are_retained(site: Site) -> None:
    """One topic for each generation: the DER, and no reference."""
    for issuer in site.stack.app.issuers.all():
        topic = f"pikachu/v1/{issuer.name}/{issuer.key_identifier.hex()}/crl"
        assert site.broker.retained[topic] == site.stack.app.publisher.paths(issuer)[0].read_bytes()
    assert not [topic for topic in site.broker.retained if topic.endswith("crl-ref")]


def test_revocations_are_numbered_and_signed(site: Site) -> None:
    """Revocation, hold, release and a final revocation, in their order, before the CRL."""
    first, second = site.stack.issue(), site.stack.issue()
    site.stack.revoke(first, RevocationReason.KEY_COMPROMISE)
    site.stack.revoke(second, HOLD)
    site.stack.release(second)
    site.stack.revoke(second, RevocationReason.SUPERSEDED)
    assert site.sequence() == [
        (1, first.serial, RevocationReason.KEY_COMPROMISE),
        (2, second.serial, HOLD),
        (3, second.serial, None),
        (4, second.serial, RevocationReason.SUPERSEDED),
    ]
    assert [one.revoked_at is None for one in site.received()] == [False, False, True, False]
    before = site.broker.retained[f"{site.base}/crl"]
    site.settle()
    assert site.broker.retained[f"{site.base}/crl"] != before
    assert result_of(site.publisher.outstanding()) == 0


def test_what_is_no_revocation_is_not_told(site: Site) -> None:
    """Deleting a valid certificate changes its status, but no subscriber's mind; nor does revoking twice."""
    kept, deleted = site.stack.issue(), site.stack.issue()
    site.stack.delete(deleted)
    site.stack.revoke(kept)
    site.stack.revoke(kept)
    assert [serial for _, serial, _ in site.sequence()] == [kept.serial]


def test_revocations_before_the_first_start_are_on_the_crl_only(new_site: Callable[..., Site], tmp_path: Path) -> None:
    stack = open_stack(make_files(tmp_path / "early"))
    early = stack.issue()
    stack.revoke(early)
    stack.close()
    site = Site(stack.files)
    site.broker.connect()
    late = site.stack.issue()
    site.stack.revoke(late)
    assert [(seq, serial) for seq, serial, _ in site.sequence()] == [(1, late.serial)]
    site.stack.close()


def test_an_outage_loses_nothing(site: Site) -> None:
    """Revocations of the meantime follow in order when the broker is back, and the CRLs are published again."""
    site.broker.lose()
    leaves = [site.stack.issue() for _ in range(3)]
    for leaf in leaves:
        site.stack.revoke(leaf)
    site.settle()
    assert not site.broker.of_kind("revoked")
    assert "down" in str(site.publisher.problem())
    site.broker.retained.clear()
    site.broker.connect()
    assert [(seq, serial) for seq, serial, _ in site.sequence()] == [
        (number, leaf.serial) for number, leaf in enumerate(leaves, 1)
    ]
    assert site.broker.retained.keys() == {
        f"pikachu/v1/{one.name}/{one.key_identifier.hex()}/crl" for one in site.stack.app.issuers.all()
    }
    assert site.publisher.problem() is None


def test_what_was_not_confirmed_is_sent_again_with_its_number(site: Site) -> None:
    """The process ends between a message and its confirmation: a repetition with the same number, no gap."""
    first, second = site.stack.issue(), site.stack.issue()
    site.stack.revoke(first)
    site.broker.holds = True
    site.stack.revoke(second)
    assert result_of(site.publisher.outstanding()) == 1
    site.broker.lose()
    site.restart()
    site.broker.connect()
    third = site.stack.issue()
    site.stack.revoke(third)
    assert [(seq, serial) for seq, serial, _ in site.sequence()] == [(2, second.serial), (3, third.serial)]


def test_revocations_while_the_process_was_down(site: Site) -> None:
    """By the command, without a server."""
    leaf = site.stack.issue()
    site.stack.close()
    command = open_stack(site.files, site.stack.clock)
    command.revoke(leaf)
    command.close()
    site.stack = open_stack(site.files, site.stack.clock, broker=site.broker)
    site.begin()
    site.broker.connect()
    assert [(seq, serial) for seq, serial, _ in site.sequence()] == [(1, leaf.serial)]


def test_more_than_a_window(site: Site) -> None:
    site.broker.lose()
    leaves = [site.stack.issue() for _ in range(120)]
    for leaf in leaves:
        site.stack.revoke(leaf)
    site.broker.connect()
    assert [(seq, serial) for seq, serial, _ in site.sequence()] == [
        (number, leaf.serial) for number, leaf in enumerate(leaves, 1)
    ]


def test_a_refused_topic_holds_up_nothing_else(site: Site) -> None:
    """An access list that lacks one topic: the state says so, and the revocations wait."""
    site.broker.refuses = lambda topic: topic.endswith("/revoked")
    leaf = site.stack.issue()
    site.stack.revoke(leaf)
    site.settle()
    assert "refused" in str(site.publisher.problem())
    assert result_of(site.publisher.outstanding()) == 1
    assert site.broker.of_kind("crl")
    site.broker.refuses = lambda topic: False
    site.tend()
    assert [serial for _, serial, _ in site.sequence()] == [leaf.serial]
    assert site.publisher.problem() is None


def test_a_connection_before_the_crls_are_read(site: Site) -> None:
    """The first connection after a start gets the CRLs that an earlier process has published."""
    site.stack.close()
    site.broker = FakeBroker()
    site.stack = open_stack(site.files, site.stack.clock, broker=site.broker)
    site.tend()
    site.broker.connect()
    assert not site.broker.retained
    result_of(site.stack.app.publisher.begin())
    site.tend()
    assert f"{site.base}/crl" in site.broker.retained


def test_an_ended_connection_holds_up_no_other_crl(new_site: Callable[..., Site]) -> None:
    """A broker that ends the connection for one CA's CRL gets those of the others with the next one."""
    site = new_site()
    site.broker.connect()
    # In the order in which they are published.
    topics = [topic for topic, payload in site.broker.messages if topic.endswith("/crl") and payload]
    first = topics[0]
    others = {*topics} - {first}
    assert others
    site.broker.retained.clear()
    site.broker.ends = lambda topic: topic == first
    site.broker.lose()
    site.broker.connect()
    assert not site.broker.is_connected
    assert not site.broker.retained
    site.broker.connect()
    assert site.broker.retained.keys() == others


@pytest.mark.parametrize("limited", ["here", "at the broker"])
def test_a_large_crl_is_referred_to(new_site: Callable[..., Site], limited: str) -> None:
    """Above max_crl_size, a subscriber gets its address, hash and number; the CRL's own topic is cleared."""
    url = "http://ca.example.com"
    size = {("MQTT", "max_crl_size"): "1K"} if limited == "here" else {}
    site = new_site({**size, ("CA", "public_url"): url})
    if limited == "at the broker":
        site.broker.largest = 1024
    site.broker.connect()
    assert f"{site.base}/crl" in site.broker.retained
    for _ in range(40):
        site.stack.revoke(site.stack.issue())
    site.settle()
    assert f"{site.base}/crl" not in site.broker.retained
    reference = decode_reference(site.broker.retained[f"{site.base}/crl-ref"])
    crl = site.stack.app.publisher.newest(site.stack.issuer())
    assert crl is not None
    key_identifier = site.stack.issuer().key_identifier.hex()
    assert (reference.url, reference.crl_number) == (f"{url}/crl/{key_identifier}.crl", crl.number)
    assert (reference.sha256, reference.next_update) == (crl.etag, crl.next_update)


def test_a_large_crl_without_an_address(new_site: Callable[..., Site]) -> None:
    site = new_site({("MQTT", "max_crl_size"): "1K"})
    site.broker.connect()
    for _ in range(40):
        site.stack.revoke(site.stack.issue())
    site.settle()
    assert "public_url" in str(site.publisher.problem())


def test_another_prefix_clears_the_former_topics(site: Site) -> None:
    """A topic that stays retained would have an old CRL for ever."""
    former = set(site.broker.retained)
    site.stack.close()
    text = site.files.config.read_text()
    site.files.config.write_text(f"{text}[MQTT]\ntopic_prefix = site/ca\n")
    site.stack = open_stack(site.files, site.stack.clock, broker=site.broker)
    site.begin()
    site.broker.connect()
    assert not former & set(site.broker.retained)
    assert all(topic.startswith("site/ca/v1/") for topic in site.broker.retained)


def test_a_payload_is_readable_by_others(site: Site) -> None:
    """The JSON of docs/mqtt.md."""
    leaf = site.stack.issue()
    site.stack.revoke(leaf, RevocationReason.CESSATION_OF_OPERATION)
    (payload,) = site.broker.of_kind("revoked")
    start = payload.index(b'{"v":1')
    document = json.loads(payload[start : payload.index(b"}", start) + 1])
    assert list(document) == ["v", "seq", "serial", "revoked_at", "reason", "crl_number"]
    assert document["reason"] == "cessationOfOperation"


def test_it_says_goodbye(site: Site) -> None:
    result_of(site.publisher.stop())
    assert not site.broker.is_wanted
