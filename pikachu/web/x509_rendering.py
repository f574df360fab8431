"""Renders ``*.cnf.j2``: a small part of Jinja's language, in its sandbox, with bounds on work and size (TPL-4).

What a template may say is listed here: text, variables, ``default`` and a few more filters, ``if``, ``for``, ``set``.
There is no way to another file, to Python's objects, or to a loop or a text without end.

Values are typed by people, so they can't be more than values: one line each, and what OpenSSL's syntax would read as
a comment, quotation, continuation, section or variable is escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final

from jinja2 import TemplateError, TemplateSyntaxError, Undefined, meta, nodes
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from pikachu.core.errors import BadTemplate, MalformedRequest
from pikachu.inventory.template_files import MAXIMUM_SOURCE, Variable, VariableKind
from pikachu.x509.template import VARIABLES

MAXIMUM_VARIABLES: Final = 64
MAXIMUM_VALUE: Final = 1024
_MAXIMUM_TEXT: Final = 64 * 1024
_MAXIMUM_STEPS: Final = 2000

_METHODS: Final = ("split", "strip", "lower", "upper", "startswith", "endswith")
_LOOP: Final = ("index", "index0", "first", "last", "length")
_TESTS: Final = ("defined", "undefined", "none", "eq", "equalto", "ne", "in", "odd", "even", "string", "number")
_PLAIN: Final = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.Assign),
    *(
        nodes.Compare,
        nodes.Operand,
        nodes.And,
        nodes.Or,
        nodes.Not,
        nodes.Concat,
        nodes.CondExpr,
        nodes.Add,
        nodes.Sub,
        nodes.Keyword,
    ),
)
_NEEDS_ESCAPE: Final = re.compile(r"""[\\#"'`\[]|\$(?!\{(?:""" + "|".join(VARIABLES) + r")\})")
_TYPE: Final = re.compile(r"\bProfile type:\s*+([^\n]+)", re.IGNORECASE)
_FILE: Final = "<x509 template>"


class JinjaText:
    """A template that was found right.

    :ivar variables: in the order in which they first stand.
    :ivar description: what the first comment says, without the profile type.
    :ivar profile_type: what stands there after ``Profile type:``.
    :raises BadTemplate: with the line of the template that is wrong.
    """

    def __init__(self, source: str) -> None:
        if len(source.encode("utf-8", "surrogatepass")) > MAXIMUM_SOURCE:
            raise BadTemplate(0, f"the file is longer than {MAXIMUM_SOURCE // 1024} KiB")
        self._source = source
        self.description, self.profile_type = _about(source)
        try:
            tree = _Environment().parse(source)
            _check(tree, within_loop=False)
            self.variables = _variables(tree)
            # It is compiled now, so that what is wrong in it is found before anybody fills in a form.
            _compile(_Environment(), tree, {})
        except TemplateSyntaxError as error:
            raise BadTemplate(error.lineno, error.message or "it is not Jinja") from None
        except (RecursionError, MemoryError, SyntaxError):
            raise BadTemplate(0, "it is nested too deep") from None
        except ValueError:
            raise BadTemplate(0, "it holds a number of too many digits") from None
        if len(self.variables) > MAXIMUM_VARIABLES:
            raise BadTemplate(0, f"it has more than {MAXIMUM_VARIABLES} variables")

    def render(self, values: Mapping[str, str]) -> str:
        """The text with *values*; what is not there has its default.

        :raises MalformedRequest: a value that there is no variable for, that is missing, or that can't be one.
        :raises BadTemplate: the template does not work with these values.
        """
        known = {variable.name: variable for variable in self.variables}
        for name in values:
            if name not in known:
                raise MalformedRequest(f"there is no variable {name[:64]!r}; there are {', '.join(known) or 'none'}")
        given = {
            name: _value(variable, values[name])
            for name, variable in known.items()
            if name in values and values[name] != variable.default
        }
        for name, variable in known.items():
            if name not in given and variable.default is None:
                raise MalformedRequest(f"{name} has no default; give it a value")
        environment = _Environment()
        tree = environment.parse(self._source)
        defaults = {name: value for name, (value, is_set) in _constants(tree).items() if not is_set}
        template = _compile(environment, tree, given)
        try:
            return _bounded(template.generate({**defaults, **given}))
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            line = _line(error.__traceback__)
            message = str(error).splitlines()[0] if str(error) else "it fails with these values"
            raise BadTemplate(line, message) from None


def _about(source: str) -> tuple[str, str | None]:
    """What the first comment of a template says of it: a description, and after ``Profile type:`` the type."""
    start = source.find("{#")
    end = source.find("#}", start + 2)
    if start < 0 or end < 0:
        return "", None
    comment = source[start + 2 : end].removeprefix("-").removesuffix("-")
    kind = _TYPE.search(comment)
    return " ".join(_TYPE.sub("", comment).split()), None if kind is None else kind[1].rstrip()


def _bounded(pieces: Iterator[str]) -> str:
    found: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _MAXIMUM_TEXT:
            raise ValueError(f"the text becomes longer than {_MAXIMUM_TEXT // 1024} KiB")
        found.append(piece)
    return "".join(found)


def _line(traceback: TracebackType | None) -> int:
    """The line of the template where something failed, as Jinja has rewritten the traceback."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _FILE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


# --- the language ------------------------------------------------------------------------------


class _Environment(SandboxedEnvironment):
    """Jinja for one rendering."""

    intercepted_binops = frozenset({"+", "-"})

    def __init__(self) -> None:
        super().__init__(
            autoescape=False, optimized=False, keep_trailing_newline=True, cache_size=0, finalize=_finalized
        )
        self._steps = 0
        self.filters = {
            "default": _default,
            "d": _default,
            "lower": lambda value: _scalar(value).lower(),
            "upper": lambda value: _scalar(value).upper(),
            "trim": lambda value: _scalar(value).strip(),
            "split": _split,
            "join": _join,
            "length": len,
            "int": lambda value: int(_scalar(value)),
            "counted": self._counted,
        }
        self.tests = {name: self.tests[name] for name in _TESTS}
        self.globals = {"range": _range}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Addition and subtraction of numbers, and texts one after the other."""
        if isinstance(left, str) and isinstance(right, str) and operator == "+":
            return _join((left, right))
        if isinstance(left, int) and isinstance(right, int):
            return left + right if operator == "+" else left - right
        raise TypeError(f"{operator} is for two numbers or two texts")

    def _counted(self, items: Iterable[object]) -> Iterator[object]:
        """What a loop goes through, as long as it does not go on for too long."""
        if isinstance(items, Undefined):
            raise TypeError("the loop is over a variable that is not there")
        for item in items:
            self._steps += 1
            if self._steps > _MAXIMUM_STEPS:
                raise ValueError(f"the loops have more than {_MAXIMUM_STEPS} steps")
            yield item


def _scalar(value: object) -> str:
    if isinstance(value, Undefined):
        raise TypeError(f"the variable {value._undefined_name!r} is not there")
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str | int):
        return str(value)
    raise TypeError("a list or nothing stands where a text belongs")


