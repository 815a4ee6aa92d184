"""Who imports whom: one direction, no circle, and one file that touches the import path; how long tests may be."""

from __future__ import annotations

import ast
import graphlib
import sys
from pathlib import Path

import pytest

from conftest import PROJECT

# The only bridge between Ansible and the package.
BRIDGE = PROJECT / "ansible" / "plugins" / "action" / "deployment.py"
# Beside the deployment, and not on its path.
BESIDE = {"ansible", "bench", "drill", "security"}
# CONTRIBUTING.md promises that test files stay below it.
LONGEST = 500
PACKAGES = {"cachestack", "cryptography", "deployment", "jinja2", "yaml"}
# Modules know the host, which has Python and nothing else.
ON_HOSTS = [
    *sorted((PROJECT / "ansible" / "module_utils").rglob("*.py")),
    *sorted((PROJECT / "ansible" / "plugins" / "modules").glob("*.py")),
]


def imports(source: str) -> set[str]:
    """Every module that a source imports, wherever it does, and each name of it, which may be a module as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def touches_path(source: str) -> bool:
    """Whether a source changes where Python looks for modules."""
    names = {"path", "path_hooks", "meta_path"}
    nodes = list(ast.walk(ast.parse(source)))
    return any(isinstance(node, ast.Attribute) and node.attr in names and is_sys(node.value) for node in nodes) or any(
        isinstance(node, ast.ImportFrom) and node.module == "sys" and names & {alias.name for alias in node.names}
        for node in nodes
    )


def is_sys(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "sys"


def graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """By module of a package those modules of it that it imports."""
    return {name: {one for one in imports(text) if one in sources and one != name} for name, text in sources.items()}


def package(name: str) -> dict[str, str]:
    """The sources of a package by the names of its modules."""
    return {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path.read_text("utf-8")
        for path in (PROJECT / name).rglob("*.py")
    }


def test_no_circle() -> None:
    sources = package("deployment")
    assert len(sources) > 20
    order = list(graphlib.TopologicalSorter(graph(sources)).static_order())
    assert order.index("deployment.model") < order.index("deployment.states") < order.index("deployment.run")


def test_a_circle_is_found() -> None:
    sources = {"p.a": "from p import b", "p.b": "def f():\n    from p.c import x", "p.c": "import p.a"}
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph(sources)).prepare()


def test_the_package_knows_nobody_around_it() -> None:
    for name, source in package("deployment").items():
        packages = {one.partition(".")[0] for one in imports(source)}
        assert packages & BESIDE == set(), name
        assert packages - PACKAGES <= sys.stdlib_module_names, name


def test_the_audit_knows_no_ansible() -> None:
    for name, source in package("security").items():
        assert "ansible" not in {one.partition(".")[0] for one in imports(source)}, name


def test_modules_know_no_package_of_the_control_node() -> None:
    for path in ON_HOSTS:
        packages = {one.partition(".")[0] for one in imports(path.read_text("utf-8"))}
        assert packages - {"ansible"} <= sys.stdlib_module_names, path.name


def test_one_file_touches_the_import_path() -> None:
    """Programs are run as modules, from the project's folder."""
    folders = [path for path in PROJECT.iterdir() if path.is_dir() and path.name != "tests" and path.name[0] != "."]
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    assert [path for path in sources if touches_path(path.read_text("utf-8"))] == [BRIDGE]


def test_test_files_are_below_500_lines() -> None:
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in (PROJECT / "tests").rglob("*.py")}
    assert {name: lines for name, lines in lengths.items() if lines >= LONGEST} == {}


def test_tests_touch_the_import_path_in_one_place() -> None:
    tests: list[Path] = [path for path in (PROJECT / "tests").rglob("*.py") if touches_path(path.read_text("utf-8"))]
    assert tests == [PROJECT / "tests" / "conftest.py"]


@pytest.mark.parametrize(
    "source", ["import sys\nsys.path.append('x')", "from sys import path", "import sys\nsys.path[:0] = ['x']"]
)
def test_who_touches_the_import_path_is_found(source: str) -> None:
    assert touches_path(source)
    assert not touches_path("import os\nos.path.join('a', 'b')")
