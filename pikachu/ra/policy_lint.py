"""Lint of enrollment policies: sample certificates, their findings, and overrides (LNT-1)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from pikachu.auth.permissions import is_admin
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.cache import BoundedCache
from pikachu.core.concurrency import SingleFlight
from pikachu.core.errors import LintFailed, MalformedRequest, NotAuthorized, RequestError
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.core.lint_interfaces import ICertificateLinter
from pikachu.core.model.lint import (
    OVERRIDE_REASON,
    Finding,
    LintOverride,
    LintReport,
    Severity,
    by_severity,
    summary,
)
from pikachu.core.model.people import Principal
from pikachu.core.model.policies import Policy
from pikachu.core.model.times import utc
from pikachu.ra.policies import policy_variables
from pikachu.x509 import der
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME, Validity, assemble, end_of_validity, tbs_certificate
from pikachu.x509.extension import Extension
from pikachu.x509.lint.rules import lint
from pikachu.x509.names import COMMON_NAME, COUNTRY, build_name, read_name
from pikachu.x509.placeholder_keys import placeholder_public_key
from pikachu.x509.profile import Addresses, leaf_extensions
from pikachu.x509.san import encode_san, name_from_san_text
from pikachu.x509.spki import KeyDescription, describe_spki
from pikachu.x509.template import ExtensionContext, parse

_CACHED: Final = 256
_SERIAL: Final = 1 << 158
_SUBJECT: Final = build_name([(COMMON_NAME, "sample.example.com")])
# What a policy that allows other country codes certifies; build_name() refuses it.
_ABROAD: Final = der.sequence(
    der.set_of([der.sequence(der.oid(COUNTRY), der.printable_string("DEU"))]), der.parse(_SUBJECT).content
)
_NAMES: Final = encode_san([name_from_san_text("DNS:sample.example.com")])
_SIGNATURE: Final = bytes(64)
# By the names in limits of policies: a key of each family.
_KEYS: Final = {"RSA": "rsa2048", "EC": "prime256v1", "Ed25519": "ed25519", "PQC": "mldsa44"}
_NO_SAMPLE: Final = "pikachu.no_sample"


class PolicyLint:
    """Lints sample certificates of policies, and decides whether a policy with errors may be saved.

    :param linter: the linter of another project; ``None``: only the rules of this program are applied.
    :param pool: the pool for it.
    :param public_url: the value of ``${http_url}`` in policies.
    """

    def __init__(
        self,
        *,
        issuers: IssuingCAs,
        clock: IClock,
        pool: IWorkerPool,
        linter: ICertificateLinter | None = None,
        public_url: str | None = None,
    ) -> None:
        self._issuers = issuers
        self._clock = clock
        self._pool = pool
        self._linter = linter
        self._public_url = public_url
        self._cached: BoundedCache[object, LintReport] = BoundedCache(_CACHED)
        self._running: SingleFlight[LintReport] = SingleFlight()

    @property
    def linter(self) -> str | None:
        """The name of the linter of another project; ``None`` when none is installed."""
        return None if self._linter is None else self._linter.name

    async def report(self, policy: Policy) -> LintReport:
        """Return the findings about the sample certificates of a policy, one for each kind of key and issuing CA.

        Fails with Overloaded.
        """
        issuers = self._issuers_of(policy)
        key = (policy.extensions, policy.days, policy.limits, *(issuer.certificate.der for issuer in issuers))
        report = self._cached.get(key)
        if report is None:
            report = await self._running.run(key, lambda: self._run(policy, issuers))
            if report.is_finished:
                self._cached.put(key, report)
        return report

    async def _run(self, policy: Policy, issuers: tuple[IssuingCA, ...]) -> LintReport:
        return await self._pool.run(self._lint, policy, issuers)

    async def accepted(
        self, actor: Principal, policy: Policy, before: Policy | None, reason: str | None
    ) -> LintOverride | None:
        """Return the override with which a policy may be saved; None where it has no errors.

        An override that is recorded stays while it covers the errors; only administrators can change the text then.

        :param before: the policy that it replaces.
        :param reason: why its errors are accepted.
        :raises LintFailed: when it has errors that nothing accepts.
        :raises NotAuthorized: when an account that is no administrator's accepts errors.
        :raises MalformedRequest: when the reason is too long, or not printable.
        """
        report = await self.report(policy)
        earlier = None if before is None else before.lint_override
        is_unchanged = before is not None and before.extensions == policy.extensions
        errors = report.errors
        codes = tuple(dict.fromkeys(finding.code for finding in errors))
        if not errors:
            # Errors that only the linter finds may still be there.
            return earlier if report.linter is None and is_unchanged else None
        if reason is not None and reason.strip():
            if not is_admin(actor):
                raise NotAuthorized("Only administrators can accept errors of lint. Correct the policy, or ask one.")
            return LintOverride(_checked(reason), actor.name, self._now(), codes)
        if earlier is not None and set(codes) <= set(earlier.codes) and (is_unchanged or is_admin(actor)):
            return earlier
        raise LintFailed(f"Certificates of this policy would have errors. {summary(errors)}", errors)

    def _issuers_of(self, policy: Policy) -> tuple[IssuingCA, ...]:
        named = None if policy.issuer is None else self._issuers.current.get(policy.issuer)
        return tuple(self._issuers.current.values()) if named is None else (named,)

    def _lint(self, policy: Policy, issuers: tuple[IssuingCA, ...]) -> LintReport:
        """Return the report; called in the pool."""
        findings: list[Finding] = []
        samples: list[bytes] = []
        for issuer in issuers:
            try:
                for sample, own in self._samples(policy, issuer):
                    samples.append(sample)
                    findings += own
            except RequestError as error:
                message = f"The CA {issuer.name} issues no certificate under this policy: {error.public}."
                findings.append(Finding(Severity.WARNING, _NO_SAMPLE, message))
        if self._linter is not None and samples:
            findings += self._linter.lint(samples)
        return LintReport(by_severity(findings), self.linter)

    def _samples(self, policy: Policy, issuer: IssuingCA) -> Iterator[tuple[bytes, tuple[Finding, ...]]]:
        """Yield sample certificates, and what this program's own rules find about each.

        :raises BadTemplate: the text is not valid for this issuing CA.
        :raises PolicyViolation: the CA does not issue such certificates.
        """
        limits, certificate, now = policy.limits, issuer.certificate, self._now()
        allowed = {key.split("/")[0] for key in limits.keys} or _KEYS.keys()
        subject = read_name(_ABROAD if limits.other_countries else _SUBJECT)
        variables = policy_variables(issuer.name, certificate.key_identifier, self._public_url)
        text = parse(policy.extensions)
        copies_names = limits.honour_names and not text.names(SUBJECT_ALTERNATIVE_NAME, variables)
        not_after = min(end_of_validity(now, policy.days), issuer.path.ends_at)
        validity = Validity(min(now, not_after), not_after)
        for key in (_key(kind) for family, kind in _KEYS.items() if family in allowed):
            context = ExtensionContext(
                issuer_key_identifier=certificate.key_identifier,
                issuer_issuer_der=certificate.issuer_der,
                issuer_serial=certificate.serial,
                subject_spki=key.spki,
                subject_der=subject.der,
                variables=variables,
                subject_ski=key.ski,
            )
            extensions = leaf_extensions(
                policy=text.extensions(context),
                requested_names=Extension(SUBJECT_ALTERNATIVE_NAME, False, _NAMES) if copies_names else None,
                subject_der=subject.der,
                key=key,
                issuer=certificate,
                addresses=Addresses.under(self._public_url, certificate),
            )
            tbs = tbs_certificate(
                serial=_SERIAL,
                algorithm=issuer.signer.algorithm,
                issuer_der=certificate.subject_der,
                validity=validity,
                subject_der=subject.der,
                spki_der=key.spki,
                extensions=extensions,
            )
            own = lint(subject=subject, family=key.family, extensions=extensions, serial=_SERIAL, validity=validity)
            yield assemble(tbs, issuer.signer.algorithm, _SIGNATURE), own

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


@functools.cache
def _key(kind: str) -> KeyDescription:
    """Return a public key that nobody has the private key of."""
    return describe_spki(placeholder_public_key(kind))


def _checked(reason: str) -> str:
    text = reason.strip()
    if len(text) > OVERRIDE_REASON.maximum or not text.isprintable():
        raise MalformedRequest(f"The reason is a text of 1 to {OVERRIDE_REASON.maximum} printable characters.")
    return text
