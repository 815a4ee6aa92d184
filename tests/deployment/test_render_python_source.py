"""What to_python prints evaluates to what it was given, and to nothing else."""

from __future__ import annotations

import ast
import datetime
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployment.render.python_source import to_python

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
# What YAML can hold.
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=20,
)

HOSTILE = [
    "'",
    '"',
    "'''",
    "\\",
    "\\'",
    "' + __import__('os').system('true') + '",
    "REDIS_PASSWORD",
    "REDIS_PASSWORD]",
    "{{ 7 * 7 }}",
    "#",
    "a\nSECRET_KEY = 'mine'\nb",
    "\r\n\x0b\x0c\x1c\x85\u2028\u2029",
    "\x00\x1b[31m",
    "\u202e",
    "\ud800",
    "é 钥匙 🔑",
]


@given(trees)
def test_evaluates_to_an_equal_value_of_the_same_types(value: Any) -> None:
    # Of equal values repr tells True from 1 from 1.0, and 0.0 from -0.0.
    assert repr(ast.literal_eval(to_python(value))) == repr(value)


@given(trees)
def test_one_entry_a_line(value: Any) -> None:
    def lines(tree: Any) -> int:
        if not isinstance(tree, (list, dict)) or not tree:
            return 1
        return 2 + sum(map(lines, tree.values() if isinstance(tree, dict) else tree))

    assert len(to_python(value).splitlines()) == lines(value)


def test_the_layout() -> None:
    caches = {"default": {"LOCATION": ["redis://a", "redis://b"], "OPTIONS": {}, "TIMEOUT": None}, "empty": []}
    assert to_python(caches) == (
        "{\n"
        "    'default': {\n"
        "        'LOCATION': [\n"
        "            'redis://a',\n"
        "            'redis://b',\n"
        "        ],\n"
        "        'OPTIONS': {},\n"
        "        'TIMEOUT': None,\n"
        "    },\n"
        "    'empty': [],\n"
        "}"
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_text_cannot_leave_its_quotes(text: str) -> None:
    """The printed text is one expression of literals, whatever a string holds."""
    value = {text: [text, {text: text}]}
    source = to_python(value)
    assert ast.literal_eval(source) == value
    assert source.isprintable() or source.replace("\n", "").isprintable()
    (statement,) = ast.parse(f"CACHES = {source}").body
    assert isinstance(statement, ast.Assign)


@given(trees)
def test_refers_to_no_name_that_was_not_given(value: Any) -> None:
    names = {node.id for node in ast.walk(ast.parse(to_python(value))) if isinstance(node, ast.Name)}
    assert names == set()


def test_a_name_is_printed_bare_as_a_value_and_only_whole() -> None:
    names = ["PASSWORD"]
    value = {"PASSWORD": ["PASSWORD", "PASSWORD ", "xPASSWORD", "password", {"key": "PASSWORD"}]}
    evaluated = eval(to_python(value, names), {"PASSWORD": 's"ecret'})
    assert evaluated == {"PASSWORD": ['s"ecret', "PASSWORD ", "xPASSWORD", "password", {"key": 's"ecret'}]}
    assert to_python("PASSWORD", names) == "PASSWORD"
    assert to_python("PASSWORD") == "'PASSWORD'"


def test_a_tuple_becomes_a_list() -> None:
    assert ast.literal_eval(to_python({"a": (1, ("b",))})) == {"a": [1, ["b"]]}


def test_a_subclass_is_printed_as_what_it_is() -> None:
    """Ansible hands text over as its own subclasses of str."""

    class Tagged(str):
        def __repr__(self) -> str:
            return "<tagged>"

    assert to_python({Tagged("key"): Tagged("it's")}) == "{\n    'key': \"it's\",\n}"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_float_without_a_literal_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no Python literal"):
        to_python({"a": [value]})


@pytest.mark.parametrize("value", [b"bytes", {1}, datetime.date(2026, 1, 1), object(), 1j, range(3)])
def test_other_types_are_refused_by_name(value: Any) -> None:
    with pytest.raises(TypeError, match=f"type {type(value).__name__}"):
        to_python({"a": [value]})
