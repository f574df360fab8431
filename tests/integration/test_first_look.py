"""A server begins: it answers by OCSP before it has looked for what others change meanwhile (OCSP-3, HA-1)."""

from __future__ import annotations

from pathlib import Path

from pikachu.protocols.ocsp.messages import decode_request
from pikachu.server.log_output import LEVELS, LogOutput
from pikachu.server.service import PikachuService
from pikachu.server.systemd import ServiceNotifier
from pikachu.va.ocsp import OCSPAnswer
from tests.support import ocsp
from tests.support.reactor import Reactor
from tests.support.server import make_server
from tests.support.stack import Leaf, open_stack


def test_answers_before_the_first_look(tmp_path: Path) -> None:
    """The first look drops answers whose status has changed, and only those: an outage finds the others."""
    server = make_server(tmp_path)
    other = open_stack(server.files)
    reactor = Reactor()
    output = LogOutput(LEVELS["ERROR"], [])
    service = PikachuService(server.files.load(), reactor, output, sockets={}, notifier=ServiceNotifier({}, 0))
    service.startService()

    def asked(leaf: Leaf) -> OCSPAnswer:
        request = decode_request(ocsp.request(ocsp.cert_id(other.issuer().certificate, leaf.serial)))
        return reactor.run_until(service.app.responder.answer(request.cert_ids, None))

    known, lost = other.issue(), other.issue()
    of_known, of_lost = asked(known), asked(lost)
    assert (of_known.result, of_lost.result) == ("good", "good")
    other.revoke(lost)
    reactor.begin()
    reactor.run_while(lambda: not of_lost.dropped)
    assert asked(known) is of_known
    assert asked(lost).result == "revoked"
    reactor.run_until(service.stopService())
    other.close()
