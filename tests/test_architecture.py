"""Layers (docs/adr/0001), held by reading every import of the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.dead_code import unused
from tests.support.private_names import foreign_private_uses, private_definitions

PACKAGE = Path(__file__).parent.parent / "pikachu"

# The layer of each package.  A module imports its own layer and lower ones; one in no package listed here fails.
LAYERS = {
    "pikachu.core": 1,
    "pikachu.x509": 2,
    "pikachu.cms": 2,
    "pikachu.documents": 2,
    "pikachu.transparency": 2,
    "pikachu.storage": 3,
    "pikachu.signers": 3,
    "pikachu.auth": 3,
    "pikachu.config": 3,
    "pikachu.messaging": 3,
    "pikachu.agent": 3,
    "pikachu.lint": 3,
    "pikachu.ca": 4,
    "pikachu.ra": 5,
    "pikachu.va": 5,
    "pikachu.accounts": 6,
    "pikachu.inventory": 6,
    "pikachu.inspection": 6,
    "pikachu.operations": 6,
    "pikachu.help": 6,
    "pikachu.backup": 7,
    "pikachu.http": 7,
    "pikachu.protocols": 8,
    "pikachu.web": 8,
    "pikachu.server": 9,
    "pikachu.cli": 10,
}

# Libraries that only some packages may use.
PACKAGES_OF = {
    "sqlalchemy": ("pikachu.storage",),
    "alembic": ("pikachu.storage",),
    "sqlite3": ("pikachu.storage",),
    "psycopg": ("pikachu.storage",),
    "hvac": ("pikachu.signers",),
    "asn1crypto": (),
    "pkcs11": ("pikachu.signers.pkcs11",),
    "ctypes": ("pikachu.signers.pkcs11.module",),
    "ldap3": ("pikachu.auth",),
    "argon2": ("pikachu.auth",),
    "klein": ("pikachu.web", "pikachu.protocols"),
    "markdown_it": ("pikachu.help.markdown",),
    "fpdf": ("pikachu.documents.pdf",),
    "pymupdf_fonts": ("pikachu.documents.pdf",),
    "prometheus_client": ("pikachu.operations.metrics_text",),
    "segno": ("pikachu.documents.labels", "pikachu.documents.qr_codes"),
    "joserfc": ("pikachu.auth.oidc.id_tokens",),
    "paho": ("pikachu.messaging.mqtt",),
    "pkilint": ("pikachu.lint.pkilint_program",),
    "webauthn": ("pikachu.auth.webauthn.ceremonies",),
    "jinja2": ("pikachu.web", "pikachu.protocols"),
    # The agent has no reactor, and paho calls back in a thread of its own.
    "threading": ("pikachu.core.concurrency", "pikachu.agent", "pikachu.messaging.mqtt.subscription"),
    "twisted.internet.reactor": ("pikachu.server.tap", "pikachu.cli"),
}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent == PACKAGE or "templates" in path.relative_to(PACKAGE).parts:
            continue
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a module, which comes first."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.fixture(scope="module", autouse=True)
def _nodes_of_these_tests_only() -> Iterator[None]:
    yield
    nodes.cache_clear()


@cache
def imports(path: Path) -> frozenset[str]:
    """Every name that a module imports, also inside functions; what only type checkers see is left out."""
    typing_only = {
        inner
        for node in nodes(path)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in nodes(path):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def within(name: str, package: str) -> bool:
    """Return whether a dotted name is a package or module, or lies in it."""
    return name == package or name.startswith(package + ".")


def layer(name: str) -> int:
    """Return the layer of a module, or of a name in one.

    :raises AssertionError: when it is in no package that has a layer.
    """
    numbers = [number for package, number in LAYERS.items() if within(name, package)]
    assert numbers, f"{name} is in no package that has a layer"
    return numbers[0]


MODULES = dict(modules())


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    """A layer imports only its own and lower ones."""
    own = [name for name in imports(MODULES[module]) if within(name, "pikachu") and name != "pikachu.__version__"]
    wrong = [name for name in own if layer(name) > layer(module)]
    assert not wrong, f"{module} (layer {layer(module)}) imports {wrong}"


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_packages(module: str) -> None:
    """SQL is spoken in storage, LDAP in auth, and so on; nobody but start-up imports the reactor."""
    for name in imports(MODULES[module]):
        for library, packages in PACKAGES_OF.items():
            if within(name, library):
                assert any(within(module, package) for package in packages), f"{module} imports {name}"


def test_every_module_stands_in_a_package() -> None:
    """The top of the package holds no module but ``__init__``."""
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


def test_every_package_says_what_it_is_for() -> None:
    """A newcomer reads the docstring of ``__init__`` first."""
    for module, path in MODULES.items():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), module


def test_protocols_and_web_do_not_know_each_other() -> None:
    """Shared code lies in pikachu.http."""
    for module, path in MODULES.items():
        for here, there in (("pikachu.protocols", "pikachu.web"), ("pikachu.web", "pikachu.protocols")):
            if within(module, here):
                assert not [name for name in imports(path) if within(name, there)], module


def test_codecs_are_pure() -> None:
    """A ``messages.py`` imports the layers of pure functions and values, and its own protocol's codecs."""
    for module, path in MODULES.items():
        if not module.endswith(".messages"):
            continue
        own = module.rpartition(".")[0]
        for name in imports(path):
            assert not within(name, "twisted"), f"{module} imports {name}"
            if within(name, "pikachu") and not within(name, own):
                assert layer(name) <= 2, f"{module} imports {name}"


