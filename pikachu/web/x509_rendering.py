"""Render ``*.cnf.j2``: a subset of Jinja in its sandbox, with bounds on work and size (TPL-4).

The permitted subset is listed here: text, variables, ``default`` and a few more filters, ``if``, ``for``, ``set``.
Other files, Python's objects, and unbounded loops or texts are out of reach.

Values are user input, so they can't be more than values: one line each, and what OpenSSL's syntax would read as a
comment, quotation, continuation, section or variable is escaped.
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
from pikachu.core.number_parsing import parse_number
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
    """A validated template.

    :ivar variables: in the order of their first use.
    :ivar description: the first comment, without the profile type.
    :ivar profile_type: the text after ``Profile type:`` there.
    :raises BadTemplate: with the line of the error.
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
            # Compile now, so that an error is reported before anybody fills in a form.
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
        """Return the text with *values*; missing ones have their defaults.

        :raises MalformedRequest: a value is unknown, missing or invalid.
        :raises BadTemplate: the template fails with these values.
        """
        known = {variable.name: variable for variable in self.variables}
        for name in values:
            if name not in known:
                raise MalformedRequest(f"there is no variable {name[:64]!r}; there are {', '.join(known) or 'none'}")
        overrides = {
            name: _value(variable, values[name])
            for name, variable in known.items()
            if name in values and values[name] != variable.default
        }
        for name, variable in known.items():
            if name not in overrides and variable.default is None:
                raise MalformedRequest(f"{name} has no default; give it a value")
        environment = _Environment()
        tree = environment.parse(self._source)
        defaults = {name: value for name, (value, is_set) in _constants(tree).items() if not is_set}
        template = _compile(environment, tree, overrides)
        try:
            return _bounded(template.generate({**defaults, **overrides}))
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            line = _line(error.__traceback__)
            message = str(error).splitlines()[0] if str(error) else "it fails with these values"
            raise BadTemplate(line, message) from None


def _about(source: str) -> tuple[str, str | None]:
    """Return the description in the first comment of a template, and the type after ``Profile type:``."""
    start = source.find("{#")
    end = source.find("#}", start + 2)
    if start < 0 or end < 0:
        return "", None
    comment = source[start + 2 : end].removeprefix("-").removesuffix("-")
    kind = _TYPE.search(comment)
    return " ".join(_TYPE.sub("", comment).split()), None if kind is None else kind[1].rstrip()


def _bounded(pieces: Iterator[str]) -> str:
    output: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _MAXIMUM_TEXT:
            raise ValueError(f"the text becomes longer than {_MAXIMUM_TEXT // 1024} KiB")
        output.append(piece)
    return "".join(output)


def _line(traceback: TracebackType | None) -> int:
    """Return the line of the template where it failed, from the traceback that Jinja has rewritten."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _FILE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


# --- permitted subset --------------------------------------------------------------------------


class _Environment(SandboxedEnvironment):
    """The Jinja environment of one rendering."""

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
        """Add and subtract numbers, and concatenate texts."""
        if isinstance(left, str) and isinstance(right, str) and operator == "+":
            return _join((left, right))
        if isinstance(left, int) and isinstance(right, int):
            return left + right if operator == "+" else left - right
        raise TypeError(f"{operator} is for two numbers or two texts")

    def _counted(self, items: Iterable[object]) -> Iterator[object]:
        """Yield the items of a loop, up to the limit of steps."""
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
    """Split a text into its items, stripped and without empty ones."""
    return [item for one in _scalar(value).split(separator) if (item := one.strip())]


def _join(items: Iterable[object], separator: str = "") -> str:
    strings = [_scalar(part) for part in items]
    if sum(map(len, strings)) + len(strings) * len(separator) > _MAXIMUM_TEXT:
        raise ValueError(f"a text becomes longer than {_MAXIMUM_TEXT // 1024} KiB")
    return separator.join(strings)


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > _MAXIMUM_STEPS:
        raise ValueError(f"the range has more than {_MAXIMUM_STEPS} numbers")
    return numbers


def _check(node: nodes.Node, *, within_loop: bool) -> None:
    """Check that the template stays within the permitted subset.

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
        function = node.node
        method = isinstance(function, nodes.Getattr) and function.attr in _METHODS
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            refuse("a call with * or **")
        if not method and not (isinstance(function, nodes.Name) and function.name == "range"):
            refuse("this call")
        if method:
            assert isinstance(function, nodes.Getattr)  # noqa: S101 - checked above
            for part in (function.node, *node.args, *node.kwargs):
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
        # Jinja would compile infinity to an undefined name.
        if node.value == math.inf:
            refuse("a number of this size")
    elif type(node) not in _PLAIN:
        refuse(type(node).__name__)
    for child in node.iter_child_nodes():
        _check(child, within_loop=within_loop)


