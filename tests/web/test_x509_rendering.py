"""``*.cnf.j2``: allowed template syntax, escaping of values, and the files of the folders (TPL-4)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import AuthenticationFailed, BadTemplate, Conflict, MalformedRequest, NotAuthorized, NotFound
from pikachu.core.model.people import ANONYMOUS, Principal, Role, Scope
from pikachu.inventory.template_files import SHIPPED_FOLDER, Variable, VariableKind, X509Templates
from pikachu.inventory.templates import CertificateTemplates
from pikachu.web.x509_rendering import JinjaText
from pikachu.x509.template import parse
from tests.support.deferreds import failure_of, result_of
from tests.support.people import World, make_world
from tests.support.reference_work import BATCH, cost_in_signatures

TEXT = VariableKind.TEXT
SHIPPED = sorted(path.name for path in SHIPPED_FOLDER.glob("*.cnf.j2"))
REQUEST = '[ req ]\nprompt = no\ndistinguished_name = dn\n[ dn ]\nCN = {{ common_name | default("a") }}\nO = {{ o }}\n'


PIECES = [
    *(
        "{{ ",
        " }}",
        "{% ",
        " %}",
        "{# ",
        " #}",
        "{%- ",
        " -%}",
        "if ",
        "else",
        "endif",
        "for ",
        " in ",
        "endfor",
        "set ",
    ),
    *("a", "b", "loop", "self", "range(3)", "loop.index", " = ", "'x'", "1", "true", "none", " | ", "default('d')"),
    *("split", "join", "upper", "length", "int", ".split(',')", " ~ ", " + ", " - ", " == ", " and ", " not ", " is "),
    *(
        "defined",
        "in",
        "(",
        ")",
        "[1, 'a']",
        ", ",
        "\n",
        "text",
        "raw",
        "endraw",
        "block x",
        "macro m()",
        "include 'x'",
    ),
]


class TestLanguage:
    def test_variables_and_their_defaults(self) -> None:
        """TPL-4: in order; of ``default`` filters, of ``set``, or none."""
        source = (
            "{% set organization = 'Acme Org' %}{% set ca = true %}{% set length = 2 %}{% set unit = unit | d('x') %}"
            "{{ name | default('a') }}{{ name | default('b') }}{{ needed }}{{ empty | default }}{{ organization }}"
            "{% for one in names | default('a, b') | split %}{{ one }}{% if ca %}{{ length }}{% endif %}{% endfor %}"
        )
        assert JinjaText(source).variables == (
            Variable("organization", TEXT, "Acme Org"),
            Variable("ca", VariableKind.FLAG, "true"),
            Variable("length", VariableKind.NUMBER, "2"),
            Variable("unit", TEXT, "x"),
            Variable("name", TEXT, "a"),
            Variable("needed", TEXT, None),
            Variable("empty", TEXT, ""),
            Variable("names", TEXT, "a, b"),
        )
        assert JinjaText(source).render({"needed": "!"}) == "aa!Acme Orga2b2"
        values = {"needed": "!", "organization": "Acme", "ca": "false", "name": "z", "names": " q ,,", "empty": "e"}
        assert JinjaText(source).render(values) == "zz!eAcmeq"

    @pytest.mark.parametrize(
        ("source", "text"),
        [
            ("{% for i in range(3) %}{{ loop.index }}{% if not loop.last %},{% endif %}{% endfor %}", "1,2,3"),
            ("{{ 'a' ~ 1 ~ true }}{{ 1 + 2 - 1 }}{{ 'a' + 'b' }}", "a1TRUE2ab"),
            ("{{ ['b', 'c'] | join('+') }}{{ ' A ' | trim | lower }}{{ 'x'.upper() }}", "b+caX"),
            ("{{ 'yes' if 'a' in 'cat' else 'no' }}{{ 'a,b'.split(',') | length }}{{ '7' | int + 1 }}", "yes28"),
            ("{# nothing #}{% raw %}{{ x }}{% endraw %}\n", "{{ x }}\n"),
            ("{{ '' | default('x') }}{{ '' | default('x', true) }}{{ '' | default('y', boolean=true) }}", "xy"),
            ("{% if x is defined %}{{ x | default('d') }}{% endif %}", "d"),
        ],
    )
    def test_what_works(self, source: str, text: str) -> None:
        """A small language is enough."""
        assert JinjaText(source).render({}) == text

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("{% include 'other' %}", "Include"),
            ("{% import 'other' as x %}", "Import"),
            ("{% extends 'other' %}", "Extends"),
            ("{% macro f() %}{% endmacro %}", "Macro"),
            ("a\n{{ x.__class__ }}", "line 2: the attribute __class__"),
            ("{{ ''.__class__.__mro__ }}", "the attribute"),
            ("{{ x['__class__'] }}", "Getitem"),
            ("{{ '{0.__class__}'.format(x) }}", "this call"),
            ("{{ x | attr('__class__') }}", "the filter attr"),
            ("{{ x | counted }}", "the filter counted"),
            ("{{ cycler('a') }}", "this call"),
            ("{{ range(*x) }}", "a call with *"),
            ("{{ 'a' * 1000000000 }}", "Mul"),
            ("{{ 9 ** 9 }}", "Pow"),
            ("{{ '%99999999d' % 1 }}", "Mod"),
            ("{% set x = [y, y] %}", "a list of anything"),
            ("{% set x = {} %}", "Dict"),
            ("{% set x, y = 1, 2 %}", "setting several"),
            ("{% for x in 'ab' recursive %}{% endfor %}", "a recursive loop"),
            ("{{ loop.index }}", "the attribute index"),
            ("{{ x is callable }}", "the test callable"),
            ("\n\n{% if %}", "line 3: Expected an expression"),
            ("{{ x", "unexpected"),
            ("{% do x %}", "unknown tag"),
            ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deep"),
            ("{% if x %}" * 200 + "{% endif %}" * 200, "nested too deep"),
            ("x" * 70_000, "longer than 64 KiB"),
            ("".join(f"{{{{ x{number} }}}}" for number in range(65)), "more than 64 variables"),
        ],
    )
    def test_what_is_refused(self, source: str, message: str) -> None:
        """TPL-4: sandboxed: nothing but what is listed, and the line where something else stands."""
        with pytest.raises(BadTemplate) as caught:
            JinjaText(source)
        assert message in caught.value.public
        assert "\n" not in caught.value.public

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (
                "{% set x = range(1500) %}{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}",
                "more than 2000 steps",
            ),
            ("{% for a in range(999999999) %}{% endfor %}", "more than 2000 numbers"),
            ("{% set x = 'abcdefgh' %}" + "{% set x = x ~ x %}" * 60, "longer than 64 KiB"),
            ("{% set x = 'abcdefgh' %}" + "{% set x = x + x %}" * 60, "longer than 64 KiB"),
            ("{% set x = '" + "a" * 60_000 + "' %}{{ x }}{{ x }}", "longer than 64 KiB"),
            ("{% for a in range(2000) %}" + "a" * 100 + "{% endfor %}", "longer than 64 KiB"),
            ("{{ range(3) }}", "a list or nothing"),
            ("{{ none }}", "a list or nothing"),
            ("a\n{{ 'a' + 1 }}", "line 2: + is for"),
            ("{{ 'x' | int }}", "invalid literal"),
            ("{% for a in 1 %}{% endfor %}", "not iterable"),
            ("{% set y = 1 %}{% for i in range(y.upper()) %}{% endfor %}", "upper"),
        ],
    )
    def test_what_fails_when_rendered(self, source: str, message: str) -> None:
        """TPL-4: work and size are bounded, and an error names its line."""
        with pytest.raises(BadTemplate) as caught:
            JinjaText(source).render({})
        assert message in caught.value.public
        assert "\n" not in caught.value.public

    @given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.sampled_from(["", "a,b", "7", "true"]))
    def test_whatever_a_file_holds(self, source: str, value: str) -> None:
        """A file is valid or gives an error of one line; it has no other effect."""
        said = ""
        try:
            jinja = JinjaText(source)
            text = jinja.render({variable.name: value for variable in jinja.variables})
        except (BadTemplate, MalformedRequest) as error:
            text, said = "", error.public
        assert "\n" not in said
        assert len(text) <= 64 * 1024

    def test_about(self) -> None:
        """The first comment describes a file, and suggests a type."""
        for source, description, profile_type in (
            ("{#- One\n two.\n  Profile type: TLS server -#}\nx", "One two.", "TLS server"),
            ("x {# only words #}", "only words", None),
            ("x", "", None),
        ):
            text = JinjaText(source)
            assert (text.description, text.profile_type) == (description, profile_type)


class TestValues:
    @pytest.mark.parametrize(
        "value", ["a\nb", "a\rb", "x\n[ v3_ext ]", "a\0b", "a\u2028b", "a\x85b", "\u202ea", "x" * 1025]
    )
    def test_one_line(self, value: str) -> None:
        """A value can't begin a line, and so no section."""
        with pytest.raises(MalformedRequest) as caught:
            JinjaText(REQUEST).render({"o": value})
        assert caught.value.public.startswith("o ")

    @pytest.mark.parametrize(
        "value", ["Acme # 1", "back\\", 'a "b', "it's", "`x`", "5 $", "$dn::CN", "${x}", "[ v3_ext ]", "a=b"]
    )
    def test_a_value_stays_what_it_is(self, value: str) -> None:
        """Characters special to OpenSSL's syntax are escaped: the name holds the typed value."""
        text = JinjaText(REQUEST).render({"o": value})
        subject = parse(text).request().subject_der
        assert value.encode() in subject
        assert parse(text).usages == {"req"}

    @given(st.text(max_size=70))
    def test_no_value_changes_the_structure(self, value: str) -> None:
        """Any text is refused, or stands as the value of its name; lines and sections are the template's."""
        jinja = JinjaText(REQUEST)
        try:
            text = jinja.render({"o": value})
        except MalformedRequest:
            return
        assert text.count("\n") == REQUEST.count("\n")
        if not 1 <= len(value.strip()) <= 64:
            with pytest.raises(BadTemplate, match=r"^line 6: "):
                parse(text)
            return
        assert value.strip().encode() in parse(text).request().subject_der

    def test_variables_of_the_ca_may_be_named(self) -> None:
        """``${http_url}`` in a value is the CA's, filled in when it signs."""
        source = "[ v3_ext ]\nauthorityInfoAccess = caIssuers;URI:{{ url | default('${http_url}/ca.cer') }}\n"
        assert "URI:${http_url}/ca.cer" in JinjaText(source).render({})
        assert parse(JinjaText(source).render({"url": "${http_url}/other"})).variables == {"http_url"}

    def test_a_default_is_the_template_s_own_text(self) -> None:
        """A form that comes back as it was gives what the defaults give."""
        source = "{{ x | default('a#b[$c') }}"
        assert JinjaText(source).render({"x": "a#b[$c"}) == JinjaText(source).render({}) == "a#b[$c"

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({}, "o has no default"),
            ({"o": "x", "other": "y"}, "there is no variable 'other'"),
            ({"o": "x", "flag": "maybe"}, "flag is true or false"),
            ({"o": "x", "number": "many"}, "number is a whole number"),
        ],
    )
    def test_wrong_values(self, values: dict[str, str], message: str) -> None:
        """Errors name the field."""
        source = "{% set flag = true %}{% set number = 1 %}{{ o }}{% if flag %}{{ number }}{% endif %}"
        with pytest.raises(MalformedRequest, match=message):
            JinjaText(source).render(values)


