"""The read-only tools of ChatPikachu: the current state of the server, as far as an account may view it (UI-11).

Each runs with the account's own rights through the queries that the pages use, and returns sentences with the page that
shows more.  A language model calls them by name, so their arguments are checked as those of a stranger.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import urlencode

from pikachu.ca.issuers import IssuingCAs
from pikachu.core.errors import MalformedRequest
from pikachu.core.interfaces import IClock
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.devices import DeviceState
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal
from pikachu.core.model.times import utc
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.devices import Devices
from pikachu.operations.readiness import UNAVAILABLE, Readiness
from pikachu.operations.statistics import Statistics
from pikachu.va.ca_directory import CADirectory

#: Objects that a tool lists by name; its sentence with the number leads to the others.
LISTED: Final = 5
_MAX_NAME: Final = 100
_MAX_DAYS: Final = 366
_COUNTED: Final = 10_000
# Characters of one name in a sentence.
_MAX_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Command:
    """A command for an address of this server.

    :param protocol: a section of the page *APIs*, such as ``est``.
    :param purpose: what it does.
    """

    protocol: str
    purpose: str
    text: str


@dataclass(frozen=True, slots=True)
class Asker:
    """The account that asks.

    :param commands: the commands for the addresses by which they reach this server.
    """

    principal: Principal
    commands: tuple[Command, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence about the current state, and the path of the page that shows more about it.

    :param command: a command to copy, or empty.
    """

    text: str
    path: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a tool: a text of limited length, one of some values, or a whole number."""

    description: str
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int = _MAX_NAME

    def schema(self) -> dict[str, object]:
        """Return its JSON schema."""
        if self.minimum is not None:
            limits: dict[str, object] = {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}
        elif self.choices:
            limits = {"type": "string", "enum": list(self.choices)}
        else:
            limits = {"type": "string", "minLength": 1, "maxLength": self.maximum}
        return {**limits, "description": self.description}

    def is_valid(self, value: object) -> bool:
        """Return whether *value* is one."""
        if self.minimum is not None:
            return isinstance(value, int) and not isinstance(value, bool) and self.minimum <= value <= self.maximum
        if not isinstance(value, str):
            return False
        return value in self.choices if self.choices else bool(value.strip()) and len(value) <= self.maximum


_Run: TypeAlias = Callable[[Asker, Mapping[str, object]], Awaitable[list[Fact]]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, with the arguments that it requires."""

    name: str
    description: str
    run: _Run = field(repr=False)
    arguments: Mapping[str, Argument] = field(default_factory=dict)

    def schema(self) -> dict[str, object]:
        """Return the JSON schema of its arguments."""
        return {
            "type": "object",
            "properties": {name: argument.schema() for name, argument in self.arguments.items()},
            "required": list(self.arguments),
            "additionalProperties": False,
        }


