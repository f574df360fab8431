"""The agent: takes CRLs from the broker and from downloads, installs them, and watches over their ends (MQT-1).

Everything is done in one thread, in turn: a message, a download when one is due, and the checks of time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Final

from twisted.logger import Logger

from pikachu.agent.broker_files import BrokerFile
from pikachu.agent.crl_set import CRLSet
from pikachu.agent.downloads import CertificateNames, download, same_origin
from pikachu.agent.sessions import SessionEnder
from pikachu.agent.settings import AgentSettings, Sessions
from pikachu.agent.state import AgentState, read_state, write_metrics, write_state
from pikachu.core.errors import PikachuError
from pikachu.messaging.mqtt.messages import (
    CRLReference,
    Kind,
    decode_reference,
    parse_topic,
    subscriptions,
    verify_revocation,
)
from pikachu.messaging.mqtt.subscription import Arrival, Connect, Subscription
from pikachu.signers.files import load_certificates
from pikachu.x509.crl_verification import decode_crls
from pikachu.x509.names import read_name

log = Logger()

# Seconds after a revocation message within which its CRL should arrive; then it is downloaded.
_CRL_DELAY_SECONDS: Final = 3.0
# Seconds after which a failed download, reload or connection is tried again.
_RETRY_SECONDS: Final = 15.0
# Seconds between two writes of metrics, and between two checks of the dates.
_CHECK_SECONDS: Final = 15.0


class Agent:
    """One broker's agent.

    :param now: returns the time of certificates and CRLs.
    :param connect: makes the connection with the broker.
    :raises ConfigError: the CA certificates can't be read.
    """

    def __init__(self, settings: AgentSettings, now: Callable[[], datetime], connect: Connect = Subscription) -> None:
        section = settings.section
        self._settings = settings
        self._section = section
        self._now = now
        cas = load_certificates(settings.ca_certificates, "[AGENT] ca_certificates")
        self._file = BrokerFile(settings.crl_file, section.pid_file, section.broker_process, section.command)
        self.state = read_state(settings.state_file) or AgentState()
        self.crls = CRLSet((ca for ca in cas if ca.is_ca), self.state.numbers)
        # The broker may have been started, or the agent ended, between a change and its reload.
        self.state.is_reload_due = True
        self.subscription = (
            None
            if settings.broker is None
            else connect(settings.broker, subscriptions(section.topic_prefix), section.max_crl_size)
        )
        self._sessions: SessionEnder | None = None
        if (
            section.sessions is Sessions.DYNAMIC_SECURITY
            and self.subscription is not None
            and section.api_url is not None
            and section.api_token_file is not None
        ):
            names = CertificateNames(section.api_url, section.api_token_file, section.api_ca_cert, section.timeout)
            self._sessions = SessionEnder(names.common_name, self.subscription.publish)
        # Of the file: PEM is a third larger than DER.
        self._most = 2 * max(1, len(self.crls.cas)) * section.max_crl_size
        self._problems: dict[str, str] = {}
        self._download_at = monotonic()
        self._retry_at = monotonic()
        self._check_at = monotonic()
        self._references: dict[bytes, CRLReference] = {}
        self._references_at = monotonic()
        self._stopped = False

    # --- life ---------------------------------------------------------------------------------

    def load(self) -> None:
        """Read the installed file, and repair it where it has something that it should not have.

        :raises StoreUnavailable: it can't be read.
        """
        content = self._file.read(self._most)
        for problem in self.crls.load(content):
            log.error("{path}: {problem}", path=str(self._file.path), problem=problem)
        # Where the state was lost or is an older one, the file has the numbers.
        self.state.numbers = dict(self.crls.numbers)
        self.crls.drop_ended(self._now())
        if content and self.crls.installed and b"".join(self.crls.pem()) != content:
            self._attempt("file", lambda: self._file.write(self.crls.pem))

    def run(self) -> None:
        """Work until :meth:`stop`."""
        self.load()
        while not self._stopped:
            self.step()
        if self.subscription is not None:
            self.subscription.stop()
        self._save()

    def once(self) -> bool:
        """Download and install once; return whether all CAs have a CRL that is valid, and the broker has read it."""
        self.load()
        succeeded = self.download()
        self._reload()
        self._save()
        return succeeded and not self.state.is_reload_due and not self.report()

    def stop(self) -> None:
        """End :meth:`run`; may be called by a signal handler."""
        self._stopped = True
        if self.subscription is not None:
            self.subscription.wake()

    def step(self) -> None:
        """Do what is due, and wait for the next message."""
        now = monotonic()
        if self.subscription is not None:
            self._attempt("broker", self.subscription.start)
            if self.subscription.has_lost:
                self.subscription.has_lost = False
                # Not at once: somebody may send large messages all the time.
                self._download_at = min(self._download_at, now + _CRL_DELAY_SECONDS)
        if self._section.crl_urls and self._download_at <= now:
            is_done = self.download()
            interval = self._section.interval
            self._download_at = now + (interval if is_done else min(_RETRY_SECONDS, interval))
        if self._references and self._references_at <= now:
            self._follow_references()
        if self.state.is_reload_due and self._retry_at <= now:
            self._retry_at = now + _RETRY_SECONDS
            self._reload()
        if self._check_at <= now:
            self._check_at = now + _CHECK_SECONDS
            self._check()
        self._wait()

    def _wait(self) -> None:
        due = [self._check_at]
        if self._section.crl_urls:
            due.append(self._download_at)
        if self.state.is_reload_due:
            due.append(self._retry_at)
        if self._references:
            due.append(self._references_at)
        seconds = max(0.0, min(due) - monotonic())
        if self.subscription is None:
            # A signal ends a short wait soon enough.
            sleep(min(seconds, 0.5))
            return
        arrival = self.subscription.next(seconds)
        if arrival is not None:
            self.receive(arrival)

    # --- messages -----------------------------------------------------------------------------

    def receive(self, arrival: Arrival) -> None:
        """Handle one message, or a change of the connection."""
        if not arrival.topic:
            self._connection_changed()
            return
        try:
            key, kind = parse_topic(self._section.topic_prefix, arrival.topic)
        except PikachuError as error:
            log.debug("{topic}: {error}", topic=arrival.topic[:200], error=error.public)
            return
        # Clearing a topic says nothing that is signed: a CRL goes when its CA's certificate has expired.
        if key not in self.crls.cas or not arrival.payload:
            return
        handle = {
            Kind.CRL: self._take_pushed,
            Kind.CRL_REFERENCE: self._take_reference,
            Kind.REVOKED: self._take_message,
        }
        try:
            handle[kind](key, arrival.payload)
        except PikachuError as error:
            counter = "messages_rejected" if kind is Kind.REVOKED else "crls_rejected"
            self.state.counters[counter] += 1
            log.error("{topic}: {error} {context}", topic=arrival.topic, error=error.public, context=error.context)

    def _connection_changed(self) -> None:
        problem = "" if self.subscription is None else self.subscription.problem
        if self._problems.get("connection") == problem:
            return
        self._problems["connection"] = problem
        if problem:
            log.warn("{problem}", problem=problem)
            self._download_at = min(self._download_at, monotonic() + _CRL_DELAY_SECONDS)
        else:
            log.info("Connected with the broker")

    def _take_pushed(self, key: bytes, payload: bytes) -> None:
        # Neither forged nor repeated CRLs put the next download off.
        if self._install([payload], key):
            self._download_at = monotonic() + self._section.interval

    def _take_reference(self, key: bytes, payload: bytes) -> None:
        reference = decode_reference(payload)
        present = self.crls.installed.get(key)
        if present is not None and present.number >= reference.crl_number:
            return
        # Nobody has signed the reference: it may not make the agent ask other servers.
        if not same_origin(reference.url, self._section.crl_urls):
            log.error("A CRL is too large to be pushed, and its address is on no server of [AGENT] crl_urls")
            self.state.counters["crls_rejected"] += 1
            return
        # Nor may it make the agent download all the time: the newest one counts, and is followed when it is due.
        self._references[key] = reference

    def _follow_references(self) -> None:
        """Download the CRLs that were too large to be pushed; where that fails, the usual download is next."""
        references, self._references = self._references, {}
        for key, reference in references.items():
            data = self._fetch(reference.url)
            if data is None:
                self._download_at = min(self._download_at, monotonic() + _RETRY_SECONDS)
                continue
            if hashlib.sha256(data).hexdigest() != reference.sha256:
                # A newer one may have been published meanwhile; its own signature counts.
                log.info("The downloaded CRL is another one than that of the reference")
            self._install([data], key)
        self._references_at = monotonic() + _CRL_DELAY_SECONDS

    def _take_message(self, key: bytes, payload: bytes) -> None:
        message = verify_revocation(payload, self.crls.cas[key], self._now())
        installed = self.crls.installed.get(key)
        serials = set() if installed is None else installed.serials()
        if f"{message.signer_serial:x}" in serials:
            log.error("A revocation message was signed with a certificate that is revoked")
            self.state.counters["messages_rejected"] += 1
            return
        last = self.state.sequences.get(key)
        if last is not None and message.seq <= last:
            self.state.counters["messages_repeated"] += 1
            return
        self.state.counters["messages"] += 1
        self.state.sequences[key] = message.seq
        if last is not None and message.seq > last + 1:
            self.state.counters["gaps"] += 1
            log.warn("Revocation messages {first} to {end} are missing", first=last + 1, end=message.seq - 1)
            self._download_at = monotonic()
        is_listed = f"{message.serial:x}" in serials
        if is_listed != (message.revoked_at is not None):
            self._download_at = min(self._download_at, monotonic() + _CRL_DELAY_SECONDS)
        self._save()

    # --- downloads ----------------------------------------------------------------------------

    def download(self) -> bool:
        """Download and install the CRLs of all addresses; return whether all could be had."""
        contents = [self._fetch(url) for url in self._section.crl_urls]
        crls: list[bytes] = []
        for content in contents:
            try:
                crls += decode_crls(content or b"")
            except PikachuError as error:
                self._reject(error)
        self._install(crls)
        return None not in contents

    def _fetch(self, url: str) -> bytes | None:
        name = f"download {url}"
        try:
            content = download(url, limit=self._section.max_crl_size, timeout=self._section.timeout)
        except PikachuError as error:
            self.state.counters["downloads_failed"] += 1
            if self._problems.get(name) != error.public:
                log.error("The CRL can't be downloaded: {error} {context}", error=error.public, context=error.context)
            self._problems[name] = error.public
            return None
        self._problems.pop(name, None)
        self.state.counters["downloads"] += 1
        return content

    # --- installation -------------------------------------------------------------------------

    def _install(self, crls: Iterable[bytes], expected: bytes | None = None) -> bool:
        """Install those CRLs that are newer; return whether there were any."""
        revoked: set[str] = set()
        is_newer = False
        is_changed = self.crls.drop_ended(self._now())
        for der in crls:
            try:
                before = dict(self.crls.installed)
                key, is_new = self.crls.offer(der, self._now(), expected)
            except PikachuError as error:
                self._reject(error)
                continue
            if not is_new:
                continue
            is_changed = is_newer = True
            crl = self.crls.installed[key]
            if self._sessions is not None and key in before:
                revoked |= crl.serials() - before[key].serials()
            self.state.counters["crls_installed"] += 1
            log.info(
                "CRL {number} with {entries} entries, valid until {end:%Y-%m-%d %H:%M:%S} UTC",
                number=crl.number,
                entries=crl.entries,
                end=crl.next_update,
            )
        if not is_changed or not self.crls.installed:
            return is_newer
        self.state.numbers = dict(self.crls.numbers)
        self.state.is_reload_due = True
        if self._attempt("file", lambda: self._file.write(self.crls.pem)):
            self._reload()
            if self._sessions is not None and revoked and not self.state.is_reload_due:
                self.state.counters["sessions_ended"] += self._sessions.end(revoked)
        self._save()
        return is_newer

    def _reject(self, error: PikachuError) -> None:
        self.state.counters["crls_rejected"] += 1
        log.error("A CRL was not installed: {error} {context}", error=error.public, context=error.context)

    def _reload(self) -> None:
        """Make the broker read the file; tried again later when that fails."""
        if self._attempt("reload", self._file.reload):
            self.state.is_reload_due = False
        else:
            self.state.counters["reload_failures"] += 1
            self._retry_at = monotonic() + _RETRY_SECONDS

    def _attempt(self, name: str, work: Callable[[], None]) -> bool:
        """Do something that may fail; return whether it succeeded, and log another failure than the last one."""
        try:
            work()
        except PikachuError as error:
            if self._problems.get(name) != error.public:
                log.error("{error} {context}", error=error.public, context=error.context)
            self._problems[name] = error.public
            return False
        self._problems.pop(name, None)
        return True

    # --- state --------------------------------------------------------------------------------

    def check(self) -> list[str]:
        """Return what is wrong with the installed file, and change nothing.

        :raises StoreUnavailable: it can't be read.
        """
        problems = [f"{self._file.path}: {problem}" for problem in self.crls.load(self._file.read(self._most))]
        state = read_state(self._settings.state_file)
        if state is not None and state.is_reload_due:
            problems.append("The broker has not read the newest CRLs; the log of the agent has the reason.")
        return problems + self.report()

    def summary(self) -> list[str]:
        """Return a line for each installed CRL."""
        return [
            f"{read_name(self.crls.cas[key].subject_der).text}: CRL {crl.number} with {crl.entries} entries, valid "
            f"until {crl.next_update:%Y-%m-%d %H:%M:%S} UTC"
            for key, crl in self.crls.installed.items()
        ]

    def report(self) -> list[str]:
        """Return what is wrong with the installed CRLs, for people."""
        now, problems = self._now(), []
        warn_before = timedelta(seconds=self._section.warn_before)
        for key, ca in self.crls.cas.items():
            if ca.not_after <= now:
                continue
            name, crl = read_name(ca.subject_der).text, self.crls.installed.get(key)
            if crl is None:
                # A root that issues no certificates to clients need not have one here.
                if ca.self_issued and len(self.crls.cas) > 1:
                    continue
                problems.append(f"There is no CRL of {name}: the broker refuses its clients, or checks none of them.")
            elif crl.next_update <= now:
                problems.append(
                    f"CRL {crl.number} of {name} expired on {crl.next_update:%Y-%m-%d %H:%M:%S} UTC: the broker "
                    "refuses all of its clients."
                )
            elif crl.next_update - now < warn_before:
                problems.append(f"CRL {crl.number} of {name} expires on {crl.next_update:%Y-%m-%d %H:%M:%S} UTC.")
        return problems

    def _check(self) -> None:
        """Log what is wrong when that changes, and write the state."""
        problems = " ".join(self.report())
        if problems != self._problems.get("dates", ""):
            log.error("{problems}", problems=problems or "All CRLs are valid again.")
        self._problems["dates"] = problems
        # Somebody else may have removed it, with which the next start of the broker would let everybody in.
        if self.crls.installed and not self._file.path.exists():
            log.error("{path} is missing; it is written again", path=str(self._file.path))
            if self._attempt("file", lambda: self._file.write(self.crls.pem)):
                self.state.is_reload_due = True
        self._save()

    def _save(self) -> None:
        names = {key: read_name(ca.subject_der).text for key, ca in self.crls.cas.items()}
        now = self._now()
        self._attempt(
            "state", lambda: write_state(self._settings.state_file, self.state, self.crls.installed, names, now)
        )
        metrics = self._section.metrics_file
        if metrics is not None:
            is_connected = self.subscription is not None and not self.subscription.problem
            self._attempt("metrics", lambda: write_metrics(metrics, self.state, self.crls.installed, is_connected, now))


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)
