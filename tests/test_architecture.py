"""Layers (docs/adr/0001), held by reading every import of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pikachu"

# The layer of each room; the longest prefix counts.  A room imports its own layer and lower ones.
LAYERS = {
    "pikachu": 6,
    "pikachu.core.errors": 1,
    "pikachu.model": 1,
    "pikachu.core.model.objects": 1,
    "pikachu.core.model.counts": 1,
    "pikachu.x509": 1,
    "pikachu.cms": 1,
    "pikachu.x509.name_patterns": 1,
    "pikachu.core.sealing": 1,
    "pikachu.inspection.recognition": 1,
    "pikachu.core.interfaces": 2,
    "pikachu.core.owner_interfaces": 2,
    "pikachu.core.audit_interfaces": 2,
    "pikachu.core.node_interfaces": 2,
    "pikachu.core.concurrency": 3,
    "pikachu.storage": 3,
    "pikachu.signers": 3,
    "pikachu.auth": 3,
    "pikachu.ra.policies": 3,
    "pikachu.ra.policy_texts": 3,
    "pikachu.core.audit": 3,
    "pikachu.core.edits": 3,
    "pikachu.config": 3,
    "pikachu.va.crl_files": 3,
    "pikachu.inspection.openssl_program": 3,
    "pikachu.operations.log_reader": 3,
    "pikachu.server.log_output": 3,
    "pikachu.ra.authority": 4,
    "pikachu.ra.est": 4,
    "pikachu.ra.scep": 4,
    "pikachu.ra.enrollment": 4,
    "pikachu.ra.preview": 4,
    "pikachu.ca.issuance": 4,
    "pikachu.va.ca_directory": 4,
    "pikachu.va.ocsp": 4,
    "pikachu.accounts.account_fields": 4,
    "pikachu.accounts.accounts": 4,
    "pikachu.accounts.holdings": 4,
    "pikachu.accounts.sessions": 4,
    "pikachu.inventory.keys": 4,
    "pikachu.inventory.csrs": 4,
    "pikachu.operations.rekey": 4,
    "pikachu.ra.policy_administration": 4,
    "pikachu.inventory.templates": 4,
    "pikachu.inventory.template_files": 4,
    "pikachu.va.crl_publisher": 4,
    "pikachu.ca.service_certificates": 4,
    "pikachu.ca.bootstrap": 4,
    "pikachu.ca.rotation": 4,
    "pikachu.ca.generations": 4,
    "pikachu.inventory.certificates": 4,
    "pikachu.inspection.service": 4,
    "pikachu.operations.server_view": 4,
    "pikachu.operations.statistics": 4,
    "pikachu.operations.readiness": 4,
    "pikachu.operations.readiness_checks": 4,
    "pikachu.operations.event_feed": 4,
    "pikachu.operations.audit_verification": 4,
    "pikachu.help.guide": 4,
    "pikachu.help.assistant": 4,
    "pikachu.server.application": 4,
    "pikachu.http": 5,
    "pikachu.protocols": 5,
    "pikachu.web": 5,
    "pikachu.core.clock": 6,
    "pikachu.server.composition": 6,
    "pikachu.server.service": 6,
    "pikachu.server.tap": 6,
    "pikachu.server.listeners": 6,
    "pikachu.cli": 6,
}

# Libraries that only some rooms may use.
ROOMS_OF = {
    "sqlalchemy": ("pikachu.storage",),
    "alembic": ("pikachu.storage",),
    "sqlite3": ("pikachu.storage",),
    "psycopg": ("pikachu.storage",),
    "hvac": ("pikachu.signers",),
    "asn1crypto": (),
    "ldap3": ("pikachu.auth",),
    "argon2": ("pikachu.auth",),
    "klein": ("pikachu.web", "pikachu.protocols"),
    "markdown_it": ("pikachu.help.guide",),
    "jinja2": ("pikachu.web", "pikachu.protocols"),
    "threading": ("pikachu.core.concurrency",),
    "twisted.internet.reactor": ("pikachu.server.tap", "pikachu.cli"),
}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "templates" in path.relative_to(PACKAGE).parts:
            continue
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> set[str]:
    """Every name that a module imports, also inside functions; what only type checkers see is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def within(name: str, room: str) -> bool:
    """Whether a dotted name is a room or lies in it."""
    return name == room or name.startswith(room + ".")