class Tools:
    """All tools."""

    def __init__(
        self,
        *,
        statistics: Statistics,
        readiness: Readiness,
        issuers: IssuingCAs,
        ca_directory: CADirectory,
        inventory: CertificateQueries,
        devices: Devices,
        clock: IClock,
    ) -> None:
        self._statistics = statistics
        self._readiness = readiness
        self._issuers = issuers
        self._ca_directory = ca_directory
        self._inventory = inventory
        self._devices = devices
        self._clock = clock
        days = Argument("days from now", minimum=1, maximum=_MAX_DAYS)
        name = Argument("a name, or a serial number in hex")
        state = Argument("the state", choices=(DeviceState.DUE.value, DeviceState.OVERDUE.value))
        protocol = Argument("what for", choices=("trust", "est", "scep", "ocsp", "crl", "rest", "status"))
        self.all: Final = (
            Tool(
                "find_certificates", "The newest certificates with a name or serial number.", self._find, {"name": name}
            ),
            Tool("expiring_certificates", "The valid certificates that expire soon.", self._expiring, {"days": days}),
            Tool("certificate_counts", "How many certificates are valid, revoked and expired.", self._counts),
            Tool("expiry_counts", "How many certificates expire within 7 and 30 days.", self._ends),
            Tool("issuing_cas", "When the issuing CAs expire.", self._cas),
            Tool("crls", "When the CRLs were issued, and when the next ones are due.", self._crls),
            Tool("pending_approvals", "The enrollments that wait for approval.", self._approvals),
            Tool("devices_to_renew", "The devices whose renewal is due or overdue.", self._to_renew, {"state": state}),
            Tool("server_health", "The state of the server's parts.", self._health),
            Tool("commands", "Commands for this server's addresses.", self._commands, {"protocol": protocol}),
        )
        self._by_name = {tool.name: tool for tool in self.all}

    async def call(self, asker: Asker, name: str, arguments: object) -> list[Fact]:
        """Run a tool.

        Fails with MalformedRequest for an unknown tool and for arguments that it doesn't take.
        """
        tool = self._by_name.get(name)
        if tool is None:
            raise MalformedRequest("There is no such tool.")
        if not isinstance(arguments, dict) or arguments.keys() != tool.arguments.keys():
            raise MalformedRequest(f"The tool {name} takes: {', '.join(tool.arguments) or 'nothing'}.")
        for key, argument in tool.arguments.items():
            if not argument.is_valid(arguments[key]):
                raise MalformedRequest(f"The argument {key} of the tool {name} is not valid.")
        return await tool.run(asker, arguments)

    async def _find(self, asker: Asker, arguments: Mapping[str, object]) -> list[Fact]:
        now = utc(self._clock.seconds())
        name = str(arguments["name"]).strip()
        page = await self._inventory.certificates(asker.principal, ListQuery(limit=LISTED, q=name))
        facts = [
            Fact(
                f"{_shown(record.subject or record.name)}: {record.status(now)}, expires on "
                f"{record.not_after:%Y-%m-%d}, serial {format_serial(record.serial)}.",
                f"/certificates/{record.id}",
            )
            for record in page.items
        ]
        if page.next_cursor is not None:
            facts.append(Fact(f"More certificates match {name}.", f"/certificates?{urlencode({'q': name})}"))
        return facts

    async def _expiring(self, asker: Asker, arguments: Mapping[str, object]) -> list[Fact]:
        days = arguments["days"]
        filters = {"status": "valid", "expires": f"{days}d"}
        query = ListQuery(limit=LISTED, sort="not_after", filters=filters, count=True)
        page = await self._inventory.certificates(asker.principal, query)
        number = page.total or 0
        days_text = "day" if days == 1 else f"{days} days"
        text = (
            f"{_number(number)} {'certificate expires' if number == 1 else 'certificates expire'} within {days_text}."
        )
        return [
            Fact(text, f"/certificates?{urlencode({**filters, 'sort': 'not_after'})}"),
            *(
                Fact(f"{_shown(record.name)} expires on {record.not_after:%Y-%m-%d}.", f"/certificates/{record.id}")
                for record in page.items
            ),
        ]

    async def _counts(self, asker: Asker, arguments: Mapping[str, object]) -> list[Fact]:
        overview = await self._statistics.overview(asker.principal)
        counts = overview.counts
        if counts is None:
            return []
        whose = "There are" if overview.everything else "You have"
        text = f"{whose} {counts.valid:,} valid, {counts.revoked:,} revoked and {counts.expired:,} expired certificates"
        return [Fact(f"{text} (as of {counts.at:%H:%M:%S} UTC).", "/certificates")]

    async def _ends(self, asker: Asker, arguments: Mapping[str, object]) -> list[Fact]:
        overview = await self._statistics.overview(asker.principal)
        if overview.counts is None:
            return []
        return [
            Fact(
                f"{count:,} {'expires' if count == 1 else 'expire'} within {days} days.",
                f"/certificates?status=valid&expires={days}d&sort=not_after",
            )
            for days in (7, 30)
            for count in (overview.within(days),)
        ]

    async def _cas(self, asker: Asker, arguments: Mapping[str, object]) -> list[Fact]:
        return [
            Fact(f"The issuing CA {issuer.name} expires on {issuer.certificate.not_after:%Y-%m-%d}.", "/ca")
            for issuer in self._issuers.current.values()
        ]

    async def _crls(self, asker: Asker, arguments: Mapping[str, object]) -> list[Fact]:
        now = utc(self._clock.seconds())
        facts = []
        for state in (await self._ca_directory.crls())[:LISTED]:
            if state.crl is None:
                facts.append(Fact(f"The CA {state.ca.name} has no CRL here.", "/va"))
                continue
            minutes = max(0, int((now - state.crl.this_update).total_seconds() // 60))
            facts.append(
                Fact(
                    f"The CRL of {state.ca.name} was issued on {state.crl.this_update:%Y-%m-%d at %H:%M} UTC, "
                    f"{_age(minutes)} ago, and expires on {state.crl.next_update:%Y-%m-%d at %H:%M} UTC.",
                    "/va",
                )
            )
        return facts

    async def _approvals(self, asker: Asker, arguments: Mapping[str, object]) -> list[Fact]:
        query = ListQuery(limit=LISTED, filters={"state": "pending"}, count=True)
        page = await self._inventory.approvals(asker.principal, query)
        number = page.total or 0
        everything = (await self._statistics.overview(asker.principal)).everything
        whose = "approvals are pending" if everything else "of your requests are pending"
        if number == 1:
            whose = "approval is pending" if everything else "of your requests is pending"
        return [
            Fact(f"{_number(number)} {whose}.", "/ra/approvals"),
            *(
                Fact(
                    f"{_shown(record.subject or 'A request without names')} waits since {record.created_at:%Y-%m-%d}.",
                    f"/ra/approvals/{record.id}",
                )
                for record in page.items
            ),
        ]

    async def _to_renew(self, asker: Asker, arguments: Mapping[str, object]) -> list[Fact]:
        state = str(arguments["state"])
        query = ListQuery(limit=LISTED, filters={"state": state}, count=True)
        page = await self._devices.list(asker.principal, query)
        number = page.total or 0
        what = "overdue" if state == DeviceState.OVERDUE else "due for renewal"
        return [
            Fact(
                f"{_number(number)} {'device is' if number == 1 else 'devices are'} {what}.", f"/devices?state={state}"
            ),
            *(
                Fact(
                    f"{_shown(device.name)} is {what}; its last enrollment was on {device.enrolled_at:%Y-%m-%d}.",
                    f"/devices/{device.id}",
                )
                for device in page.items
            ),
        ]

    async def _health(self, asker: Asker, arguments: Mapping[str, object]) -> list[Fact]:
        states = await self._readiness.glance()
        facts = [Fact("State: " + ", ".join(f"{name} {state.state}" for name, state in states.items()) + ".", "/")]
        return facts + [
            Fact(f"{name}: {state.message}", "/") for name, state in states.items() if state.state == UNAVAILABLE
        ]

    async def _commands(self, asker: Asker, arguments: Mapping[str, object]) -> list[Fact]:
        protocol = arguments["protocol"]
        commands = [one for one in asker.commands if one.protocol == protocol]
        return [Fact(one.purpose, f"/apis#{protocol}", one.text) for one in commands[:LISTED]]


def _number(count: int) -> str:
    return f"{count:,}" if count <= _COUNTED else f"{_COUNTED:,}+"


def _shown(name: str) -> str:
    return name if len(name) <= _MAX_SHOWN else name[: _MAX_SHOWN - 1] + "\u2026"


def _age(minutes: int) -> str:
    """Return an age in the unit in which it is a small number."""
    for size, unit in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= 2 * size or size == 1:
            count = minutes // size
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return ""
