"""Builds notices (OPS-5)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from pikachu.ca.leadership import IsLeader
from pikachu.config.configuration import Configuration
from pikachu.core.concurrency import TimeLimitedPool
from pikachu.core.errors import NoticeNotDelivered
from pikachu.core.interfaces import IClock
from pikachu.core.model.notices import Channel
from pikachu.core.notice_interfaces import IMailer, INoticeSources, IWebhook
from pikachu.core.revocation_message_interfaces import IBroker
from pikachu.messaging.smtp import Mailer, SMTPSettings
from pikachu.messaging.webhook import Webhook, WebhookSettings
from pikachu.operations.notice_delivery import Channels, NoticeDelivery
from pikachu.operations.notice_rules import Notices
from pikachu.operations.notice_runs import NoticeRuns
from pikachu.operations.server_dates import ServerDates
from pikachu.server.application import Pools
from pikachu.server.notice_parts import NoticeParts

# Seconds for a whole message, less than the pause before it is tried again.
_SECONDS: Final = 90.0
_TOPIC: Final = "v1/notices"


def build_notices(
    config: Configuration,
    store: INoticeSources,
    pools: Pools,
    broker: IBroker | None,
    dates: ServerDates,
    clock: IClock,
    is_leader: IsLeader,
) -> NoticeParts:
    """Build rules, their application, and the delivery by the channels that are configured."""
    channels = Channels(
        mailer=_mailer(config, pools, clock),
        webhook=_webhook(config, pools, clock),
        broker=broker,
        topic=f"{config.mqtt.topic_prefix}/{_TOPIC}",
        base_url=config.https.external_url or "",
        give_up=timedelta(seconds=config.notices.give_up),
    )
    configured = {
        Channel.MAIL: config.smtp.enabled,
        Channel.WEBHOOK: config.notices.webhook_key_file is not None,
        Channel.MQTT: config.mqtt.enabled,
    }
    delivery = NoticeDelivery(store=store, channels=channels, clock=clock)
    return NoticeParts(
        rules=Notices(
            store=store,
            delivery=delivery,
            clock=clock,
            configured=frozenset(channel for channel, is_set in configured.items() if is_set),
        ),
        runs=NoticeRuns(
            store=store,
            backups=store,
            dates=dates,
            delivery=delivery,
            clock=clock,
            is_leader=is_leader,
            interval=config.notices.interval,
        ),
        delivery=delivery,
    )


def _mailer(config: Configuration, pools: Pools, clock: IClock) -> IMailer | None:
    smtp = config.smtp
    if not smtp.enabled:
        return None
    settings = SMTPSettings(
        host=smtp.host,
        port=smtp.port,
        security=smtp.security,
        sender=smtp.sender,
        ca_cert_path=smtp.ca_cert_path,
        username=smtp.username,
        password_file=smtp.password_file,
        timeout=smtp.timeout,
    )
    return Mailer(settings, _limited(pools, clock, "The mail server"), clock)


def _webhook(config: Configuration, pools: Pools, clock: IClock) -> IWebhook | None:
    notices = config.notices
    if notices.webhook_key_file is None:
        return None
    settings = WebhookSettings(
        key_file=notices.webhook_key_file,
        key_id=notices.webhook_key_id,
        ca_cert_path=notices.webhook_ca_path,
        allowed=notices.allow_private,
    )
    return Webhook(settings, _limited(pools, clock, "The receiver"), clock)


def _limited(pools: Pools, clock: IClock, what: str) -> TimeLimitedPool:
    return TimeLimitedPool(pools.notices, clock, _SECONDS, what, NoticeNotDelivered)
