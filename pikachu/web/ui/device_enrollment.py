"""``/challenge-passwords/ID/commands``: the commands with which a device enrolls by its own name (ISS-1)."""

from __future__ import annotations

from pikachu.accounts.challenge_passwords import ChallengePasswords
from pikachu.auth.permissions import Audience
from pikachu.core.errors import Conflict, NotFound
from pikachu.ra.default_policy import DEFAULT_POLICY_NAME
from pikachu.web.ui.device_commands import Enrollment, ways
from pikachu.web.ui.issuance_choices import IssuanceChoices
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply
from pikachu.web.ui.server_location import ServerLocations


class DeviceEnrollmentPages(Pages):
    """Commands for devices."""

    def __init__(
        self, *, challenge_passwords: ChallengePasswords, choices: IssuanceChoices, locations: ServerLocations
    ) -> None:
        self._challenge_passwords = challenge_passwords
        self._choices = choices
        self._locations = locations

    @page("GET", "/challenge-passwords/<id>/commands", audience=Audience.REQUESTER)
    async def commands(self, visit: PageRequest) -> PageReply:
        """Show the commands for a challenge password of the user's own that is bound to names.

        ``?policy=NAME`` selects a policy that is enabled for EST or SCEP.
        """
        actor = visit.principal
        challenge = await self._challenge_passwords.get(actor, visit.id)
        if challenge.owner_id is None or challenge.owner_id != actor.owner_id:
            raise NotFound("there is no such challenge password")
        if challenge.names is None:
            raise Conflict("This challenge password is bound to no names. Create one for the names of the device.")
        policy = visit.query.get("policy", DEFAULT_POLICY_NAME)
        est, scep = await self._choices.labels(actor, policy)
        text = await self._challenge_passwords.reveal(actor, visit.id)
        enrollment = Enrollment(challenge.names, text, est or "", scep or "")
        context = {
            "challenge": challenge,
            "text": text,
            "policy": policy,
            "default": policy == DEFAULT_POLICY_NAME,
            "ways": ways(self._locations.of(visit), enrollment, est=est is not None, scep=scep is not None),
        }
        return HtmlPage("challenges/commands.html", context)
