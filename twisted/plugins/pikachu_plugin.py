"""Tells twistd of ``pikachu``; imports nothing heavy, since ``twistd --help`` loads it."""

from twisted.application.service import ServiceMaker

pikachu = ServiceMaker(
    "Pikachu CA", "pikachu.server.tap", "A certificate authority: EST, SCEP, OCSP, CRL, REST.", "pikachu"
)
