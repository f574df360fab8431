"""Builds what has a language model compose the answers of ChatPikachu (UI-11)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from twisted.internet.ssl import Certificate as TLSCertificate
from twisted.internet.ssl import platformTrust, trustRootFromCertificates

from pikachu.config.configuration import Configuration
from pikachu.core.chat_interfaces import IChatModel
from pikachu.core.concurrency import IThreadCaller
from pikachu.core.errors import ConfigError, PikachuError
from pikachu.core.interfaces import IClock
from pikachu.help.composer import Composer
from pikachu.help.tools import Tools
from pikachu.server.application import Pools
from pikachu.signers.files import load_certificates
from pikachu.x509.loading.certificates import load_tls_certificate


def build_chat_model(config: Configuration, pools: Pools, reactor: IThreadCaller | None) -> IChatModel | None:
    """Build the client of the language model; ``None`` if none is set, and for commands, which have no reactor.

    :raises ConfigError: when the CA of its certificate can't be read.
    """
    chat = config.chat
    if not chat.composes or chat.endpoint is None or reactor is None:
        return None
    # Loading the HTTP client takes time, so only a server that uses it does.
    from pikachu.messaging.chat_completions import ChatCompletions, ChatModelSettings, make_agent

    settings = ChatModelSettings(chat.endpoint, chat.model, chat.api_key_file, chat.max_tokens)
    return ChatCompletions(settings, make_agent(reactor, _trust(config)), pools.files)


def build_composer(config: Configuration, model: IChatModel | None, tools: Tools, clock: IClock) -> Composer | None:
    """Build what composes answers with *model*."""
    if model is None:
        return None
    chat = config.chat
    host = urlsplit(chat.endpoint or "").hostname or ""
    return Composer(model=model, tools=tools, clock=clock, host=host, timeout=chat.timeout, concurrent=chat.concurrent)


def _trust(config: Configuration) -> Any:
    path = config.chat.ca_cert_path
    if path is None:
        return platformTrust()
    setting = "[CHAT] ca_cert_path"
    try:
        certificates = [
            TLSCertificate(load_tls_certificate(one.der, is_own=True)) for one in load_certificates(path, setting)
        ]
    except PikachuError as error:
        raise ConfigError(f"{config.path}: {setting}: {path} can't be used for TLS: {error.public}") from None
    return trustRootFromCertificates(certificates)