def _finalized(value: object) -> str:
    return _scalar(value)


def _default(value: object, default: object = "", boolean: bool = False) -> object:
    return default if isinstance(value, Undefined) or (boolean and not value) else value


def _split(value: object, separator: str = ",") -> list[str]:
    """The parts of a text without spaces around them, and without empty ones."""
    return [part for one in _scalar(value).split(separator) if (part := one.strip())]


def _join(parts: Iterable[object], separator: str = "") -> str:
    texts = [_scalar(part) for part in parts]
    if sum(map(len, texts)) + len(texts) * len(separator) > _MAXIMUM_TEXT:
        raise ValueError(f"a text becomes longer than {_MAXIMUM_TEXT // 1024} KiB")
    return separator.join(texts)


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > _MAXIMUM_STEPS:
        raise ValueError(f"the range has more than {_MAXIMUM_STEPS} numbers")
    return found


def _check(node: nodes.Node, *, within_loop: bool) -> None:
    """That the template says only what it may.

    :raises TemplateSyntaxError: with the line.
    """

    def refuse(what: str) -> None:
        raise TemplateSyntaxError(f"{what} can't be used in these templates", node.lineno)

    if isinstance(node, nodes.For):
        within_loop = True
        if node.recursive:
            refuse("a recursive loop")
    elif isinstance(node, nodes.List | nodes.Tuple):
        if not all(isinstance(item, nodes.Const) for item in node.items):
            refuse("a list of anything but texts and numbers")
    elif isinstance(node, nodes.Filter):
        if node.name == "counted" or node.name not in _Environment().filters or node.node is None:
            refuse(f"the filter {node.name}")
    elif isinstance(node, nodes.Test):
        if node.name not in _TESTS:
            refuse(f"the test {node.name}")
    elif isinstance(node, nodes.Call):
        called = node.node
        method = isinstance(called, nodes.Getattr) and called.attr in _METHODS
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            refuse("a call with * or **")
        if not method and not (isinstance(called, nodes.Name) and called.name == "range"):
            refuse("this call")
        if method:
            assert isinstance(called, nodes.Getattr)  # noqa: S101 - seen above
            for part in (called.node, *node.args, *node.kwargs):
                _check(part, within_loop=within_loop)
            return
    elif isinstance(node, nodes.Getattr):
        loop = within_loop and isinstance(node.node, nodes.Name) and node.node.name == "loop"
        if not loop or node.attr not in _LOOP:
            refuse(f"the attribute {node.attr}")
    elif isinstance(node, nodes.Assign):
        if not isinstance(node.target, nodes.Name):
            refuse("setting several variables at once")
    elif isinstance(node, nodes.Const):
        # Jinja would compile infinity to a name that does not exist.
        if node.value == math.inf:
            refuse("a number of this size")
    elif type(node) not in _PLAIN:
        refuse(type(node).__name__)
    for child in node.iter_child_nodes():
        _check(child, within_loop=within_loop)


