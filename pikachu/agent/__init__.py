"""``pikachu crl-agent``: keeps an MQTT broker's CRL file up to date (MQT-1; docs/mqtt.md).

It runs beside the broker, and knows neither the database nor the server's configuration.  ``settings`` is its
configuration, ``crl_set`` decides which CRLs are taken, ``broker_files`` installs them, and ``agent`` is the work
between messages, downloads and time.
"""