def layer(name: str) -> int:
    """The layer of a module, or of a name in one."""
    return LAYERS[max((room for room in LAYERS if within(name, room)), key=len)]


MODULES = dict(modules())


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    """A layer imports only its own and lower ones."""
    wrong = [name for name in imports(MODULES[module]) if within(name, "pikachu") and layer(name) > layer(module)]
    wrong = [name for name in wrong if name != "pikachu.__version__"]
    assert not wrong, f"{module} (layer {layer(module)}) imports {wrong}"


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_rooms(module: str) -> None:
    """SQL is spoken in storage, LDAP in auth, and so on; nobody but start-up imports the reactor."""
    for name in imports(MODULES[module]):
        for library, rooms in ROOMS_OF.items():
            if within(name, library):
                assert any(within(module, room) for room in rooms), f"{module} imports {name}"


def test_protocols_and_web_do_not_know_each_other() -> None:
    """What they share lies in pikachu.http."""
    for module, path in MODULES.items():
        for here, there in (("pikachu.protocols", "pikachu.web"), ("pikachu.web", "pikachu.protocols")):
            if within(module, here):
                assert not [name for name in imports(path) if within(name, there)], module


def test_codecs_are_pure() -> None:
    """A ``messages.py`` imports layer 1 and its own protocol's codecs."""
    for module, path in MODULES.items():
        if not module.endswith(".messages"):
            continue
        own = module.rpartition(".")[0]
        for name in imports(path):
            assert not within(name, "twisted"), f"{module} imports {name}"
            if within(name, "pikachu") and not within(name, own):
                assert layer(name) == 1, f"{module} imports {name}"


def test_only_signers_sign() -> None:
    """A builder's or a key's ``.sign()`` is called nowhere but in signers/ (L4 calls ``signer.sign`` of ISigner)."""
    for module, path in MODULES.items():
        if within(module, "pikachu.signers"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "sign" and isinstance(node.value, ast.Name):
                assert node.value.id not in {"key", "private_key", "builder"}, f"{module} signs by itself"


# Beginnings of the names by which libraries load keys and certificates, from files and from numbers.
LOADERS = (
    "load_der_",
    "load_pem_",
    "load_ssh_",
    "load_certificate",
    "load_privatekey",
    "load_publickey",
    "load_pkcs",
    "load_key_and_certificates",
    "from_cryptography",
    "from_encoded_point",
    "from_private_bytes",
    "from_public_bytes",
    "from_seed_bytes",
    "derive_private_key",
    *(f"{kind}{half}Numbers" for kind in ("RSA", "EllipticCurve", "DSA", "DH") for half in ("Public", "Private")),
)
# A listener loads its own certificate and key.
LOADERS_ELSEWHERE = {"pikachu.server.listeners": {"load_pem_x509_certificates", "load_privatekey"}}


def test_only_the_gate_loads_keys() -> None:
    """No library gets a stranger's key or certificate before pikachu.x509.loading has looked at it."""
    for module, path in MODULES.items():
        if within(module, "pikachu.x509.loading"):
            continue
        used = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute)
        }
        used |= {name.rpartition(".")[2] for name in imports(path) if not within(name, "pikachu")}
        loaders = {name for name in used if name.startswith(LOADERS)} - LOADERS_ELSEWHERE.get(module, set())
        assert not loaders, f"{module} loads keys or certificates by {loaders}"


def test_modules_stay_small() -> None:
    """A module that passes 600 lines is split."""
    long = {str(path): lines for path in MODULES.values() if (lines := len(path.read_text().splitlines())) > 600}
    assert not long
