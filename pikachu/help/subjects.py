"""The pages of this server by what one does there, and words that mean the same, for questions to ChatPikachu."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from pikachu.auth.permissions import Audience, in_audience
from pikachu.core.model.people import Principal
from pikachu.help.terms import search_terms

# A page answers a question whose terms it covers by this much, by rarity of the terms.
_LEAST: Final = 0.3
_SHARE: Final = 0.75
_PAGES: Final = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """A page of the menu.

    :param purpose: what it is for, one sentence.
    :param words: further words of questions that it answers.
    :param audience: who may open it.
    """

    path: str
    label: str
    purpose: str
    words: str
    audience: Audience = Audience.USER


SUBJECTS: Final = (
    Subject(
        "/certificates/new",
        "New certificate",
        "Issue a certificate with a new key, a stored key or a CSR.",
        "create request get order generate make obtain device server download pfx pkcs12",
        Audience.REQUESTER,
    ),
    Subject("/", "Dashboard", "See counts, expiring certificates and the state of the server.", "overview home health"),
    Subject(
        "/certificates",
        "Certs",
        "Find, download, renew, revoke and delete certificates.",
        "list file search show look up serial hold release export csv pkcs12 pfx chain revocation renewal",
    ),
    Subject(
        "/devices",
        "Devices",
        "See the devices, their state and when they should renew.",
        "device renewal due overdue retire fleet inventory",
    ),
    Subject(
        "/notices",
        "Notices",
        "Send notices of what expires, by mail, webhook or MQTT.",
        "remind reminder notify notification alert email mail smtp webhook expire expiry",
        Audience.AUDITOR,
    ),
    Subject(
        "/housekeeping",
        "Housekeeping",
        "Count and remove what is over: used challenge passwords, old jobs, files and events.",
        "clean clean-up cleanup prune purge old remove delete disk space retention temporary",
        Audience.ADMIN,
    ),
    Subject(
        "/identity-lists",
        "Identity lists",
        "See the lists of identities that a policy may require.",
        "allow list allowed identity idevid names csv",
        Audience.STAFF,
    ),
    Subject(
        "/ra",
        "RA (sign)",
        "Sign a CSR under a policy, after a preview.",
        "paste upload load registration reject",
        Audience.REQUESTER,
    ),
    Subject(
        "/ra/approvals",
        "Approvals",
        "Approve or reject enrollments that wait for an operator or administrator.",
        "pending waiting accept decide request",
    ),
    Subject(
        "/csrs", "CSRs", "Create, upload and view certificate signing requests.", "csr generate subject san pkcs10"
    ),
    Subject(
        "/keys",
        "Keys",
        "Create, import, view, download and delete private keys: RSA, EC, Ed25519 and ML-DSA.",
        "key pair generate make new post-quantum ml-dsa mldsa curve private",
    ),
    Subject(
        "/policies",
        "Enrollment",
        "Create and edit enrollment policies: validity, extensions, limits, labels, approval.",
        "policy rule profile extension validity eku key usage label default constraint lint linter finding pkilint",
    ),
    Subject(
        "/challenge-passwords",
        "Challenge Passwords",
        "Create challenge passwords, with which devices enroll once.",
        "scep challenge password one-time secret enrollment device token",
    ),
    Subject(
        "/batches",
        "Batches",
        "Create challenge passwords for a list of device names.",
        "fleet csv many bulk devices enroll enrollment",
    ),
    Subject(
        "/templates",
        "Certificate Templates",
        "Create and edit OpenSSL configurations for CSRs and policies.",
        "template openssl cnf configuration extension",
    ),
    Subject(
        "/x509-templates", "Templates", "Fill in the template files of the server.", "jinja render", Audience.AUDITOR
    ),
    Subject(
        "/ca",
        "CA (RSA/EC)",
        "View and download the CA certificates.",
        "authority root chain issuer issuing trust anchor",
    ),
    Subject("/va", "VA (CRL)", "View, download and publish CRLs.", "crl revocation list publish ocsp"),
    Subject("/expiry", "Expiry", "See in a calendar which certificates expire.", "calendar expiring soon end month"),
    Subject(
        "/events", "Events", "Search and verify the audit log.", "audit history log who did when changed integrity"
    ),
    Subject(
        "/reports",
        "Reports",
        "Create reports about certificates and events.",
        "report pdf csv compliance",
        Audience.AUDITOR,
    ),
    Subject("/jobs", "Jobs", "Follow actions on many objects.", "bulk many progress background selection"),
    Subject(
        "/inspect",
        "Inspect",
        "Decode a certificate, CSR, CRL or key.",
        "decode parse view paste der pem",
    ),
    Subject("/logs", "Logs", "Read the log of the server.", "log error line trace", Audience.AUDITOR),
    Subject(
        "/users",
        "Users",
        "Add, approve, suspend and delete accounts.",
        "user account role operator administrator register reset lock unlock person",
        Audience.AUDITOR,
    ),
    Subject("/config", "Config", "See the configuration in force.", "config.ini setting option port", Audience.AUDITOR),
    Subject(
        "/account",
        "Account",
        "Change your password, and manage API tokens and sign-in certificates.",
        "token api password sign-in log client session second factor totp passkey my own",
    ),
    Subject(
        "/apis",
        "APIs",
        "See the addresses of EST, SCEP, OCSP, CRL and REST, with commands.",
        "curl url endpoint address est scep rest openapi script command",
    ),
    Subject("/help", "Help", "Read the guide.", "documentation guide manual"),
)


@dataclass(frozen=True)
class SubjectIndex:
    """Finds the pages that a question is about."""

    subjects: tuple[Subject, ...] = SUBJECTS

    @cached_property
    def _terms(self) -> tuple[frozenset[str], ...]:
        return tuple(
            frozenset(search_terms(f"{subject.label} {subject.purpose} {subject.words}")) for subject in self.subjects
        )

    def find(self, groups: Iterable[Sequence[str]], principal: Principal) -> tuple[Subject, ...]:
        """Return the pages that fit best, best first.

        :param groups: the terms of a question, each with those that mean the same.
        """
        scores = [0.0] * len(self.subjects)
        possible = 0.0
        for group in groups:
            matching = [index for index, terms in enumerate(self._terms) if not terms.isdisjoint(group)]
            rarity = math.log(1 + len(scores) / (0.5 + len(matching)))
            possible += rarity
            for index in matching:
                scores[index] += rarity
        ranked = sorted(
            (
                (score, subject)
                for score, subject in zip(scores, self.subjects, strict=True)
                if score > 0 and in_audience(principal, subject.audience)
            ),
            key=lambda pair: -pair[0],
        )
        if not ranked or ranked[0][0] < _LEAST * possible:
            return ()
        return tuple(subject for score, subject in ranked[:_PAGES] if score >= _SHARE * ranked[0][0])
