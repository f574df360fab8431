"""Keys (RA-2, PQC-1): descriptions, private key files, signature algorithms."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import crypto

from pikachu.core.errors import (
    BadPublicKey,
    MalformedRequest,
    MessageCheckFailed,
    ProofOfPossessionFailed,
    RequestError,
    TooLarge,
    UnsupportedAlgorithm,
)
from pikachu.x509 import der
from pikachu.x509.key_encryption import PKCS12_MAC, bounded_in_all, pkcs12_derive
from pikachu.x509.keys import (
    KEY_NAMES,
    KeyFamily,
    PrivateKey,
    describe_private_key,
    describe_spki,
    generate_private_key,
    load_private_key,
    parse_algorithm,
    private_key_info,
    private_key_pem,
    public_key_matches,
    signature_algorithm,
    verify_signature,
)
from tests.support.interop import require
from tests.support.reference_work import BATCH, costs_at_most

QUICK = tuple(name for name in KEY_NAMES if name not in ("rsa3072", "rsa4096"))
KEYS: dict[str, PrivateKey] = {name: generate_private_key(name) for name in QUICK}
TEXTS = {
    "rsa2048": "RSA/2048",
    "prime256v1": "EC/prime256v1",
    "secp384r1": "EC/secp384r1",
    "secp521r1": "EC/secp521r1",
    "secp256k1": "EC/secp256k1",
    "ed25519": "Ed25519",
    "mldsa44": "PQC/mldsa44",
    "mldsa65": "PQC/mldsa65",
    "mldsa87": "PQC/mldsa87",
}
ML_DSA_OIDS = {f"mldsa{n}": f"2.16.840.1.101.3.4.3.{arc}" for n, arc in ((44, 17), (65, 18), (87, 19))}


def sign(key: PrivateKey, data: bytes) -> bytes:
    digest = signature_algorithm(describe_private_key(key)).hash
    if isinstance(key, rsa.RSAPrivateKey):
        assert digest is not None
        return key.sign(data, padding.PKCS1v15(), digest)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        assert digest is not None
        return key.sign(data, ec.ECDSA(digest))
    return key.sign(data)


@pytest.mark.parametrize("name", QUICK)
def test_descriptions(name: str) -> None:
    """The type's text, and both identifiers of the key."""
    key = KEYS[name]
    public = key.public_key()
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    found = describe_spki(spki)
    assert found.text == TEXTS[name]
    assert found.spki == spki
    assert found.key_id == hashlib.sha256(spki).digest()
    assert found.ski == x509.SubjectKeyIdentifier.from_public_key(public).digest
    assert found == describe_private_key(key)
    assert public_key_matches(key, spki)
    assert not public_key_matches(KEYS["ed25519" if name != "ed25519" else "rsa2048"], spki)
    assert found.curve == (name if found.family is KeyFamily.EC else None)


@pytest.mark.parametrize("name", QUICK)
def test_signature_algorithms(name: str) -> None:
    """The AlgorithmIdentifier is the one that cryptography writes, and signatures by it verify."""
    key = KEYS[name]
    description = describe_private_key(key)
    algorithm = signature_algorithm(description)
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    signed = builder.sign(key, algorithm.hash)  # type: ignore[arg-type]
    assert algorithm.oid == signed.signature_algorithm_oid.dotted_string
    assert algorithm.der in signed.public_bytes(serialization.Encoding.DER)
    signature = sign(key, b"data")
    assert verify_signature(description, algorithm.der, signature, b"data") == algorithm
    with pytest.raises(ProofOfPossessionFailed):
        verify_signature(description, algorithm.der, signature, b"date")
    with pytest.raises(MessageCheckFailed):
        verify_signature(description, algorithm.der, signature[:-1], b"data", failure=MessageCheckFailed)
    with pytest.raises(ProofOfPossessionFailed):
        verify_signature(description, algorithm.der, b"", b"data")


