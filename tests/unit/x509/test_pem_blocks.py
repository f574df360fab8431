"""PEM files as other programs write them: labels, encodings of the text, and text around the blocks."""

from __future__ import annotations

import codecs

import pytest

from pikachu.core.errors import MalformedRequest
from pikachu.inspection.recognition import read
from pikachu.x509 import der
from pikachu.x509.certificate import decode_certificate_input
from pikachu.x509.crl_verification import decode_crl
from pikachu.x509.csr import decode_csr_input
from pikachu.x509.key_files import read_key_file
from pikachu.x509.keys import generate_private_key, load_private_key, private_key_info
from pikachu.x509.pem import pem
from pikachu.x509.pem_blocks import CERTIFICATE_LABELS, blocks, certificates_in, decode_text, labels_in
from tests.support.pki import make_ca, make_csr
from tests.support.text_forms import TEXT_FORMS

CERTIFICATE = make_ca().der
CSR = make_csr()[1]
KEY = private_key_info(generate_private_key("prime256v1"))
#: The trust settings of ``openssl x509 -addtrust clientAuth -setalias device``.
TRUST = der.sequence(der.sequence(der.oid("1.3.6.1.5.5.7.3.2")), der.utf8_string("device"))
ENCODINGS = {
    "ASCII": lambda text: text.encode(),
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16, little endian": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16, big endian": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16 without a mark, little endian": lambda text: text.encode("utf-16-le"),
    "UTF-16 without a mark, big endian": lambda text: text.encode("utf-16-be"),
}


@pytest.mark.parametrize("label", CERTIFICATE_LABELS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("before", ["", "Ärzte\n", "x", "subject=CN = a\r\n\r\n"])
def test_certificates(label: str, encoding: str, before: str) -> None:
    """Each label, in each encoding of the text, after text of odd and even length."""
    content = CERTIFICATE + TRUST if label == "TRUSTED CERTIFICATE" else CERTIFICATE
    data = ENCODINGS[encoding](f"{before}{pem(label, content)}")
    assert certificates_in(decode_text(data)) == [CERTIFICATE]
    assert decode_certificate_input(data) == CERTIFICATE


def test_text_that_is_none() -> None:
    """DER stays as it is, and so does text that is nothing."""
    for data in (CERTIFICATE, b"", b"nothing", der.octet_string("-----BEGIN ".encode("utf-16-le"))[:1]):
        assert decode_text(data) == data
    embedded = der.sequence(der.octet_string("-----BEGIN ".encode("utf-16-le")))
    assert decode_text(embedded) == embedded


@pytest.mark.parametrize("content", [b"", b"\x30", b"\x30\x82\xff\xff"])
def test_a_trusted_certificate_cut_short(content: bytes) -> None:
    with pytest.raises(MalformedRequest):
        certificates_in(pem("TRUSTED CERTIFICATE", content).encode())


def test_labels() -> None:
    """The labels in a file without the expected block, to name what it holds."""
    text = pem("PKCS7", b"1") + "text\n" + pem("PRIVATE KEY", b"2") + "-----BEGIN " + "x" * 80
    assert labels_in(text.encode()) == ["PKCS7", "PRIVATE KEY"]
    assert blocks(pem("PKCS7", b"1").encode(), CERTIFICATE_LABELS) == []


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_every_reader_takes_every_form(form: str) -> None:
    """CSRs, certificates, private keys, CRLs and what is inspected."""
    make = TEXT_FORMS[form]
    for label in ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"):
        assert decode_csr_input(make(label, CSR)) == CSR
        assert read(make(label, CSR))[0].der == CSR
    for label in CERTIFICATE_LABELS:
        assert decode_certificate_input(make(label, CERTIFICATE)) == CERTIFICATE
        assert read(make(label, CERTIFICATE))[0].der == CERTIFICATE
    key = read_key_file(make("PRIVATE KEY", KEY)).private_key
    assert private_key_info(key) == KEY
    assert read(make("PRIVATE KEY", KEY))[0].der == KEY
    if not form.startswith("base64"):
        assert private_key_info(load_private_key(make("PRIVATE KEY", KEY))) == KEY
        assert decode_crl(make("X509 CRL", CERTIFICATE)) == CERTIFICATE


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", ["", "\n", "  \n", "\n\n"])
def test_headers(end: str, separator: str) -> None:
    """RFC 1421 headers, continued or not, with or without the empty line after them."""
    for headers in ("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n", "Comment: x\n"):
        text = pem("PRIVATE KEY", KEY).replace("KEY-----\n", f"KEY-----\n{headers}{separator}", 1).replace("\n", end)
        (block,) = blocks(text.encode(), ("PRIVATE KEY",))
        assert (block.headers, block.der()) == (True, KEY)
