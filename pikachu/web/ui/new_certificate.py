"""``/certificates/new``: from a name to a certificate on one page (ISS-1)."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote

from pikachu.accounts.challenge_passwords import MAX_LABEL, ChallengePasswords, Purpose
from pikachu.auth.permissions import Audience
from pikachu.core.errors import MalformedRequest, PikachuError, errors_of
from pikachu.core.model.account_objects import StoredKey
from pikachu.core.model.certificates import Method
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.inventory.keys import CHOICES, Keys
from pikachu.inventory.new_certificates import CertificateNames, CertificateOrder, GeneratedKey, NewCertificates
from pikachu.ra.default_policy import DEFAULT_POLICY_NAME
from pikachu.ra.enrollment import Issued, Pending
from pikachu.ra.preview import Preview
from pikachu.ra.registration_authority import RegistrationAuthority
from pikachu.web.ui.challenge_passwords import NO_SUBJECT
from pikachu.web.ui.forms import Form
from pikachu.web.ui.issuance_choices import IssuanceChoices
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.subject_fields import ATTRIBUTES, SubjectFields
from pikachu.x509.csr import decode_csr_input
from pikachu.x509.names import read_name
from pikachu.x509.pem import pem

_MAX_KEYS: Final = 200
_PLACEHOLDER: Final = "-----BEGIN CERTIFICATE REQUEST-----\n…"
NEW, STORED, CSR, DEVICE = "new", "stored", "csr", "device"
#: (name in :func:`pikachu.inventory.keys.key_name`, label) of the keys that can be created, the recommended one first.
KINDS: Final = tuple(
    (f"rsa{choice}" if family == "RSA" else choice or family.lower(), f"{family}/{choice}" if choice else family)
    for family in ("EC", "RSA", "Ed25519", "PQC")
    for choice in (CHOICES[family] or ("",))
)


@dataclass(frozen=True, slots=True)
class Draft:
    """The state of the form.

    :ivar source: ``new``: a key is created; ``stored``: one of the user's keys; ``csr``: names and key of a CSR;
        ``device``: the device creates its key, and enrolls with a challenge password.
    :ivar kind: a key of :data:`KINDS`.
    :ivar key: id of a stored key.
    :ivar csr: PEM, or the text as typed.
    :ivar days: text of a number; empty: the policy's validity.
    :ivar once: idempotency key: a form that is submitted twice issues once.
    """

    names: SubjectFields = field(default_factory=SubjectFields)
    source: str = NEW
    kind: str = KINDS[0][0]
    key: str = ""
    csr: str = ""
    policy: str = DEFAULT_POLICY_NAME
    days: str = ""
    issuer: str = ""
    once: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @classmethod
    def of(cls, form: Form) -> Draft:
        """Read the submitted form; what is no text is left out."""
        values = form.values
        source, kind = values.get("source", NEW), values.get("kind", "")
        return cls(
            names=SubjectFields.of(form),
            source=source if source in (NEW, STORED, CSR, DEVICE) else NEW,
            kind=kind if kind in dict(KINDS) else KINDS[0][0],
            key=values.get("key", ""),
            csr=values.get("csr", "").replace("\r\n", "\n"),
            policy=values.get("policy", DEFAULT_POLICY_NAME),
            days=values.get("days", "").strip(),
            issuer=values.get("issuer", ""),
            once=values.get("once", "")[:64] or secrets.token_urlsafe(16),
        )

    def with_upload(self, upload: bytes) -> Draft:
        """Return the draft with the CSR of an uploaded file, which takes precedence over the text.

        :raises MalformedRequest, TooLarge: the file holds no CSR.
        """
        with errors_of("file"):
            return replace(self, csr=pem("CERTIFICATE REQUEST", decode_csr_input(upload))) if upload else self

    @property
    def key_choice(self) -> int | GeneratedKey:
        """The stored key, or the key to generate.

        :raises MalformedRequest: no key is selected.
        """
        if self.source == DEVICE:
            # Its kind is the device's choice; this one is shown.
            return GeneratedKey(KINDS[0][0])
        if self.source == NEW:
            return GeneratedKey(self.kind)
        key_id = parse_number(self.key, MAX_ID)
        if key_id is None:
            raise MalformedRequest("Choose a key from the list.", field="key")
        return key_id

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to preview yet."""
        return not self.csr.strip() if self.source == CSR else self.names.is_empty