def test_pss() -> None:
    """Full parameters with one digest; defaults (SHA-1) and mixtures are refused."""
    key = KEYS["rsa2048"]
    assert isinstance(key, rsa.RSAPrivateKey)
    description = describe_private_key(key)

    def identifier(digest: str, mask: str, salt: int = 32, trailer: int | None = None) -> bytes:
        def of(oid: str) -> bytes:
            return der.sequence(der.oid(oid), der.null())

        return der.sequence(
            der.oid("1.2.840.113549.1.1.10"),
            der.sequence(
                der.explicit(0, of(digest)),
                der.explicit(1, der.sequence(der.oid("1.2.840.113549.1.1.8"), of(mask))),
                der.explicit(2, der.integer(salt)),
                b"" if trailer is None else der.explicit(3, der.integer(trailer)),
            ),
        )

    sha256, sha384, sha1 = "2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.2", "1.3.14.3.2.26"
    signature = key.sign(b"data", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    assert verify_signature(description, identifier(sha256, sha256), signature, b"data").pss_salt == 32
    for wrong in (identifier(sha256, sha256, 20), identifier(sha384, sha384)):
        with pytest.raises(ProofOfPossessionFailed):
            verify_signature(description, wrong, signature, b"data")
    for refused in (
        identifier(sha256, sha384),
        identifier(sha1, sha1),
        identifier(sha256, sha256, 5000),
        identifier(sha256, sha256, -1),
        identifier(sha256, sha256, 32, 2),
        der.sequence(der.oid("1.2.840.113549.1.1.10")),
        der.sequence(der.oid("1.2.840.113549.1.1.10"), der.sequence()),
    ):
        with pytest.raises(UnsupportedAlgorithm):
            verify_signature(description, refused, signature, b"data", allow_sha1=True)


@given(st.binary(max_size=60))
def test_any_algorithm_identifier(data: bytes) -> None:
    for candidate in (data, der.sequence(data), der.sequence(der.oid("1.2.840.113549.1.1.10"), der.sequence(data))):
        with pytest.raises((MalformedRequest, UnsupportedAlgorithm)):
            parse_algorithm(candidate)


@given(st.data())
def test_any_public_key(data: st.DataObject) -> None:
    """Damaged keys are BadPublicKey, or are other good keys in canonical form."""
    spki = bytearray(describe_private_key(KEYS[data.draw(st.sampled_from(QUICK))]).spki)
    spki[data.draw(st.integers(0, min(len(spki), 60) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadPublicKey):
        describe_spki(bytes(spki))


@given(st.binary(max_size=120))
def test_any_bytes_are_no_public_key(data: bytes) -> None:
    with pytest.raises(BadPublicKey):
        describe_spki(data)


def test_one_key_has_one_encoding() -> None:
    """An RSA key without NULL parameters would have another identifier."""
    spki = describe_private_key(KEYS["rsa2048"]).spki
    key = der.parse(spki).sub()[1].whole
    with pytest.raises(BadPublicKey, match="NULL"):
        describe_spki(der.sequence(der.sequence(der.oid("1.2.840.113549.1.1.1")), key))


# --- private keys -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("passphrase", [None, "päss wörd", b"\xff\x00x"])
def test_private_keys_are_read_back(name: str, passphrase: str | bytes | None) -> None:
    """PKCS#8, plain and encrypted, PEM and DER."""
    key = KEYS[name]
    pem = private_key_pem(key, passphrase)
    assert pem.startswith(f"-----BEGIN {'' if passphrase is None else 'ENCRYPTED '}PRIVATE KEY-----\n")
    expected = private_key_info(key)
    assert private_key_info(load_private_key(pem, passphrase)) == expected
    assert private_key_info(load_private_key("some text\n" + pem.replace("\n", "\r\n"), passphrase)) == expected
    body = b"".join(pem.encode("ascii").splitlines()[1:-1])
    assert private_key_info(load_private_key(base64.b64decode(body), passphrase)) == expected
    assert private_key_info(load_private_key(expected, "not needed")) == expected
    if passphrase is not None:
        for wrong in (None, "", "wrong", "x" * 2000):
            with pytest.raises(MalformedRequest, match="passphrase"):
                load_private_key(pem, wrong)


@pytest.mark.parametrize("passphrase", [None, b"secret"])
def test_traditional_forms(passphrase: bytes | None) -> None:
    """PKCS#1 and SEC 1, with Proc-Type encryption, and the EC PARAMETERS block that openssl writes first."""
    for name in ("rsa2048", "prime256v1"):
        key = KEYS[name]
        protection: serialization.KeySerializationEncryption = (
            serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
        )
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, protection)
        parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        assert public_key_matches(load_private_key(parameters + pem, passphrase), describe_private_key(key).spki)
        if passphrase is not None:
            for wrong in (None, b"wrong"):
                with pytest.raises(MalformedRequest, match="passphrase"):
                    load_private_key(pem, wrong)
        else:
            der_bytes = key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, protection
            )
            assert public_key_matches(load_private_key(der_bytes), describe_private_key(key).spki)


@pytest.mark.interop
@pytest.mark.parametrize(
    "options",
    [
        ["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"],
        ["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512"],
        ["-v2", "des3"],
        ["-v2", "aes256", "-iter", "100000"],
        ["-scrypt", "-scrypt_N", "1024"],
        ["-v1", "PBE-SHA1-3DES"],
    ],
)
def test_encryption_by_openssl(tmp_path: Path, options: list[str]) -> None:
    """Keys encrypted by ``openssl pkcs8`` are read."""
    require("openssl")
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_text(private_key_pem(KEYS["secp384r1"]), "ascii")
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", str(source), "-out", str(out), "-passout", "pass:secret", *options],
        check=True,
        timeout=60,
        capture_output=True,
    )
    loaded = load_private_key(out.read_bytes(), "secret")
    assert public_key_matches(loaded, describe_private_key(KEYS["secp384r1"]).spki)
    with pytest.raises(MalformedRequest, match="passphrase"):
        load_private_key(out.read_bytes(), "wrong")