class TestFolders:
    @pytest.fixture
    def world(self) -> Iterator[World]:
        made = make_world()
        yield made
        result_of(made.store.close())

    @pytest.fixture
    def admin(self, world: World) -> Principal:
        return world.as_person(world.add("root", Role.ADMIN))

    def files(self, world: World, folder: Path | None = None) -> X509Templates:
        pool = ImmediatePool()
        return X509Templates(CertificateTemplates(world.store, world.clock, pool), JinjaText, folder, pool)

    def test_shipped(self, world: World, admin: Principal) -> None:
        """TPL-4: the shipped ones, each with a description, a type and defaults for all variables."""
        found = result_of(self.files(world).list(admin))
        assert [one.name for one in found] == SHIPPED
        for wanted in ("root_ca", "sub_ca", "ca_extensions", "tls_server_request", "tls_server_extensions", "device"):
            assert f"{wanted}.cnf.j2" in SHIPPED
        for wanted in ("tls_client_request", "tls_client_extensions", "ocsp_extensions", "mqtt_broker"):
            assert f"{wanted}.cnf.j2" in SHIPPED
        assert "ocsp_extensions_san.cnf.j2" in SHIPPED
        assert len({one.title for one in found}) == len(SHIPPED)
        for one in found:
            assert one.error is None
            assert not one.own
            assert one.title in one.description
            assert one.profile_type != "Other"
            assert all(variable.default is not None for variable in one.variables)

    @pytest.mark.parametrize("name", SHIPPED)
    def test_render_shipped(self, world: World, admin: Principal, name: str) -> None:
        """TPL-4: with its defaults each becomes a certificate template that remembers where it is from."""
        files = self.files(world)
        made = result_of(files.render(admin, name, {}, "mine", "Own type", system=False))
        assert (made.name, made.profile_type, made.origin) == ("mine", "Own type", name)
        assert made.owner_id == admin.owner_id
        assert parse(made.content).usages == {
            usage for usage, there in (("req", made.for_requests), ("ext", made.for_extensions)) if there
        }
        # Every empty default and every flag the other way round.
        other = {
            variable.name: {"false": "true", "true": "false"}.get(variable.default or "", "") or FILLED[variable.name]
            for variable in result_of(files.get(admin, name)).variables
        }
        text = result_of(files.text(admin, name, other))
        parse(text)
        for variable, value in other.items():
            if value not in ("true", "false"):
                assert value.split(",")[0] in text, variable

    def test_the_operators_own_win(self, world: World, admin: Principal, tmp_path: Path) -> None:
        """TPL-4, RUN-5: a file of the operator's folder wins over a shipped one of its name; it is read at each use."""
        own = tmp_path / "device.cnf.j2"
        own.write_text("{# Ours #}[ v3_ext ]\nnsComment = {{ x | default('ours') }}\n")
        (tmp_path / "more.cnf.j2").write_text("[ v3_ext ]\nnsComment = more\n")
        for ignored in ("notes.txt", "x.cnf", ".hidden.cnf.j2", "a b.cnf.j2"):
            (tmp_path / ignored).write_text("{{")
        (tmp_path / "folder.cnf.j2").mkdir()
        files = self.files(world, tmp_path)
        found = {one.name: one for one in result_of(files.list(admin))}
        assert set(found) == {*SHIPPED, "more.cnf.j2"}
        assert [name for name, one in found.items() if one.own] == ["device.cnf.j2", "more.cnf.j2"]
        assert found["device.cnf.j2"].description == "Ours"
        assert result_of(files.text(admin, "device.cnf.j2", {})) == "[ v3_ext ]\nnsComment = ours\n"
        own.write_text("[ v3_ext ]\nnsComment = changed\n")
        assert "changed" in result_of(files.text(admin, "device.cnf.j2", {}))

    def test_a_broken_file_says_so(self, world: World, admin: Principal, tmp_path: Path) -> None:
        """TPL-4: the list still works, and using the file gives an error with its name and line."""
        (tmp_path / "syntax.cnf.j2").write_text("[ v3_ext ]\n{% if %}\n")
        (tmp_path / "latin.cnf.j2").write_bytes(b"\xff\xfe")
        (tmp_path / "large.cnf.j2").write_text("x" * 70_000)
        (tmp_path / "text.cnf.j2").write_text("[ v3_ext ]\nkeyUsage = nothing\n")
        files = self.files(world, tmp_path)
        errors = {one.name: one.error for one in result_of(files.list(admin)) if one.error is not None}
        assert errors["latin.cnf.j2"] == "it is not UTF-8"
        assert "64 KiB" in str(errors["large.cnf.j2"])
        assert str(errors["syntax.cnf.j2"]).startswith("line 2: ")
        failed = failure_of(files.render(admin, "syntax.cnf.j2", {}, "x", "x", system=True), BadTemplate)
        assert failed.public.startswith("syntax.cnf.j2: line 2: ")
        assert failed.line == 0
        # Right as Jinja, wrong as a certificate template: the line is one of the text.
        assert failure_of(files.render(admin, "text.cnf.j2", {}, "x", "x", system=True), BadTemplate).line == 2

    @pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
    def test_an_unreadable_file(self, world: World, admin: Principal, tmp_path: Path) -> None:
        """An unreadable file is listed with its error."""
        (tmp_path / "secret.cnf.j2").touch(mode=0o000)
        found = result_of(self.files(world, tmp_path).get(admin, "secret.cnf.j2"))
        assert found.error == "it can't be read: Permission denied"

    def test_a_missing_folder(self, world: World, admin: Principal, tmp_path: Path) -> None:
        """The setting is named."""
        failed = failure_of(self.files(world, tmp_path / "none").list(admin), Conflict)
        assert failed.public.startswith("[PATHS] x509_templates: ")

    @pytest.mark.parametrize("name", ["none.cnf.j2", "../x509/device.cnf.j2", "/etc/passwd", "device", ""])
    def test_no_other_file(self, world: World, admin: Principal, name: str) -> None:
        """Only what lies in the folders can be named."""
        failure_of(self.files(world).get(admin, name), NotFound)
        failure_of(self.files(world).render(admin, name, {}, "x", "x", system=True), NotFound)

    def test_admins_only(self, world: World, admin: Principal) -> None:
        """TPL-4: for admins who act as such."""
        files = self.files(world)
        alice = world.as_person(world.add("alice"))
        for actor, kind in (
            (ANONYMOUS, AuthenticationFailed),
            (alice, NotAuthorized),
            (replace(admin, scopes=frozenset({Scope.READ, Scope.ENROLL})), NotAuthorized),
        ):
            failure_of(files.list(actor), kind)
            failure_of(files.get(actor, SHIPPED[0]), kind)
            failure_of(files.text(actor, SHIPPED[0], {}), kind)
            failure_of(files.render(actor, SHIPPED[0], {}, "x", "x", system=False), kind)