class _Rewriting(NodeTransformer):
    """Counts loops, bounds ``~``, and gives variables that the template sets itself the values of the form.

    :param given: values by name; a name is set by the first ``set`` of it outside of blocks.
    """

    def __init__(self, given: Mapping[str, object]) -> None:
        self._given = dict(given)

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - Jinja's way of naming
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "counted", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802 - as above
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes, lineno=node.lineno), "join", [], [], None, None, lineno=node.lineno)

    def visit_Template(self, node: nodes.Template) -> nodes.Template:  # noqa: N802 - as above
        for child in node.body:
            name = _set_name(child)
            if name in self._given:
                assert isinstance(child, nodes.Assign)  # noqa: S101 - it has a name
                child.node = nodes.Const(self._given.pop(name), lineno=child.lineno)
        self.generic_visit(node)
        return node


def _set_name(node: nodes.Node) -> str:
    """The name that ``{% set name = "constant" %}`` sets; empty for anything else."""
    if isinstance(node, nodes.Assign) and isinstance(node.node, nodes.Const) and isinstance(node.target, nodes.Name):
        return node.target.name
    return ""


def _compile(environment: _Environment, tree: nodes.Template, given: Mapping[str, object]) -> Any:
    rewritten = _Rewriting(given).visit(tree)
    rewritten.set_environment(environment)
    code = environment.compile(rewritten, name=_FILE, filename=_FILE)
    return environment.template_class.from_code(environment, code, dict(environment.globals))


# --- variables ---------------------------------------------------------------------------------


def _constants(tree: nodes.Template) -> dict[str, tuple[object, bool]]:
    """name → (default, whether the template sets it itself) of every variable that has one."""
    wanted = meta.find_undeclared_variables(tree)
    found: dict[str, tuple[object, bool]] = {}
    for child in tree.body:
        name = _set_name(child)
        if name and name not in wanted and name not in found:
            assert isinstance(child, nodes.Assign)  # noqa: S101 - it has a name
            assert isinstance(child.node, nodes.Const)  # noqa: S101 - as above
            found[name] = (child.node.value, True)
    for use in tree.find_all(nodes.Filter):
        variable = use.node
        if use.name in ("default", "d") and isinstance(variable, nodes.Name) and variable.name in wanted:
            default: object = ""
            if use.args:
                if not isinstance(use.args[0], nodes.Const):
                    continue
                default = use.args[0].value
            found.setdefault(variable.name, (default, False))
    return found


def _variables(tree: nodes.Template) -> tuple[Variable, ...]:
    defaults = _constants(tree)
    wanted = (meta.find_undeclared_variables(tree) | set(defaults)) - {"range"}
    order = dict.fromkeys(name.name for name in tree.find_all(nodes.Name) if name.name in wanted)
    return tuple(_variable(name, defaults.get(name, (None, False))[0]) for name in order)


def _variable(name: str, default: object) -> Variable:
    if isinstance(default, bool):
        return Variable(name, VariableKind.FLAG, "true" if default else "false")
    if isinstance(default, int):
        return Variable(name, VariableKind.NUMBER, str(default))
    return Variable(name, VariableKind.TEXT, None if default is None else str(default))


def _value(variable: Variable, text: str) -> object:
    """The value that somebody typed, harmless wherever the template puts it."""
    text = text.strip()
    if len(text) > MAXIMUM_VALUE:
        raise MalformedRequest(f"{variable.name} is longer than {MAXIMUM_VALUE} characters")
    # Line and paragraph separators, direction marks and control characters are none of them printable.
    if not text.isprintable():
        raise MalformedRequest(f"{variable.name} holds a control character or a line break; write it on one line")
    if variable.kind is VariableKind.FLAG:
        if text not in ("true", "false"):
            raise MalformedRequest(f"{variable.name} is true or false")
        return text == "true"
    if variable.kind is VariableKind.NUMBER:
        if not re.fullmatch("-?[0-9]{1,9}", text):
            raise MalformedRequest(f"{variable.name} is a whole number")
        return int(text)
    return _NEEDS_ESCAPE.sub(lambda found: "\\" + found[0], text)
