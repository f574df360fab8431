"""Times the making and publishing of a CRL, in a process of its own: ``python -m bench.crl CONFIG SERIAL``.

The first is made from the database, as at a server's start; then a certificate is revoked, and the next one is made
as in a running server, which has kept the entries.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from pathlib import Path

from pikachu.cli.session import configuration, done, opened, operator
from pikachu.core.model.certificates import RevocationReason


def main() -> None:
    """Print seconds and the number of entries, as JSON."""
    with opened(configuration(Namespace(config=Path(sys.argv[1])))) as app:
        issuer = app.issuers.named("ec")
        begun = time.perf_counter()
        done(app.publisher.make(issuer))
        first = time.perf_counter() - begun
        done(app.authority.revoke(int(sys.argv[2], 16), RevocationReason.SUPERSEDED, operator()))
        begun = time.perf_counter()
        published = done(app.publisher.make(issuer))
        following = time.perf_counter() - begun
    print(json.dumps({"first": first, "following": following, "entries": published.entries}))


if __name__ == "__main__":
    main()