def owner_of(node: ast.Attribute) -> str:
    """Return the last name before an attribute: ``key`` of ``self._key.sign`` and of ``key.sign``."""
    value = node.value
    name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
    return name.strip("_")


def test_only_signers_sign() -> None:
    """A builder's or a key's ``.sign()`` is called nowhere but in signers/ (L4 calls ``signer.sign`` of ISigner)."""
    for module, path in MODULES.items():
        if within(module, "pikachu.signers"):
            continue
        for node in nodes(path):
            if isinstance(node, ast.Attribute) and node.attr == "sign":
                owner = owner_of(node)
                assert not owner.endswith(("key", "builder")), f"{module}:{node.lineno} signs by itself"


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
# A listener loads its own certificate and key; pkilint decodes samples in a process of its own, with bounds.
LOADERS_ELSEWHERE = {
    "pikachu.server.listeners": {"load_pem_x509_certificates", "load_privatekey"},
    "pikachu.lint.pkilint_program": {"load_certificate"},
}


def test_only_the_gate_loads_keys() -> None:
    """No library gets a stranger's key or certificate before pikachu.x509.loading has looked at it."""
    for module, path in MODULES.items():
        if within(module, "pikachu.x509.loading"):
            continue
        used = {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
        used |= {name.rpartition(".")[2] for name in imports(path) if not within(name, "pikachu")}
        loaders = {name for name in used if name.startswith(LOADERS)} - LOADERS_ELSEWHERE.get(module, set())
        assert not loaders, f"{module} loads keys or certificates by {loaders}"


ALL_SOURCES = [path for folder in ("pikachu", "tests", "bench") for path in (PACKAGE.parent / folder).rglob("*.py")]


def test_modules_stay_small() -> None:
    """A module that passes 600 lines is split."""
    long = {str(path): lines for path in ALL_SOURCES if (lines := len(path.read_text().splitlines())) > 600}
    assert not long


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    """No docstring begins with *who*, *what*, *that of*, *whoever* or *those*."""
    wrong = []
    for path in ALL_SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node) or ""
                if re.match(r"(Who|What|That of|Whoever|Those)\b", docstring):
                    wrong.append(f"{path}: {docstring.splitlines()[0]}")
    assert not wrong


MAX_PARAMETERS = 7
MAX_CONSTRUCTOR_PARAMETERS = 12


def functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Yield dotted name, definition, and whether it is a method, of every function in a module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}.{node.name}", node, isinstance(tree, ast.ClassDef)
            yield from functions(node, f"{prefix}.{node.name}")
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}.{node.name}")
        else:
            yield from functions(node, prefix)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, is_method: bool) -> tuple[int, int]:
    """Return the number of positional and of all parameters, without ``self`` and ``cls``."""
    arguments = function.args
    is_static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in function.decorator_list)
    own = 1 if is_method and not is_static else 0
    positional = len(arguments.posonlyargs) + len(arguments.args) - own
    return positional, positional + len(arguments.kwonlyargs)


def test_functions_take_few_parameters() -> None:
    """A function takes at most 7 parameters; a constructor at most 12, and by keyword where it has more than 7.

    What belongs together is one value.
    """
    wrong = set()
    for module, path in MODULES.items():
        for name, function, is_method in functions(nodes(path)[0], module):
            positional, count = parameters(function, is_method)
            limit = MAX_CONSTRUCTOR_PARAMETERS if is_method and function.name == "__init__" else MAX_PARAMETERS
            if count > limit or positional > MAX_PARAMETERS:
                wrong.add(name)
    assert not wrong, f"too many parameters: {sorted(wrong)}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(a, b, /, c, *, d): ...", (3, 4)),
        ("class C:\n def __init__(self, a, *, b): ...", (1, 2)),
        ("class C:\n @staticmethod\n def f(a, b): ...", (2, 2)),
        ("class C:\n @classmethod\n def f(cls, a): ...", (1, 1)),
        ("def f():\n async def g(*a, b=1, **c): ...", (0, 1)),
        ("if x:\n class C:\n  def f(self, a): ...", (1, 1)),
    ],
)
def test_parameters_are_counted(text: str, expected: tuple[int, int]) -> None:
    """Nested ones too."""
    *_, (_, function, is_method) = functions(ast.parse(text), "m")
    assert parameters(function, is_method) == expected