class NewCertificatePages(Pages):
    """The form, its live preview, and the issuance."""

    def __init__(
        self,
        *,
        new_certificates: NewCertificates,
        registration: RegistrationAuthority,
        keys: Keys,
        choices: IssuanceChoices,
        challenge_passwords: ChallengePasswords,
    ) -> None:
        self._challenge_passwords = challenge_passwords
        self._new_certificates = new_certificates
        self._registration: RegistrationAuthority = registration
        self._keys = keys
        self._choices = choices

    @page("GET", "/certificates/new", audience=Audience.REQUESTER)
    async def form(self, visit: PageRequest) -> PageReply:
        """Show the empty form; ``?key=ID`` selects a stored key."""
        key = visit.query.get("key", "")
        draft = Draft(
            days=str(await self._choices.default_days(visit.principal)), key=key, source=STORED if key else NEW
        )
        return await self._page(visit, draft)

    @page("POST", "/certificates/new", audience=Audience.REQUESTER)
    async def issue(self, visit: PageRequest) -> PageReply:
        """Issue the certificate, or show the preview when JavaScript is off."""
        draft = Draft.of(visit.form)
        try:
            draft = draft.with_upload(visit.form.data("file"))
            if visit.form.text("action") == "preview":
                return await self._page(visit, draft)
            if draft.source == DEVICE:
                return await self._bind(visit.principal, draft)
            result = await self._issue(visit.principal, draft)
        except PikachuError as error:
            return await self._page(visit, draft, error)
        if isinstance(result, Pending):
            return Redirect(
                f"/ra/approvals/{result.request_id}",
                notice="The certificate is issued as soon as an administrator approves it.",
            )
        return Redirect(f"/certificates/{result.record.id}", notice="Certificate issued.")

    @page("POST", "/certificates/new/preview", audience=Audience.REQUESTER)
    async def preview(self, visit: PageRequest) -> PageReply:
        """Return the preview alone, for the script of the form."""
        draft = Draft.of(visit.form)
        try:
            draft = draft.with_upload(visit.form.data("file"))
        except PikachuError as error:
            return HtmlPage("certificates/new_preview.html", {"draft": draft, "preview": None, "wrong": error})
        preview, wrong = await self._preview(visit.principal, draft)
        return HtmlPage("certificates/new_preview.html", {"draft": draft, "preview": preview, "wrong": wrong})

    # --- helpers --------------------------------------------------------------------------

    async def _page(self, visit: PageRequest, draft: Draft, error: PikachuError | None = None) -> PageReply:
        actor = visit.principal
        preview, wrong = await self._preview(actor, draft)
        context = {
            "draft": draft,
            "attributes": ATTRIBUTES,
            "kinds": KINDS,
            "keys": await self._own_keys(actor, draft),
            "policies": await self._choices.policies(actor),
            "issuers": self._choices.issuers(),
            "placeholder": _PLACEHOLDER,
            "preview": preview,
            "wrong": None if error is not None else wrong,
        }
        return HtmlPage.form("certificates/new.html", context, error)

    async def _own_keys(self, actor: Principal, draft: Draft) -> list[tuple[int, str]]:
        """Return the user's newest keys, with the selected one."""
        keys: list[StoredKey] = list(
            (await self._keys.list(actor, ListQuery(limit=_MAX_KEYS, owner_id=actor.owner_id))).items
        )
        selected = parse_number(draft.key, MAX_ID) if draft.key else None
        if selected is not None and selected not in {key.id for key in keys}:
            # The preview says that it is missing.
            with contextlib.suppress(PikachuError):
                keys.insert(0, await self._keys.get(actor, selected))
        return [(key.id, f"{key.name} ({key.key_type}, ID {key.id}, {key.created_at:%Y-%m-%d})") for key in keys]

    async def _order(self, actor: Principal, draft: Draft) -> CertificateOrder:
        names = CertificateNames.of_subject(draft.names.subject_der, draft.names.texts)
        days = await self._choices.days(actor, draft.policy, draft.days)
        return CertificateOrder(names, draft.key_choice, draft.policy, days, draft.issuer or None)

    async def _issue(self, actor: Principal, draft: Draft) -> Issued | Pending:
        if draft.source != CSR:
            order = await self._order(actor, draft)
            return (await self._new_certificates.issue(actor, order, Method.UI, draft.once)).result
        return await self._registration.sign(
            actor,
            _csr(draft),
            Method.UI,
            policy=draft.policy,
            days=await self._choices.days(actor, draft.policy, draft.days),
            issuer=draft.issuer or None,
            idempotency_key=draft.once,
        )

    async def _bind(self, actor: Principal, draft: Draft) -> PageReply:
        """Create a challenge password that is bound to the names, and lead to the commands for the device."""
        names = CertificateNames.of_subject(draft.names.subject_der, draft.names.texts)
        await self._choices.labels(actor, draft.policy)
        subject = read_name(names.subject_der).text or NO_SUBJECT
        label = "".join(one for one in names.label[:MAX_LABEL] if one.isprintable())
        purpose = Purpose(label, subject, [name.text for name in names.sans])
        challenge, _ = await self._challenge_passwords.create(actor, purpose=purpose)
        location = f"/challenge-passwords/{challenge.id}/commands?policy={quote(draft.policy, safe='')}"
        return Redirect(location, notice="Challenge password created. Run the commands on the device.")

    async def _preview(self, actor: Principal, draft: Draft) -> tuple[Preview | None, PikachuError | None]:
        if draft.is_empty:
            return None, None
        try:
            if draft.source == DEVICE:
                await self._choices.labels(actor, draft.policy)
                order = replace(await self._order(actor, draft), days=None, issuer=None)
                return await self._new_certificates.preview(actor, order, Method.EST), None
            if draft.source != CSR:
                order = await self._order(actor, draft)
                return await self._new_certificates.preview(actor, order, Method.UI), None
            preview = await self._registration.preview(
                actor,
                _csr(draft),
                Method.UI,
                policy=draft.policy,
                days=await self._choices.days(actor, draft.policy, draft.days),
                issuer=draft.issuer or None,
            )
        except PikachuError as error:
            return None, error
        return preview, None


def _csr(draft: Draft) -> bytes:
    """Return the DER of the CSR.

    :raises MalformedRequest, TooLarge: there is none.
    """
    if not draft.csr.strip():
        raise MalformedRequest("Paste a CSR, or choose a file.", field="csr")
    with errors_of("csr"):
        return decode_csr_input(draft.csr.encode())
