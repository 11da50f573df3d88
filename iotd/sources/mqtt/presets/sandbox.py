"""Templates in Jinja, followed without trust: none can reach anything, or take long, or much memory.

They come with messages that whoever reaches the broker can send. So there are no loops and no macros, a chosen
few filters, tests and methods, and no operator that lets a short template make something large. What is left
takes time and memory in proportion to the template's length times the payload's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson
from jinja2 import TemplateError, Undefined, UndefinedError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from iotd.sources.mqtt.presets.payloads import LONGEST_RESULT, LONGEST_TEXT, Payload, Template, refused

_DEEPEST = 40
_MOST_BITS = 256

_FILTERS = frozenset(
    {"abs", "add", "bitwise_and", "bitwise_or", "bool", "capitalize", "d", "default", "first", "float", "from_json"}
    | {"iif", "int", "is_defined", "is_number", "last", "length", "lower", "multiply", "round", "string", "title"}
    | {"trim", "upper"}
)
_TESTS = frozenset(
    {"boolean", "defined", "eq", "equalto", "even", "false", "float", "ge", "gt", "in", "integer", "is_number", "le"}
    | {"lt", "mapping", "ne", "none", "number", "odd", "sequence", "string", "true", "undefined"}
)
_FUNCTIONS = frozenset({"bool", "float", "iif", "int", "is_number"})
_METHODS = frozenset({"endswith", "get", "lower", "split", "startswith", "strip", "upper"})
"""Of texts and tables: what they give is no larger than what they are given."""
_NODES = frozenset(
    {"Add", "And", "Assign", "Call", "Compare", "Concat", "CondExpr", "Const", "Dict", "Div", "Filter", "FloorDiv"}
    | {"Getattr", "Getitem", "If", "Keyword", "List", "Mod", "Mul", "Name", "Neg", "Not", "Operand", "Or", "Output"}
    | {"Pair", "Pos", "Slice", "Sub", "Template", "TemplateData", "Test", "Tuple"}
)
_TRUE = ("1", "true", "yes", "on", "enable")
_FALSE = ("0", "false", "no", "off", "disable")


def rendered(text: str) -> Template:
    """See :func:`iotd.sources.mqtt.presets.templates.template_of`."""
    try:
        environment = _environment()
        tree = environment.parse(text)
        _check(tree, 0, _assigns(tree))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Python's own compiler warns of what can't work
            compiled = environment.from_string(tree)
    except _NotFollowed as e:
        raise refused(text, str(e)) from None
    except (TemplateError, RecursionError, ValueError, TypeError, SyntaxError, MemoryError, OverflowError) as e:
        raise refused(text, str(e) or type(e).__name__) from None

    def render(payload: Payload) -> object:
        if len(payload.text) > LONGEST_TEXT:
            raise refused(text, f"the payload has more than {LONGEST_TEXT} characters")
        known = {"value": payload.text}
        if payload.json is not None:
            known["value_json"] = payload.json
        try:
            return compiled.render(known).strip()[:LONGEST_RESULT] or None
        except (_Missing, UndefinedError):
            return None
        except Exception as e:  # a template may raise whatever an expression of Python can
            raise refused(text, str(e) or type(e).__name__) from None

    return render


class _NotFollowed(Exception):
    """A template uses what is not followed."""


class _Missing(Exception):
    """What has to be there for a template to say something is not (`is_defined`)."""


def _assigns(tree: nodes.Template) -> bool:
    return next(tree.find_all(nodes.Assign), None) is not None


def _check(node: nodes.Node, depth: int, assigns: bool) -> None:
    """
    Args:
        assigns: the template sets names: nothing that grows may be made, or it could double with every one.
    """
    kind = type(node).__name__
    if depth > _DEEPEST:
        raise _NotFollowed("it is nested too deeply")
    if kind not in _NODES or (assigns and kind == "Concat"):
        raise _NotFollowed(f"{kind} is not followed")
    if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
        raise _NotFollowed(f"there is no filter {node.name}")
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        raise _NotFollowed(f"there is no test {node.name}")
    if isinstance(node, nodes.Call) and not (
        (isinstance(node.node, nodes.Name) and node.node.name in _FUNCTIONS)
        or (isinstance(node.node, nodes.Getattr) and node.node.attr in _METHODS)
    ):
        raise _NotFollowed("it calls what is not followed")
    if isinstance(node, nodes.Filter | nodes.Test | nodes.Call) and (node.dyn_args or node.dyn_kwargs):
        raise _NotFollowed("it calls with * or **")
    if isinstance(node, nodes.List | nodes.Tuple | nodes.Dict):
        _check_constant(node)
    for child in node.iter_child_nodes():
        _check(child, depth + 1, assigns)


def _check_constant(node: nodes.Node) -> None:
    for child in node.iter_child_nodes():
        if not isinstance(child, nodes.Const | nodes.Pair | nodes.Neg):
            raise _NotFollowed("a list or table holds more than constants")
        _check_constant(child)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    class Bounded(ImmutableSandboxedEnvironment):
        """Operators with bounds; those that are intercepted are not worked out while a template is compiled."""

        intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if isinstance(left, str) and isinstance(right, str) and operator == "+":
                if len(left) + len(right) > LONGEST_TEXT:
                    raise _NotFollowed("it makes a text that is too long")
                return left + right
            return super().call_binop(context, operator, _number(left), _number(right))

    environment = Bounded(autoescape=False, cache_size=0)
    environment.globals = {}
    environment.tests["is_number"] = _is_number

    def is_defined(value: object) -> object:
        if isinstance(value, Undefined):
            raise _Missing
        return value

    own: Mapping[str, Callable[..., Any]] = {
        "add": lambda value, amount, default=_MISSING: _arithmetic(value, default, lambda n: n + _to_float(amount)),
        "bitwise_and": lambda a, b: _bits(a) & _bits(b),
        "bitwise_or": lambda a, b: _bits(a) | _bits(b),
        "bool": _bool,
        "float": lambda value, default=_MISSING: _arithmetic(value, default, lambda n: n),
        "from_json": _from_json,
        "iif": _iif,
        "int": _int,
        "is_defined": is_defined,
        "is_number": _is_number,
        "multiply": lambda value, amount, default=_MISSING: _arithmetic(
            value, default, lambda n: n * _to_float(amount)
        ),
        "round": _round,
    }
    environment.filters = {name: one for name, one in environment.filters.items() if name in _FILTERS} | dict(own)
    environment.globals.update({name: own[name] for name in _FUNCTIONS})
    return environment


# ── what templates call, as Home Assistant has it ──

_MISSING: Any = object()


def _number(value: Any) -> Any:
    """A number that may be reckoned with."""
    _there(value)
    if not isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} {value!s:.40} is no number")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise _NotFollowed("it makes a number that is too large")
    return value


def _there(value: Any) -> None:
    if value is None or isinstance(value, Undefined):  # what is not there is no 0, whatever the template's default is
        raise _Missing


def _to_float(value: Any) -> float:
    _there(value)
    if isinstance(value, str | int | float):
        return float(value)
    raise ValueError(f"{type(value).__name__} is no number")


def _arithmetic(value: Any, default: Any, reckon: Callable[[float], float]) -> Any:
    try:
        return reckon(_to_float(value))
    except (ValueError, OverflowError):
        if default is _MISSING:
            raise
        return default


def _int(value: Any, default: Any = _MISSING, base: Any = 10) -> Any:
    try:
        if isinstance(value, str) and base != 10:
            return int(value[:100], base)
        return int(_to_float(value))
    except (ValueError, OverflowError):
        if default is _MISSING:
            raise
        return default


def _round(value: Any, precision: Any = 0, method: Any = "common", default: Any = _MISSING) -> Any:
    try:
        number, digits = _to_float(value), int(_to_float(precision))
        if method in ("ceil", "floor"):
            factor = 10.0**digits
            number = (math.ceil if method == "ceil" else math.floor)(number * factor) / factor
        elif method == "half":
            number = round(number * 2) / 2
        else:
            number = round(number, digits)
        return int(number) if digits == 0 else number
    except (ValueError, OverflowError):
        if default is _MISSING:
            raise
        return default


def _bool(value: Any, default: Any = _MISSING) -> Any:
    if isinstance(value, bool | int | float):
        return bool(value)
    if isinstance(value, str) and (word := value.strip().lower()) in (*_TRUE, *_FALSE):
        return word in _TRUE
    if default is _MISSING:
        raise ValueError(f"{value!s:.40} is no boolean")
    return default


def _bits(value: Any) -> int:
    return int(_number(_int(value)))


def _iif(value: Any, if_true: Any = True, if_false: Any = False, if_none: Any = _MISSING) -> Any:
    if value is None and if_none is not _MISSING:
        return if_none
    return if_true if bool(value) else if_false


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(_to_float(value))
    except (ValueError, OverflowError):
        return False


def _from_json(value: Any, default: Any = _MISSING) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        if default is _MISSING:
            raise
        return default