def encrypted(iterations: int, kdf: bytes | None = None) -> bytes:
    derivation = kdf or der.sequence(
        der.oid("1.2.840.113549.1.5.12"),
        der.sequence(
            der.octet_string(b"saltsalt"), der.integer(iterations), der.sequence(der.oid("1.2.840.113549.2.9"))
        ),
    )
    scheme = der.sequence(der.oid("2.16.840.1.101.3.4.1.42"), der.octet_string(bytes(16)))
    return der.sequence(
        der.sequence(der.oid("1.2.840.113549.1.5.13"), der.sequence(derivation, scheme)), der.octet_string(bytes(64))
    )


def scrypt(cost: int, block_size: int, parallel: int) -> bytes:
    numbers = map(der.integer, (cost, block_size, parallel))
    return der.sequence(der.oid("1.3.6.1.4.1.11591.4.11"), der.sequence(der.octet_string(b"s"), *numbers))


@pytest.mark.parametrize(
    "data",
    [
        encrypted(2**31),
        encrypted(1_000_001),
        encrypted(0),
        encrypted(-5),
        encrypted(1, scrypt(2**30, 8, 1)),
        # Within the bounds of memory, but a block too small or too large for OpenSSL.
        encrypted(1, scrypt(2**16, 1, 1)),
        encrypted(1, scrypt(2**18, 1, 1)),
        encrypted(1, scrypt(2, 2**18, 1)),
        der.sequence(
            der.sequence(der.oid("1.2.840.113549.1.12.1.3"), der.sequence(der.octet_string(b"s"), der.integer(2**31))),
            der.octet_string(bytes(64)),
        ),
    ],
)
def test_expensive_encryption_is_refused_fast(data: bytes) -> None:
    """Iteration bombs."""
    with costs_at_most(2 * BATCH), pytest.raises(UnsupportedAlgorithm):
        load_private_key(data, "secret")


def ml_dsa_info(name: str, content: bytes, *, parameters: bytes = b"", version: int = 0, extra: bytes = b"") -> bytes:
    return der.sequence(
        der.integer(version), der.sequence(der.oid(ML_DSA_OIDS[name]), parameters), der.octet_string(content), extra
    )


