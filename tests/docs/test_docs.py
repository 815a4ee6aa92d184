"""The pages that are made of the code are fresh; what README names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from conftest import PROJECT
from deployment.checks import facts, rules
from deployment.specs import options
from docs import generate

TEXTS = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]


# Roles and modules whose names begin as a variable does, and the slip that README shows.
NO_VARIABLES = {"redis_sentinel", "redis_exporter", "redis_command", "redis_sentinel_down_afterms"}


@pytest.fixture
def pages(tmp_path: Path) -> list[Path]:
    """Fresh ones: variables, rules, faults."""
    assert generate.main([], tmp_path) == 0
    return [tmp_path / name for name in generate.PAGES]


def test_the_pages_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    code = generate.main(["--check"])
    assert (code, capsys.readouterr().err) == (0, "")


def test_the_page_of_the_variables(pages: list[Path]) -> None:
    text = pages[0].read_text("utf-8")
    assert "\n## Role `cache`\n\n| variable " in text
    assert (
        "| `cache_mode` | `locmem`, `standalone`, `replication`, `sentinel`, `cluster` | `standalone` | Where" in text
    )
    assert "| `redis_port` | int, 1 to 65535 | `6379` | " in text
    assert "| `redis_password` | str | required | " in text
    assert "| `redis_leader` | str | see description | " in text
    assert "| `django_app_cache_aliases` | dict | see description | " in text
    assert '| `"3.2"`, `"4.2"`, `"5.2"`, `"6.1"` | `"5.2"` | ' in text
    assert '| `redis_save` | str | `""` | ' in text
    assert "| `redis_kernel_settings` | bool | `true` | " in text


def test_a_second_run_changes_nothing(pages: list[Path]) -> None:
    before = [page.read_bytes() for page in pages]
    assert generate.main([], pages[0].parent) == 0
    assert generate.main(["--check"], pages[0].parent) == 0
    assert [page.read_bytes() for page in pages] == before


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_stale_page_is_found_and_left_alone(
    pages: list[Path], capsys: pytest.CaptureFixture[str], number: int
) -> None:
    pages[number].write_text("old", "utf-8")
    assert generate.main(["--check"], pages[0].parent) == 1
    assert f"{pages[number].name} is stale; run: make docs" in capsys.readouterr().err
    assert pages[number].read_text("utf-8") == "old"


def test_every_variable_is_on_its_page(pages: list[Path]) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", pages[0].read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(options())


def test_a_bar_in_a_description_does_not_end_its_cell() -> None:
    row = generate.table({"x": {"description": "a | b\n c", "type": "list", "elements": "str"}}).splitlines()[-1]
    assert row == "| `x` | list of str | see description | a &#124; b c |"


def test_the_rules_are_all_listed() -> None:
    page = generate.rules_page()
    for rule in (*rules.RULES, *facts.RULES):
        assert f"\n### {rule.id}\n\n{rule.text}" in page
        assert rule.link == f"docs/rules.md#{rule.id}"


def anchors(path: Path) -> set[str]:
    """What a link can point to in a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_link_within_the_project_has_an_end(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    ends = [link.partition("#") for link in links if "://" not in link]
    broken = [
        f"{path}#{anchor}"
        for path, _, anchor in ends
        if not (end := (page.parent / path if path else page)).exists() or (anchor and anchor not in anchors(end))
    ]
    assert broken == []


def test_the_table_of_commands_is_the_makefile() -> None:
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    readme = (PROJECT / "README.md").read_text("utf-8")
    explained = set(re.findall(r"^([a-z_]+):.*## ", makefile, re.MULTILINE)) - {"help", "tools", "test"}
    rows = re.findall(r"^\| (`make .*?) \|", readme, re.MULTILINE)
    assert {word for row in rows for word in re.findall(r"`make (\w+)`", row)} == explained


def test_the_hooks_before_a_commit_are_the_linters() -> None:
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    linters = makefile.partition("\nlint: ")[2].partition("\n\n")[0].splitlines()[1:]
    hooks = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == [f".venv/bin/{line.strip()}" for line in linters]


def test_every_inventory_is_in_its_table() -> None:
    readme = (PROJECT / "README.md").read_text("utf-8")
    table = readme.partition("| inventory | what it deploys |")[2].partition("\n\n")[0]
    inventories = {path.parent.name for path in (PROJECT / "inventories").glob("*/hosts.yml")}
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == inventories


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_file_of_the_project_that_is_named_exists(page: Path) -> None:
    folders = "|".join(path.name for path in PROJECT.iterdir() if path.is_dir() and path.name[0] != ".")
    named = re.findall(rf"(?<![\w/.-])(?:{folders})/[\w./*-]*\w", page.read_text("utf-8"))
    # The inventory that every example makes.
    assert [path for path in named if not path.startswith("inventories/prod") and not list(PROJECT.glob(path))] == []


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_variable_that_is_named_exists(page: Path) -> None:
    roles = "|".join(generate.specs())
    named = set(re.findall(rf"(?<![\w.:])(?:{roles})_[a-z_]*[a-z](?![\w/.])", page.read_text("utf-8")))
    assert sorted(named - set(options()) - NO_VARIABLES) == []


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_definition_that_is_named_is_in_its_file(page: Path) -> None:
    named = re.findall(r"`([\w./-]+\.py):(\w+)`", page.read_text("utf-8"))
    assert [f"{path}:{name}" for path, name in named if not is_defined(PROJECT / path, name)] == []


def is_defined(path: Path, name: str) -> bool:
    """Whether a Python file defines a function, a method, a class or a constant of that name."""
    return (
        re.search(rf"^ *(?:(?:def|class) {name}\b|{name}(?::| =))", path.read_text("utf-8"), re.MULTILINE) is not None
    )


def test_a_definition_that_is_missing_is_found() -> None:
    assert is_defined(PROJECT / "deployment" / "decisions.py", "memory_limit")
    assert not is_defined(PROJECT / "deployment" / "decisions.py", "memory")
    assert is_defined(PROJECT / "deployment" / "states.py", "ORDER")