FILLED = {
    "common_name": "other.example.org",
    "country": "DE",
    "digest": "sha512",
    "dns_names": "other.example.org, *.example.org",
    "email": "someone@example.org",
    "ip_addresses": "192.0.2.1,2001:db8::1",
    "organization": "Acme & Söhne",
    "path_length": "1",
    "permitted_dns": "example.org, example.net",
    "serial_number": "A-1234",
    "unit": "Sensors",
}


HUGE = "9" * 5000


@pytest.mark.parametrize(
    "number",
    [HUGE, f"-{HUGE}", "1_0" * 3000, "0x" + "f" * 5000, "0b" + "1" * 20_000, f"1e{HUGE}", f"1.{HUGE}", "1e999"],
)
@pytest.mark.parametrize(
    "text",
    [
        "{{ %s }}",
        "{{ x|default(%s) }}",
        "{%% set a = %s %%}{{ a }}",
        "{%% for i in range(%s) %%}{%% endfor %%}",
        "{{ 'a'|int(%s) }}",
        "{%% if x > %s %%}{%% endif %%}",
        "{%% for i in [%s] %%}{{ i }}{%% endfor %%}",
    ],
)
def test_huge_numbers(text: str, number: str) -> None:
    """A number that Python can't write in digits is an error of the file, never a fault."""
    with contextlib.suppress(BadTemplate, MalformedRequest):
        found = JinjaText(text % number)
        found.render({one.name: "1" for one in found.variables})


@pytest.mark.parametrize("unit", ["{#", "{#-", "{# Profile type:", "{# Profile type: a" + " " * 50 + "b", "#}", "-"])
def test_comments_without_an_end(unit: str) -> None:
    """Each beginning of a comment was searched for its end: seconds for one file."""

    def read() -> None:
        with contextlib.suppress(BadTemplate):
            JinjaText(unit * (60_000 // len(unit)))

    assert cost_in_signatures(read) < BATCH


@pytest.mark.parametrize(
    ("text", "description", "kind"),
    [
        ("{# A: b. Profile type: TLS server #}", "A: b.", "TLS server"),
        ("{#- A: b.\n  Profile type:   Device  \n more -#}", "A: b. more", "Device"),
        ("{# Profile type: #}", "Profile type:", None),
        ("{#-#}{# A #}", "", None),
        ("{# A", "", None),
        ("#} {# B #}", "B", None),
    ],
)
def test_what_the_first_comment_says(text: str, description: str, kind: str | None) -> None:
    with contextlib.suppress(BadTemplate):
        found = JinjaText(text)
        assert (found.description, found.profile_type) == (description, kind)
