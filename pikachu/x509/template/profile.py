"""Certificate templates: texts with ``[ req ]``, ``[ v3_ext ]`` or both, parsed once for many certificates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pikachu.core.errors import BadTemplate
from pikachu.x509.extension import Extension
from pikachu.x509.template.configuration import Configuration, Section
from pikachu.x509.template.context import VARIABLES, ExtensionContext
from pikachu.x509.template.extensions import Compiled, is_extension_name
from pikachu.x509.template.request import RequestTemplate, compile_extensions, compile_request
from pikachu.x509.template.values import Source

_REQUEST: Final = "req"
_EXTENSIONS: Final = "v3_ext"
_MAXIMUM_CACHED: Final = 64
_NO_VARIABLES: Final = dict.fromkeys(VARIABLES, "")


class ProfileTemplate:
    """A validated template; see :func:`parse`.

    :ivar text: the source text.
    :ivar usages: ``req`` if it configures CSRs, ``ext`` if it configures certificates (TPL-1).
    :ivar variables: the predefined variables that it uses.
    """

    def __init__(self, text: str) -> None:
        configuration = Configuration(text, VARIABLES)
        request = configuration.section(_REQUEST)
        extensions = _extension_section(configuration)
        if request is None and extensions is None:
            raise BadTemplate(0, "the text has neither a section [ req ] nor a section [ v3_ext ]")
        self.text = text
        self.usages = frozenset(
            usage for usage, section in (("req", request), ("ext", extensions)) if section is not None
        )
        self.variables = frozenset(configuration.used)
        # Compile both now, with sample values of the variables, to detect errors before the text is stored.
        if request is not None:
            compile_request(configuration, request)
        compiled = _compile(configuration, extensions)
        self._cache: dict[tuple[str, ...], tuple[Compiled, ...]] = {}
        if not self.variables:
            self._cache[()] = compiled

    def extensions(self, context: ExtensionContext) -> tuple[Extension, ...]:
        """Return the extensions of one certificate, in the order of the text; none without usage ``ext``.

        :raises BadTemplate: a variable has no value in the context, or makes an extension invalid.
        """
        extensions = (compiled.extension(context) for compiled in self._compiled(context.variables))
        return tuple(extension for extension in extensions if extension is not None)

    def names(self, oid: str, variables: Mapping[str, str]) -> bool:
        """Return whether the text contains that extension, even if it is omitted for some certificates."""
        return any(compiled.oid == oid for compiled in self._compiled(variables))

    def request(self, variables: Mapping[str, str] = _NO_VARIABLES) -> RequestTemplate:
        """Return the configuration of CSRs.

        :param variables: values of the variables; a missing one has no value.
        :raises BadTemplate: the text has no usage ``req``, or uses a variable without a value.
        """
        configuration = Configuration(self.text, {**_NO_VARIABLES, **variables})
        section = configuration.section(_REQUEST)
        if section is None:
            raise BadTemplate(0, "the text has no section [ req ]: it does not configure requests")
        return compile_request(configuration, section)

    def is_compiled(self, variables: Mapping[str, str]) -> bool:
        """Return whether the extensions are compiled for these values of the variables."""
        return self._key(variables) in self._cache

    def compile(self, variables: Mapping[str, str]) -> None:
        """Compile the extensions for these values of the variables, which a long text makes slow.

        :raises BadTemplate: a variable makes an extension wrong.
        """
        self._compiled(variables)

    def _key(self, variables: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(variables.get(name, "") for name in sorted(self.variables))

    def _compiled(self, variables: Mapping[str, str]) -> tuple[Compiled, ...]:
        """The extensions for these values of the variables that the text uses: one set for each issuer."""
        key = self._key(variables)
        compiled = self._cache.get(key)
        if compiled is None:
            configuration = Configuration(self.text, {**_NO_VARIABLES, **variables})
            compiled = _compile(configuration, _extension_section(configuration))
            if len(self._cache) >= _MAXIMUM_CACHED:
                self._cache.clear()
            self._cache[key] = compiled
        return compiled


def parse(text: str) -> ProfileTemplate:
    """Parse and validate a certificate template or a policy's extension text.

    The text has a section ``[ req ]``, a section ``[ v3_ext ]`` or both; a text without either may consist only of
    lines such as ``keyUsage = digitalSignature``, which are treated as ``[ v3_ext ]`` (as OpenSSL's ``-extfile``
    does).

    :raises BadTemplate: with the invalid line.
    """
    return ProfileTemplate(text)


def _extension_section(configuration: Configuration) -> Section | None:
    section = configuration.section(_EXTENSIONS)
    early = next((known for known in configuration.default.fields.values() if is_extension_name(known.name)), None)
    if early is None:
        return section
    if section is None and configuration.section(_REQUEST) is None:
        return configuration.default
    raise BadTemplate(early.line, f"{early.name} stands before the sections, where it has no effect")


def _compile(configuration: Configuration, section: Section | None) -> tuple[Compiled, ...]:
    return () if section is None else compile_extensions(section, Source(configuration, for_request=False))
