"""Roles in somebody's own playbook, on this machine: what they do, and that they refuse what they cannot."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_site import APP, SERVERS, Done, LocalSite
from servers import server_binary

pytestmark = pytest.mark.slow

# The distribution's package as far as the part program knows it: it is downloaded, and unpacked into a directory.
APT_GET = '[ "$1" = --simulate ] && echo "Inst redis-server (7.0)"; exit 0'
DPKG_DEB = 'mkdir -p "$3/usr/bin" && ln -sf {} "$3/usr/bin/redis-server"'


def programs(folder: Path) -> str:
    """A PATH with all programs of this machine but a Redis server, which only the package manager brings."""
    folder.mkdir()
    for name, script in {"apt-get": APT_GET, "dpkg-deb": DPKG_DEB.format(server_binary())}.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    there = {"redis-server", "valkey-server", "apt-get", "dpkg-deb"}
    for directory in filter(Path.is_dir, map(Path, os.environ["PATH"].split(":"))):
        for path in directory.iterdir():
            if path.name not in there:
                there.add(path.name)
                (folder / path.name).symlink_to(path)
    return str(folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    """Hosts without a server, in mode sentinel, and a playbook that names roles for those of Redis."""
    one = LocalSite(tmp_path_factory.mktemp("own"), redis_server_bin="")
    plays = [{"hosts": "redis:redis_sentinel", "gather_facts": False, "roles": ["cache", "redis", "redis_sentinel"]}]
    (one.folder / "own.yml").write_text(json.dumps(plays), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", programs(one.folder / "bin"))
        try:
            yield one
        finally:
            one.end()


def play(site: LocalSite, *arguments: str) -> Done:
    return site.play(str(site.folder / "own.yml"), *arguments)


def test_the_roles_install_and_apply(site: LocalSite) -> None:
    done = play(site)
    assert not done.failed, done.output
    assert "TASK [redis : Find a server, or download one]" in done.output
    roles = site.roles()
    assert [roles[name].redis("ROLE")[0] for name in ("leader", "replica", "other")] == ["master", "slave", "slave"]
    for name in SERVERS:
        assert len(site.host(name).sentinel("SENTINEL", "SENTINELS", "mymaster")) == 2
    # Nothing of Redis is left to do for site.yml.
    assert list(site.plan()["hosts"]) == [APP]


def test_they_change_what_needs_no_restart(site: LocalSite) -> None:
    done = play(site, "-e", "redis_maxmemory=65mb")
    assert not done.failed, done.output
    limits = [site.host(name).redis("CONFIG", "GET", "maxmemory")[1] for name in SERVERS]
    assert limits == [str(65 * 1024 * 1024)] * 3


def test_they_refuse_what_needs_a_restart(site: LocalSite) -> None:
    done = play(site, "-e", json.dumps({"redis_maxmemory": "66mb", "redis_config": {"databases": 32}}))
    said = " ".join(done.output.split())
    assert "The role redis installs and applies, and this run also has to restart servers one at a time: import" in said
    assert done.failed
    assert set(done.changed.values()) == {0}, done.output
    for name in SERVERS:
        assert site.host(name).redis("CONFIG", "GET", "databases", "maxmemory") == [
            "databases",
            "16",
            "maxmemory",
            str(65 * 1024 * 1024),
        ]