def expanded_key(name: str, seed: bytes) -> bytes:
    """Return the expanded form of a seed, from the file that OpenSSL writes."""
    key = crypto.load_privatekey(crypto.FILETYPE_ASN1, ml_dsa_info(name, der.implicit(0, seed)))
    with pytest.deprecated_call():
        info = crypto.dump_privatekey(crypto.FILETYPE_ASN1, key)
    both = der.parse(der.parse(info).sub()[2].content).sub()
    assert both[0].content == seed
    return both[1].content


@pytest.mark.parametrize(("size", "rounds"), [(8, 1), (20, 1), (21, 2), (24, 2), (64, 4)])
def test_each_digest_that_is_derived_is_counted(size: int, rounds: int) -> None:
    """PKCS#12 hashes again for each digest's length of what is derived; a file chooses the length of its MAC."""
    with bounded_in_all(rounds * 100):
        assert len(pkcs12_derive("sha1", b"secret", b"salt", 100, PKCS12_MAC, size)) == size
    with bounded_in_all(rounds * 100 - 1), pytest.raises(UnsupportedAlgorithm):
        pkcs12_derive("sha1", b"secret", b"salt", 100, PKCS12_MAC, size)


@pytest.mark.parametrize("name", ML_DSA_OIDS)
def test_ml_dsa_forms(name: str) -> None:
    """Seed, and both when they agree; the expanded form alone is refused clearly."""
    key = KEYS[name]
    assert isinstance(key, mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey)
    seed = key.private_bytes_raw()
    expanded = expanded_key(name, seed)
    assert len(expanded) == {"mldsa44": 2560, "mldsa65": 4032, "mldsa87": 4896}[name]
    both = der.sequence(der.octet_string(seed), der.octet_string(expanded))
    for content in (der.implicit(0, seed), both):
        assert private_key_info(load_private_key(ml_dsa_info(name, content))) == private_key_info(key)
    flipped = [
        expanded[:position] + bytes((expanded[position] ^ 1,)) + expanded[position + 1 :]
        for position in (0, 40, 70, 130, 300, len(expanded) - 1)
    ]
    for wrong in (*flipped, b"", expanded[:-1], expanded + b"\0", bytes(len(expanded))):
        with pytest.raises(MalformedRequest, match="do not belong together"):
            load_private_key(ml_dsa_info(name, der.sequence(der.octet_string(seed), der.octet_string(wrong))))
    with pytest.raises(MalformedRequest, match="only the expanded form"):
        load_private_key(ml_dsa_info(name, der.octet_string(expanded)))
    for refused in (
        ml_dsa_info(name, der.implicit(0, seed[:-1])),
        ml_dsa_info(name, der.implicit(0, seed), parameters=der.null()),
        ml_dsa_info(name, der.sequence(der.octet_string(seed))),
        ml_dsa_info(name, der.integer(5)),
        ml_dsa_info(name, b""),
    ):
        with pytest.raises(MalformedRequest):
            load_private_key(refused)


def test_ml_dsa_with_both_forms_encrypted() -> None:
    """As OpenSSL 3.5 writes it with a passphrase."""
    key = KEYS["mldsa44"]
    assert isinstance(key, mldsa.MLDSA44PrivateKey)
    seed = key.private_bytes_raw()
    content = der.sequence(der.octet_string(seed), der.octet_string(expanded_key("mldsa44", seed)))
    padder = block_padding.PKCS7(128).padder()
    plain = padder.update(ml_dsa_info("mldsa44", content)) + padder.finalize()
    secret = hashlib.pbkdf2_hmac("sha256", b"secret", b"saltsalt", 2048, 32)
    encryptor = Cipher(algorithms.AES(secret), modes.CBC(bytes(16))).encryptor()
    algorithm = der.parse(encrypted(2048)).sub()[0].whole
    data = der.sequence(algorithm, der.octet_string(encryptor.update(plain) + encryptor.finalize()))
    assert private_key_info(load_private_key(data, "secret")) == private_key_info(key)
    with pytest.raises(MalformedRequest, match="passphrase"):
        load_private_key(data, "other")


