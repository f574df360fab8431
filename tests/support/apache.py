"""Apache, which serves one page to clients whose certificates it accepts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MODULES: Final = Path("/usr/lib/apache2/modules")


@contextmanager
def readable_folder() -> Iterator[Path]:
    """A folder that servers under another user can read, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="server-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def apache_configuration(folder: Path, port: int, certificate: Path, key: Path, settings: str) -> Path:
    """Write a configuration of a TLS server that requires client certificates; its page is ``hello``.

    :param folder: readable by its user.
    :param settings: which clients it accepts.
    """
    (folder / "index.html").write_text("hello")
    modules = "".join(
        f"LoadModule {name}_module {_MODULES / f'mod_{name}.so'}\n"
        for name in ("mpm_event", "authz_core", "ssl", "dir", "socache_shmcb")
        if (_MODULES / f"mod_{name}.so").exists()
    )
    path = folder / "apache.conf"
    path.write_text(
        f"{modules}ServerName localhost\nServerRoot {folder}\nDocumentRoot {folder}\nDirectoryIndex index.html\n"
        f"PidFile {folder / 'pid'}\nErrorLog {folder / 'error.log'}\nListen 127.0.0.1:{port}\n"
        f"Mutex file:{folder} default\nUser www-data\nGroup www-data\n"
        f"SSLEngine on\nSSLCertificateFile {certificate}\nSSLCertificateKeyFile {key}\n"
        f"SSLVerifyClient require\nSSLVerifyDepth 2\n{settings}\n"
        f"<Directory {folder}>\nRequire all granted\n</Directory>\n"
    )
    return path
