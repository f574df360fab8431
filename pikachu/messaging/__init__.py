"""Messages to other systems.

:mod:`pikachu.messaging.mqtt` publishes CRLs and revocations to an MQTT broker; begin with its ``messages``.
:mod:`pikachu.messaging.smtp` and :mod:`pikachu.messaging.webhook` send notices.
"""