def test_the_public_key_in_the_file_must_be_the_key_s() -> None:
    """PKCS#8 version 2."""
    for name in ("mldsa44", "ed25519"):
        info = der.parse(private_key_info(KEYS[name])).sub()
        for owner, good in ((name, True), ("mldsa65", False)):
            public = b"\x00" + describe_private_key(KEYS[owner]).key_octets
            data = der.sequence(der.integer(1), info[1].whole, info[2].whole, der.implicit(1, public))
            if good:
                load_private_key(data)
            else:
                with pytest.raises(MalformedRequest, match="another key"):
                    load_private_key(data)
    first, second = KEYS["prime256v1"], ec.generate_private_key(ec.SECP256R1())
    mixed = private_key_info(first).replace(
        describe_private_key(first).key_octets, describe_private_key(second).key_octets
    )
    with pytest.raises(MalformedRequest):
        load_private_key(mixed)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MalformedRequest),
        (b"hello", MalformedRequest),
        (b"-----BEGIN PRIVATE KEY-----\n", MalformedRequest),
        (b"-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----\n", MalformedRequest),
        (private_key_pem(KEYS["ed25519"]) * 2, MalformedRequest),
        (b"0" + bytes(40_000), TooLarge),
        (der.sequence(der.integer(0)), MalformedRequest),
        (der.sequence(der.integer(0), der.sequence(), der.octet_string(b"")), MalformedRequest),
        (der.sequence(der.integer(0), der.integer(2**20000), der.integer(3)), BadPublicKey),
        (
            dsa.generate_private_key(1024).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            UnsupportedAlgorithm,
        ),
        (
            ec.generate_private_key(ec.SECP224R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            BadPublicKey,
        ),
        (
            rsa.generate_private_key(65537, 1024).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            BadPublicKey,
        ),
    ],
)
def test_private_keys_refused(data: bytes | str, error: type[RequestError]) -> None:
    with pytest.raises(error):
        load_private_key(data)


@given(st.binary(max_size=150))
def test_any_bytes_are_no_private_key(data: bytes) -> None:
    for candidate in (data, der.sequence(data), der.sequence(der.integer(0), data)):
        with pytest.raises(RequestError):
            load_private_key(candidate, b"x")


@settings(deadline=None)
@given(st.data())
def test_damaged_private_keys(data: st.DataObject) -> None:
    key = KEYS[data.draw(st.sampled_from(("prime256v1", "ed25519", "mldsa44", "rsa2048")))]
    damaged = bytearray(private_key_info(key))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(RequestError):
        load_private_key(bytes(damaged))


def test_names_of_new_keys() -> None:
    with pytest.raises(UnsupportedAlgorithm, match="prime256v1"):
        generate_private_key("rsa1024")
    assert isinstance(KEYS["ed25519"], ed25519.Ed25519PrivateKey)
    for refused in ("", "x" * 1024):
        with pytest.raises(MalformedRequest):
            private_key_pem(KEYS["ed25519"], refused)


@pytest.mark.parametrize("scheme", ["1.2.840.113549.1.5.3", "1.2.840.113549.1.5.10", "1.2.840.113549.1.12.1.3"])
def test_others_run_while_a_passphrase_is_hashed(scheme: str) -> None:
    """Hashing in Python holds the GIL: a thread that often releases it must not wait each time."""
    salt = der.octet_string(b"saltsalt")
    data = der.sequence(
        der.sequence(der.oid(scheme), der.sequence(salt, der.integer(400_000))), der.octet_string(bytes(8))
    )

    def turn() -> None:
        # Gives the lock away for a moment, as everything does that waits for a peer.
        time.sleep(1e-5)

    started = time.perf_counter()
    for _ in range(1000):
        turn()
    alone = (time.perf_counter() - started) / 1000
    turns = 0
    with ThreadPoolExecutor(1) as pool:
        started = time.perf_counter()
        hashing = pool.submit(load_private_key, data, "secret")
        while not hashing.done():
            turn()
            turns += 1
        beside = (time.perf_counter() - started) / turns
        assert isinstance(hashing.exception(), MalformedRequest)
    assert beside < 10 * alone
