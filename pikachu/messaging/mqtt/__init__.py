"""CRLs and revocations over MQTT (MQT-2; docs/mqtt.md).

``messages`` has topics and payloads; ``connection`` is the server's connection with the broker, ``subscription`` that
of ``pikachu crl-agent``; ``client`` is what both make of the library, which is imported nowhere else.
"""