# What the program has once, by a pattern of its source, with the modules that may use it.
ONE_OF_EACH = {
    "a bounded cache": (
        r"\bOrderedDict\b",
        # A queue from which any connection may leave.
        {"pikachu.core.cache", "pikachu.http.fair_scheduling"},
    ),
    "a single flight": (r"dict\[.*, list\[Deferred\b", {"pikachu.core.concurrency"}),
    "atomic file writes": (
        r"\bos\.(fsync|link|rename|replace)\(|\bmkstemp\(|\.rename\(|\.replace\([^,()=]+\)",
        {"pikachu.core.atomic_files"},
    ),
    "a parser of numbers": (
        r"\.is(decimal|digit|numeric)\(|\[0-9\]\{1,[0-9]+\}\"[,)]",
        {
            "pikachu.core.number_parsing",
            # Formats of their own: Content-Length, ports of PROXY, SCEP's messageType and times, units of settings.
            "pikachu.http.fast_path",
            "pikachu.http.plain_head",
            "pikachu.http.proxies",
            # Words of a question that are numbers of any script.
            "pikachu.help.terms",
            "pikachu.protocols.scep.messages",
            "pikachu.config.setting_types",
            "pikachu.web.ui.client_commands",
        },
    ),
}


@cache
def plain_text(path: Path) -> str:
    """A module without comments, its strings in double quotes."""
    return ast.unparse(nodes(path)[0]).replace("'", '"')


@pytest.mark.parametrize("what", ONE_OF_EACH)
def test_one_of_each(what: str) -> None:
    """A second one evicts, fails or reads in its own way."""
    pattern, places = ONE_OF_EACH[what]
    for module, path in MODULES.items():
        if module not in places and not within(module, "pikachu.x509") and not within(module, "pikachu.cms"):
            found = re.search(pattern, plain_text(path))
            assert found is None, f"{module} has {what} of its own: {found and found[0]}"


# Definitions that nothing in the package uses, with their users.
USED_ELSEWHERE = {
    # Twisted reads the options and the name of the plug-in's function.
    "pikachu.server.tap": {"Options.synopsis", "Options.optParameters", "makeService"},
    # Jinja's visitors are called by the name of the node.
    "pikachu.web.x509_rendering": {"_Rewriting.visit_For", "_Rewriting.visit_Concat", "_Rewriting.visit_Template"},
    # ldap3 receives from the socket that it is given.
    "pikachu.auth.ldap.connection": {"_BoundedSocket.recv"},
    # By it tests prove that the caches stay in their bounds.
    "pikachu.va.ocsp": {"OCSPResponder.cache_usage"},
    # The library's classes demand it.
    "pikachu.signers.remote_keys": {"RemoteKey.private_numbers"},
    # ctypes reads the layouts of C's structures.
    "pikachu.signers.pkcs11.module": {"_InitializeArguments._fields_", "_FunctionList._fields_"},
}


def test_everything_is_used() -> None:
    """Uses by tests do not count; templates and the plug-in do, and Alembic reads the revisions of migrations."""
    root = PACKAGE.parent
    texts = [
        path.read_text(encoding="utf-8")
        for path in (*(root / "templates").rglob("*"), *(root / "twisted").rglob("*.py"), root / "setup.cfg")
        if path.is_file()
    ]
    dead = [
        f"{module}: {name}"
        for module, name in unused(MODULES, "\n".join(texts))
        if name not in USED_ELSEWHERE.get(module, set()) and not within(module, "pikachu.storage.migrations")
    ]
    assert not dead


PRIVATE_NAMES = {
    # Public in Python's documentation, in spite of its name.
    "pikachu.server.tap": {"os._exit"},
    # Twisted's, all in one place.
    "pikachu.http.twisted_private": None,
    # The name that a template used; Jinja documents it for subclasses of Undefined.
    "pikachu.web.x509_rendering": {"value._undefined_name"},
    # The class of libraries, whose function of the package initializes them without locks.
    "pikachu.signers.pkcs11.module": {"pkcs11._pkcs11.lib"},
    # Only type checkers see it.
    "pikachu.cli.arguments": {"argparse._SubParsersAction"},
}


def test_private_names_of_libraries_stand_in_one_module() -> None:
    """A new release may change them without notice."""
    ours = [path for module, path in MODULES.items() if PRIVATE_NAMES.get(module, set()) is not None]
    own = frozenset(name for path in ours for name in private_definitions(path))
    for module, path in MODULES.items():
        allowed = PRIVATE_NAMES.get(module, set())
        if allowed is not None and not within(module, "pikachu.storage.migrations"):
            uses = {(line, use) for line, use in foreign_private_uses(module, path, own) if use not in allowed}
            assert not uses, f"{module}: {sorted(uses)}"
