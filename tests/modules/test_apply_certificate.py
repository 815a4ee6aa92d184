"""The part certificate: what a server serves, and what its file has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host import certificate as module
from ansible.module_utils.host.certificate import certificate as certificate_part
from ansible.module_utils.host.run import Run
from ansible.module_utils.redis_client import quote

from conftest import Certificate, Listen
from parts import PASSWORD, apply, connection, refused
from servers import RedisServer, RedisServerFactory, free_port


@pytest.fixture(scope="module")
def leader(redis_server: RedisServerFactory) -> RedisServer:
    return redis_server(password=PASSWORD)


@pytest.fixture
def serves(
    leader: RedisServer, tmp_path: Path, certificate: Certificate, tls_front: Callable[[int], int]
) -> dict[str, Any]:
    """Parameters for a server that serves what its file has."""
    (tmp_path / "auth.conf").write_text(f"requirepass {quote(PASSWORD)}\n")
    files = {"cert_file": certificate.file, "key_file": certificate.key_file, "ca_file": certificate.ca_file}
    here = connection(tls_front(leader.port), tmp_path / "auth.conf")
    return {"connection": here, **{name: str(path) for name, path in files.items()}}


@pytest.mark.parametrize("stale", [False, True])
def test_a_server_that_is_only_asked(serves: dict[str, Any], certificate: Certificate, stale: bool) -> None:
    file = certificate.address_file if stale else certificate.file
    result = apply(certificate_part, serves, cert_file=str(file), reload=False)
    assert (result["changed"], result["stale"]) == (False, stale)


def test_check_mode_foretells_a_certificate_that_is_not_written_yet(
    serves: dict[str, Any], certificate: Certificate, tmp_path: Path
) -> None:
    """An earlier part of the same run would write it."""
    path = str(tmp_path / "new.crt")
    run = Run(check_mode=True)
    assert run.write(path, certificate.address_file.read_text()) == ["missing"]
    assert certificate_part({**serves, "cert_file": path}, run) == {"changed": True, "stale": True}
    assert run.write(path, certificate.file.read_text()) == ["missing"]
    assert certificate_part({**serves, "cert_file": path}, run) == {"changed": False, "stale": False}
    # Nobody would write this one, or it is no certificate.
    run.write(path, "nothing")
    for file in (path, str(tmp_path / "absent.crt")):
        assert certificate_part({**serves, "cert_file": file}, run) == {"changed": False, "stale": False}
    assert "there is no such file" in refused(certificate_part, serves, cert_file=path)


@pytest.mark.parametrize("renew", [False, True])
def test_a_server_is_told_only_where_it_serves_another_one_or_shall_renew(
    serves: dict[str, Any], monkeypatch: pytest.MonkeyPatch, renew: bool
) -> None:
    told: list[str] = []
    monkeypatch.setattr(module, "read_again", lambda _, *files: told.extend(files))
    assert apply(certificate_part, serves, check=True, renew=renew)["changed"] is renew
    assert told == []
    result = apply(certificate_part, serves, renew=renew)
    assert (result["changed"], result["stale"], bool(told)) == (renew, False, renew)


def test_a_server_that_goes_on_serving_the_former_certificate(
    serves: dict[str, Any], certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "read_again", lambda *_: None)
    text = refused(certificate_part, serves, cert_file=str(certificate.address_file))
    assert "it read its files again, and serves another one" in text


def test_a_server_without_a_certificate(leader: RedisServer, serves: dict[str, Any]) -> None:
    for port in (leader.port, free_port()):
        here = {**serves["connection"], "port": port, "timeout": 1}
        result = apply(certificate_part, serves, connection=here)
        assert (result["changed"], result["stale"]) == (False, False)


def test_a_server_that_hangs_may_serve_any_certificate(serves: dict[str, Any], listen: Listen) -> None:
    here = {**serves["connection"], "port": listen(lambda _: None), "timeout": 0.2}
    assert "timed out" in refused(certificate_part, serves, connection=here)
