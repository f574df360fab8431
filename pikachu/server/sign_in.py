"""Builds what people sign in with: sessions, second factors, one-time resets, drafts (ROL-2)."""

from __future__ import annotations

from typing import Any

from pikachu.accounts.accounts import Accounts
from pikachu.accounts.drafts import Drafts
from pikachu.accounts.passkeys import PasskeyAdministration, PasskeySignIn
from pikachu.accounts.password_resets import PasswordResets
from pikachu.accounts.second_factors import SecondFactorAdministration
from pikachu.accounts.sessions import Sessions
from pikachu.accounts.sign_in_locks import SignInLocks
from pikachu.auth.authenticator import Authenticator
from pikachu.auth.rate_limit import GuessLimits
from pikachu.auth.second_factor import SecondFactors
from pikachu.auth.webauthn.challenges import Challenges
from pikachu.auth.webauthn.verification import PasskeyVerifier
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.sealing import Sealer


def build_sign_in(
    *,
    store: IStore,
    authenticator: Authenticator,
    accounts: Accounts,
    limits: GuessLimits,
    sealer: Sealer,
    clock: IClock,
    maximum_idle: int,
) -> dict[str, Any]:
    """Return the parts by the application's fields.

    :param maximum_idle: seconds without a request that end a session.
    """
    sessions = Sessions(
        store=store,
        authenticator=authenticator,
        second_factors=SecondFactors(store, limits, sealer, clock),
        sealer=sealer,
        clock=clock,
        maximum_idle=maximum_idle,
    )
    challenges = Challenges(sealer, clock)
    verifier = PasskeyVerifier(store, limits, challenges, clock)
    return {
        "sessions": sessions,
        "second_factors": SecondFactorAdministration(store=store, sealer=sealer, clock=clock),
        "passkeys": PasskeyAdministration(store=store, challenges=challenges, clock=clock),
        "passkey_sign_in": PasskeySignIn(store=store, sessions=sessions, verifier=verifier),
        "drafts": Drafts(store=store, sealer=sealer, clock=clock),
        "password_resets": PasswordResets(store=store, accounts=accounts, limits=limits, clock=clock),
        "sign_in_locks": SignInLocks(store=store, limits=limits, clock=clock),
    }
