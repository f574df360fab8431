"""Certificate templates and extension policies: OpenSSL-style texts, parsed strictly (TPL-1, TPL-2)."""

from pikachu.x509.template.context import VARIABLES, ExtensionContext
from pikachu.x509.template.profile import ProfileTemplate, parse
from pikachu.x509.template.request import RequestTemplate, certification_request_info

__all__ = ["VARIABLES", "ExtensionContext", "ProfileTemplate", "RequestTemplate", "certification_request_info", "parse"]
