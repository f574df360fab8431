"""Real clients of delta CRLs and sharded CRLs, from a real server (CRL-D)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from pikachu.core.model.certificates import RevocationReason
from tests.interop.test_status_clients import Site, run
from tests.support.interop import require
from tests.support.java import compiled
from tests.support.ports import free_port
from tests.support.server import end, make_server, wait_until
from tests.support.stack import Leaf

pytestmark = pytest.mark.interop


@dataclass
class Device:
    """A certificate, and the shard that it names.

    :ivar path: of the certificate, PEM.
    """

    leaf: Leaf
    path: Path

    @property
    def shard(self) -> int:
        """The number in its crlDistributionPoints."""
        certificate = x509.load_der_x509_certificate(self.leaf.der)
        (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert point.full_name
        return int(point.full_name[0].value.removesuffix(".crl").rpartition("-")[2])


@dataclass
class World:
    """A server, a certificate that is good, one that was revoked, and one that was released; and the CRLs.

    :ivar folder: has ``full``, ``delta``, ``0`` and ``1``, each with ``.crl`` (DER) and ``.pem``.
    """

    folder: Path
    good: Device
    revoked: Device
    released: Device
    root: Path
    issuing: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The full CRL is older than the revocation and the release; it lists what was on hold."""
    require("openssl")
    folder = tmp_path_factory.mktemp("partial")
    port = free_port()
    changes = {
        ("CA", "public_url"): f"http://127.0.0.1:{port}",
        ("DEFAULT", "http_port"): str(port),
        ("CRL", "delta"): "1h",
        ("CRL", "shards"): "2",
    }
    server = make_server(folder / "server", ("p256",), changes=changes)
    files = folder / "files"
    files.mkdir()
    site = Site(server, files)
    try:
        server.start()
        wait_until(lambda: server.ask("http", "/crl/ec-delta.crl").status == 200, "the delta CRL is published")
        good, revoked, released = (Device(leaf, path) for leaf, path, _ in (site.issue() for _ in range(3)))
        with site.stack() as stack:
            stack.revoke(released.leaf, RevocationReason.CERTIFICATE_HOLD)
        wait_until(lambda: _lists(site, "ec-delta", released.leaf), "what is on hold is on the delta CRL")
        server.run("crl", "--issuer", "ec")
        with site.stack() as stack:
            stack.revoke(revoked.leaf, RevocationReason.KEY_COMPROMISE)
            stack.release(released.leaf)
        wait_until(lambda: _lists(site, "ec-delta", revoked.leaf), "the revocation is on the delta CRL")
        wait_until(lambda: _lists(site, f"ec-{revoked.shard}", revoked.leaf), "the revocation is in its shard")
        wait_until(lambda: not _lists(site, f"ec-{released.shard}", released.leaf), "the release is in its shard")
        for name, address in (("full", "ec"), ("delta", "ec-delta"), ("0", "ec-0"), ("1", "ec-1")):
            for suffix in ("crl", "pem"):
                (files / f"{name}.{suffix}").write_bytes(site.get(f"/crl/{address}.{suffix}"))
        root, issuing = files / "root.crt", files / "issuing.crt"
        root.write_bytes(server.files.root.pem)
        issuing.write_bytes(server.files.issuers["ec"].pem)
        yield World(files, good, revoked, released, root, issuing)
    finally:
        end(server)


def _lists(site: Site, name: str, leaf: Leaf) -> bool:
    crl = x509.load_der_x509_crl(site.get(f"/crl/{name}.crl"))
    entry = crl.get_revoked_certificate_by_serial_number(leaf.serial)
    return entry is not None


def _openssl(world: World, device: Device, *lists: str, ok: bool, options: tuple[str, ...] = ()) -> str:
    crls = [argument for name in lists for argument in ("-CRLfile", world.folder / f"{name}.pem")]
    trust = ("-CAfile", world.root, "-untrusted", world.issuing)
    return run("openssl", "verify", "-crl_check", *options, *trust, *crls, device.path, ok=ok)


def test_openssl_adds_a_delta_to_a_full_crl(world: World) -> None:
    """A revocation and a release that the full CRL lacks; without the option it knows neither."""
    options = ("-use_deltas", "-extended_crl")
    both = ("full", "delta")
    _openssl(world, world.good, *both, ok=True, options=options)
    assert "revoked" in _openssl(world, world.revoked, *both, ok=False, options=options)
    _openssl(world, world.released, *both, ok=True, options=options)
    _openssl(world, world.revoked, "full", ok=True)
    assert "revoked" in _openssl(world, world.released, "full", ok=False)


def test_openssl_takes_the_shard_that_a_certificate_names(world: World) -> None:
    """Another shard says nothing about it."""
    options = ("-extended_crl",)
    for device, ok in ((world.good, True), (world.revoked, False), (world.released, True)):
        text = _openssl(world, device, str(device.shard), ok=ok, options=options)
        assert ok or "revoked" in text
        assert "scope" in _openssl(world, device, str(1 - device.shard), ok=False, options=options)
        assert ok or "revoked" in _openssl(world, device, "0", "1", ok=False, options=options)


def test_gnutls_takes_a_shard(world: World) -> None:
    require("certtool")
    for device, ok in ((world.good, True), (world.revoked, False)):
        chain = b"".join(path.read_bytes() for path in (device.path, world.issuing, world.root))
        command = ("certtool", "--verify", "--load-ca-certificate", world.root, "--load-crl")
        run(*command, world.folder / f"{device.shard}.pem", ok=ok, stdin=chain)


def test_java_fetches_the_shard_that_a_certificate_names(world: World, tmp_path: Path) -> None:
    """Java doesn't add deltas: beside a full CRL, one changes nothing."""
    program, *options, name = compiled("ValidateByCRLs", tmp_path)
    java = (program, *options, "-Dcom.sun.security.enableCRLDP=true", name, world.root)
    run(*java, world.good.path, world.issuing, seconds=60)
    assert "revoked" in run(*java, world.revoked.path, world.issuing, ok=False, seconds=60)
    run(*java, world.released.path, world.issuing, seconds=60)
    given = (world.folder / "full.crl", world.folder / "delta.crl")
    offline = (program, *options, name, world.root)
    run(*offline, world.good.path, world.issuing, *given, seconds=60)


def test_pkilint_has_no_findings(world: World) -> None:
    """Each of them is a CRL of RFC 5280."""
    program = Path(sys.executable).with_name("lint_crl")
    for name in ("full", "delta", "0", "1"):
        text = run(program, "lint", "--profile", "PKIX", "--type", "CRL", world.folder / f"{name}.pem", seconds=60)
        assert not text.strip(), text
