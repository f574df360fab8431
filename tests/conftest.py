"""Settings for all tests: which ones run, and in which order."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The machines that run this are shared: how long one example takes says nothing.
settings.register_profile("pikachu", deadline=None, suppress_health_check=[HealthCheck.too_slow])
SOAK_EXAMPLES = 2000
settings.register_profile("soak", settings.get_profile("pikachu"), max_examples=SOAK_EXAMPLES)

_TESTS = Path(__file__).parent
#: Folders by what a test there takes: the start of processes, a database or the whole stack; elsewhere, milliseconds.
_SLOWER = {"browser": 1, "hostile": 1, "integration": 1, "interop": 1, "contract": 2, "protocols": 2, "web": 2}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--soak``."""
    parser.addoption(
        "--soak",
        action="store_true",
        help="run the long tests (marker soak) and the property tests with many examples, and nothing else",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples property tests have, and keep the collection free of Python's garbage collector."""
    # Nothing of what is collected ends before the tests do, so it searches a heap that only grows.
    gc.disable()
    settings.load_profile("soak" if config.getoption("soak") else "pikachu")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that were not requested, and run the slow files first.

    With several workers, each takes one file after the other: a long one must not begin when the others are done.
    """
    soak = config.getoption("soak")
    left_out = [item for item in items if _is_soak(item, properties=soak) is not soak]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if _is_soak(item, properties=soak) is soak]
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("soak")}
    items.sort(key=lambda item: 0 if item.path in slow else _turn(item.path))


def pytest_collection_finish() -> None:
    """Let Python's garbage collector look at what tests make, and never again at the thousands of tests."""
    gc.freeze()
    gc.enable()


def _turn(path: Path) -> int:
    """Return when a file's turn is, the later the faster its tests are."""
    parts = path.relative_to(_TESTS).parts
    return _SLOWER.get(parts[0], 3)


def _is_soak(item: pytest.Item, *, properties: bool) -> bool:
    """Return whether the test belongs to the soak, to which property tests belong only in part."""
    return item.get_closest_marker("soak") is not None or (
        properties and item.get_closest_marker("hypothesis") is not None
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell what the soak has done, and how long each part took."""
    if not config.getoption("soak"):
        return
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
    ]
    parts = [report for report in reports if "soak" in report.keywords]
    terminalreporter.section("soak")
    for report in sorted(parts, key=lambda report: report.nodeid):
        details = ", ".join(f"{value} {name}" for name, value in report.user_properties)
        terminalreporter.line(f"{report.outcome}  {report.duration:5.0f} s  {report.nodeid}  {details}".rstrip())
    properties = len(reports) - len(parts)
    terminalreporter.line(f"{properties} property tests with up to {SOAK_EXAMPLES} examples each")
