"""Make the vectors beside this file again with the real clients of this machine.

Run it as ``python -m tests.vectors.scep.capture``.

Everything stays on 127.0.0.1.  The recipient's key is made for this and used for nothing else.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pikachu.cms.algorithms import LEGACY
from pikachu.x509.pem import pem
from tests.support.scep_loopback import LoopbackSCEPServer, throw_away_ca

HERE = Path(__file__).parent


CERTMONGER = """
/usr/lib/certmonger/certmonger-session -s -n &
daemon=$!
sleep 1
getcert add-scep-ca -s -c ca -u "$1" -N "$HOME/ca.pem" -r "$HOME/ca.pem" -R "$HOME/ca.pem"
sleep 2
getcert request -s -I one -c ca -k "$HOME/key" -f "$HOME/certificate" -N CN=certmonger -L secret -w
getcert rekey -s -i one -w
kill $daemon
"""


def run(directory: Path, *command: str) -> str:
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True, timeout=60).stdout


def main() -> None:
    """Run each client against a loopback server and keep what it sent."""
    key = rsa.generate_private_key(65537, 2048)
    certificate = throw_away_ca(key)
    (HERE / "recipient.key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (HERE / "recipient.der").write_bytes(certificate)
    with (
        tempfile.TemporaryDirectory() as name,
        LoopbackSCEPServer(LEGACY, authority=(key, certificate)) as server,
    ):
        directory = Path(name)

        def keep(vector: str) -> None:
            (HERE / f"{vector}.der").write_bytes(server.received[-1])

        (directory / "ca.pem").write_text(pem("CERTIFICATE", certificate))
        scepclient = ("scepclient", "-server-url", server.url, "-private-key", "go.key", "-certificate", "go.crt")
        run(directory, *scepclient, "-cn", "scepclient", "-challenge", "secret")
        keep("scepclient-pkcsreq")
        run(directory, *scepclient, "-cn", "scepclient")
        keep("scepclient-renewal")
        run(directory, "openssl", "genrsa", "-out", "strongswan.key", "2048")
        strongswan = (
            *("pki", "--scep", "--url", server.url, "--in", "strongswan.key", "--dn", "C=DE, CN=strongswan"),
            *("--cacert-enc", "ca.pem", "--cacert-sig", "ca.pem", "--cacert", "ca.pem", "--outform", "pem"),
        )
        challenge = ("--password", "secret", "--san", "device.example.com")
        (directory / "strongswan.pem").write_text(run(directory, *strongswan, *challenge))
        keep("strongswan-pkcsreq")
        run(directory, *strongswan, *challenge, "--digest", "sha512", "--rsa-padding", "pss")
        keep("strongswan-pkcsreq-pss")
        server.pending = 1
        run(directory, *strongswan, *challenge, "--interval", "1")
        keep("strongswan-certpoll")
        run(directory, *strongswan, "--cert", "strongswan.pem", "--key", "strongswan.key")
        keep("strongswan-renewalreq")
        before = len(server.received)
        (directory / "certmonger.sh").write_text(CERTMONGER)
        run(directory, "env", f"HOME={directory}", "dbus-run-session", "sh", "certmonger.sh", server.url)
        first, second = server.received[before:]
        (HERE / "certmonger-pkcsreq.der").write_bytes(first)
        (HERE / "certmonger-rekey.der").write_bytes(second)
        (HERE / "certmonger-get.uri").write_bytes(server.uris[-1])


if __name__ == "__main__":
    main()
