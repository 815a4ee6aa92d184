"""The README's tables of variables are those of the roles, and the list of rules is that of the preflight."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import PROJECT

# Not a package: a script that lies beside what it documents.
generate = SimpleNamespace(**runpy.run_path(str(PROJECT / "docs" / "generate.py"), run_name="generate"))


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    """A README whose tables are fresh."""
    path = tmp_path / "README.md"
    path.write_text(f"above\n{generate.START}\n{generate.END}\nbelow\n", "utf-8")
    assert generate.main([], path) == 0
    return path


def test_the_readme_is_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    code = generate.main(["--check"])
    assert (code, capsys.readouterr().err) == (0, "")


def test_the_tables_go_between_the_markers(readme: Path) -> None:
    text = readme.read_text("utf-8")
    assert text.startswith(f"above\n{generate.START}\n\n### Role `cache`\n\n| variable ")
    assert text.endswith(f"|\n\n{generate.END}\nbelow\n")
    assert (
        "| `cache_mode` | `locmem`, `standalone`, `replication`, `sentinel`, `cluster` | `standalone` | Where" in text
    )
    assert "| `redis_port` | int | `6379` | " in text
    assert "| `redis_password` | str | required | " in text
    assert "| `redis_leader` | str | see description | " in text
    assert "| `django_app_cache_aliases` | dict | see description | " in text
    assert '| `"3.2"`, `"4.2"`, `"5.2"`, `"6.1"` | `"5.2"` | ' in text
    assert '| `redis_save` | str | `""` | ' in text
    assert "| `redis_kernel_settings` | bool | `true` | " in text


def test_a_second_run_changes_nothing(readme: Path) -> None:
    before = readme.read_bytes()
    assert generate.main([], readme) == 0
    assert generate.main(["--check"], readme) == 0
    assert readme.read_bytes() == before


def test_stale_tables_are_found_and_left_alone(readme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = readme.read_text("utf-8").replace("6379", "6380")
    readme.write_text(stale, "utf-8")
    assert generate.main(["--check"], readme) == 1
    assert "python docs/generate.py" in capsys.readouterr().err
    assert readme.read_text("utf-8") == stale


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- variables:start -->",
        "<!-- variables:end --> <!-- variables:start -->",
        "<!-- variables:start -->\n" * 2,
    ],
)
def test_a_readme_without_the_markers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text, "utf-8")
    assert generate.main([], path) == 2
    assert "<!-- variables:" in capsys.readouterr().err
    assert path.read_text("utf-8") == text


def test_a_missing_readme_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"], tmp_path / "README.md") == 2
    assert "README.md" in capsys.readouterr().err


def test_a_variable_that_a_role_does_not_have_is_named(tmp_path: Path) -> None:
    meta = tmp_path / "service" / "meta"
    meta.mkdir(parents=True)
    (meta / "argument_specs.yml").write_text("argument_specs: {main: {options: {service_dir: {type: path}}}}")
    with pytest.raises(generate.DocsError, match="service_manager"):
        generate.specs(tmp_path)


def test_a_bar_in_a_description_does_not_end_its_cell() -> None:
    row = generate.table({"x": {"description": "a | b\n c", "type": "list", "elements": "str"}}).splitlines()[-1]
    assert row == "| `x` | list of str | see description | a &#124; b c |"


def test_the_rules_are_all_listed() -> None:
    page = generate.rules_page()
    for rule in (*generate.rules.RULES, *generate.facts.RULES):
        assert f"\n### {rule.id}\n\n{rule.text}" in page
        assert rule.link == f"docs/rules.md#{rule.id}"


def test_a_stale_list_of_rules_is_found(tmp_path: Path, readme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "rules.md"
    assert generate.main([], readme, page) == 0
    assert generate.main(["--check"], readme, page) == 0
    page.write_text("old", "utf-8")
    assert generate.main(["--check"], readme, page) == 1
    assert "rules.md is stale" in capsys.readouterr().err