class _Rewriting(NodeTransformer):
    """Counts loops, bounds ``~``, and overrides variables that the template sets itself with the values of the form.

    :param overrides: values by name; each replaces the first top-level ``set`` of its name.
    """

    def __init__(self, overrides: Mapping[str, object]) -> None:
        self._overrides = dict(overrides)

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "counted", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802 - as above
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes, lineno=node.lineno), "join", [], [], None, None, lineno=node.lineno)

    def visit_Template(self, node: nodes.Template) -> nodes.Template:  # noqa: N802 - as above
        for child in node.body:
            name = _set_name(child)
            if name in self._overrides:
                assert isinstance(child, nodes.Assign)  # noqa: S101 - it has a name
                child.node = nodes.Const(self._overrides.pop(name), lineno=child.lineno)
        self.generic_visit(node)
        return node


def _set_name(node: nodes.Node) -> str:
    """Return the name that ``{% set name = "constant" %}`` sets; empty for anything else."""
    if isinstance(node, nodes.Assign) and isinstance(node.node, nodes.Const) and isinstance(node.target, nodes.Name):
        return node.target.name
    return ""


def _compile(environment: _Environment, tree: nodes.Template, overrides: Mapping[str, object]) -> Any:
    rewritten = _Rewriting(overrides).visit(tree)
    rewritten.set_environment(environment)
    code = environment.compile(rewritten, name=_FILE, filename=_FILE)
    return environment.template_class.from_code(environment, code, dict(environment.globals))


# --- variables ---------------------------------------------------------------------------------


def _constants(tree: nodes.Template) -> dict[str, tuple[object, bool]]:
    """Return name → (default, whether the template sets it itself) of every variable that has one."""
    undeclared = meta.find_undeclared_variables(tree)
    constants: dict[str, tuple[object, bool]] = {}
    for child in tree.body:
        name = _set_name(child)
        if name and name not in undeclared and name not in constants:
            assert isinstance(child, nodes.Assign)  # noqa: S101 - it has a name
            assert isinstance(child.node, nodes.Const)  # noqa: S101 - as above
            constants[name] = (child.node.value, True)
    for use in tree.find_all(nodes.Filter):
        variable = use.node
        if use.name in ("default", "d") and isinstance(variable, nodes.Name) and variable.name in undeclared:
            default: object = ""
            if use.args:
                if not isinstance(use.args[0], nodes.Const):
                    continue
                default = use.args[0].value
            constants.setdefault(variable.name, (default, False))
    return constants


def _variables(tree: nodes.Template) -> tuple[Variable, ...]:
    defaults = _constants(tree)
    names = (meta.find_undeclared_variables(tree) | set(defaults)) - {"range"}
    order = dict.fromkeys(name.name for name in tree.find_all(nodes.Name) if name.name in names)
    return tuple(_variable(name, defaults.get(name, (None, False))[0]) for name in order)


def _variable(name: str, default: object) -> Variable:
    if isinstance(default, bool):
        return Variable(name, VariableKind.FLAG, "true" if default else "false")
    if isinstance(default, int):
        return Variable(name, VariableKind.NUMBER, str(default))
    return Variable(name, VariableKind.TEXT, None if default is None else str(default))


def _value(variable: Variable, text: str) -> object:
    """Convert a user's input to a value that is harmless wherever the template puts it."""
    text = text.strip()
    if len(text) > MAXIMUM_VALUE:
        raise MalformedRequest(f"{variable.name} is longer than {MAXIMUM_VALUE} characters")
    # Line and paragraph separators, direction marks and control characters are not printable.
    if not text.isprintable():
        raise MalformedRequest(f"{variable.name} holds a control character or a line break; write it on one line")
    if variable.kind is VariableKind.FLAG:
        if text not in ("true", "false"):
            raise MalformedRequest(f"{variable.name} is true or false")
        return text == "true"
    if variable.kind is VariableKind.NUMBER:
        number = parse_number(text.removeprefix("-"))
        if number is None:
            raise MalformedRequest(f"{variable.name} is a whole number")
        return -number if text.startswith("-") else number
    return _NEEDS_ESCAPE.sub(lambda match: "\\" + match[0], text)
