"""`make inventory`: what it writes passes the check and loads, and what it cannot write it refuses whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from hypothesis import assume, given, settings

from conftest import PROJECT
from deployment.addresses import endpoint
from deployment.checks.rendered import django_caches
from deployment.checks.rules import inventory_problems
from deployment.clients import CLIENTS, UNABLE
from deployment.model import Inventory, hosts_of
from deployment.topology import redis_nodes, redis_sentinels
from inventories import create
from wanted_inventories import HOSTS, SERVERS, WRONG, words

SCRIPT = PROJECT / "ansible" / "vault_password"
PAIRS = [(mode, client) for mode in SERVERS for client in ("", *CLIENTS) if (client, mode) not in UNABLE]
EACH_MODE = pytest.mark.parametrize("mode", SERVERS)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of configurations, empty, and no vault password of the user's own."""
    for name in [name for name in os.environ if name.startswith("ANSIBLE_VAULT")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def folder(tmp_path: Path, config: Path) -> Path:
    """An empty folder of inventories."""
    path = tmp_path / "inventories"
    path.mkdir()
    return path


@pytest.fixture
def _no_vault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save the second that ansible-vault takes."""
    monkeypatch.setattr(create, "encrypted", lambda text, password: f"encrypted with {password}\n")


def wanted(*arguments: str) -> create.Wanted:
    """What the arguments ask for, which must be right."""
    found = create.read(arguments)
    assert list(create.refusals(found, Path("/nonexistent"))) == []
    return found


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def ran(*command: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Ansible's with the project's configuration."""
    variables = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), **environment}
    command = (program(command[0]), *command[1:])
    return subprocess.run(command, input=text, env=variables, capture_output=True, text=True, check=False)


def decrypted(path: Path, password: str) -> dict[str, str]:
    text = VaultLib([("default", VaultSecret(password.encode()))]).decrypt(path.read_text("utf-8"))
    values: dict[str, str] = yaml.safe_load(text)
    return values


def loaded(asked: create.Wanted, main: str | None = None) -> Inventory:
    """The inventory as the check sees it, read from what would be written."""
    hosts, common = yaml.safe_load(create.hosts_yml(asked)), yaml.safe_load(main or create.main_yml(asked))
    vault = yaml.safe_load(create.vault_yml(asked))
    for name in asked.secrets:
        assert common[name] == f"{{{{ vault_{name} }}}}"
        common[name] = vault.pop(f"vault_{name}")
    assert vault == {}
    groups = {name: list(group["hosts"]) for name, group in hosts.items()}
    variables: dict[str, dict[str, Any]] = {host: dict(common) for host in hosts_of(groups)}
    for group in hosts.values():
        for host, own in group["hosts"].items():
            variables[host].update(own or {})
    return Inventory(variables, {"all": list(variables), **groups})


def used(main: str) -> str:
    """The text with everything in use that it offers as a comment."""
    return re.sub(r"^# (?=([a-z_]+:|  \S))", "", main, flags=re.M)


# What is written


@pytest.mark.parametrize(("mode", "client"), PAIRS)
def test_it_passes_the_check_as_it_is_and_with_all_that_it_offers(mode: str, client: str) -> None:
    asked = wanted(*words(mode, client))
    main = create.main_yml(asked)
    assert inventory_problems(loaded(asked)) == []
    offered = used(main)
    assert len(offered.splitlines()) == len(main.splitlines())
    assert len(yaml.safe_load(offered)) > len(yaml.safe_load(main)) + 8
    inventory = loaded(asked, offered)
    assert inventory_problems(inventory) == []
    # Its caches are also what the filter takes.
    app = inventory.variables["app-1"]
    sentinels = redis_sentinels(inventory.groups.get("redis_sentinel", ()), inventory.variables, mode)
    caches = django_caches(
        app["django_app_cache_aliases"],
        mode,
        inventory.deployments[0].client("app-1"),
        redis_nodes(inventory.groups["redis"], inventory.variables, mode),
        session_alias=None if mode == "locmem" else "dj_session",
        sentinels=sentinels,
    )
    assert set(caches) == set(app["django_app_cache_aliases"]) >= {"default", "reports"}


@pytest.mark.parametrize(("mode", "client"), PAIRS)
def test_it_has_what_was_asked_for_and_the_secrets_of_its_mode(mode: str, client: str) -> None:
    asked = wanted(*words(mode, client, DOMAIN="www.example.com, .example.org"))
    secrets = {"django_app_secret_key", *(["redis_password", "redis_admin_password"] if mode != "locmem" else [])}
    secrets |= {"redis_sentinel_password"} if mode == "sentinel" else set()
    main = yaml.safe_load(create.main_yml(asked))
    assert set(main) == {"cache_mode", *secrets, "django_app_allowed_hosts", *(["cache_client"] if client else [])}
    assert (main["cache_mode"], main.get("cache_client", "")) == (mode, client)
    assert main["django_app_allowed_hosts"] == ["www.example.com", ".example.org"]
    groups = yaml.safe_load(create.hosts_yml(asked))
    assert list(groups) == ["redis", *(["redis_sentinel"] if mode == "sentinel" else []), "django_app"]


def test_it_keeps_to_the_style_of_the_project(tmp_path: Path) -> None:
    for mode, client in PAIRS:
        asked = wanted(*words(mode, client, DOMAIN="www.example.com"))
        main = create.main_yml(asked)
        for number, text in enumerate((create.hosts_yml(asked), main, used(main), create.vault_yml(asked))):
            (tmp_path / f"{mode}-{client}-{number}.yml").write_text(text)
            assert max(map(len, text.splitlines())) <= 120
    command = [program("yamllint"), "--strict", "--config-file", str(PROJECT / ".yamllint"), str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("arguments", "hosts"), HOSTS)
def test_hosts_are_named_and_placed(arguments: list[str], hosts: dict[str, dict[str, Any]]) -> None:
    asked = wanted(*arguments)
    assert yaml.safe_load(create.hosts_yml(asked)) == {name: {"hosts": group} for name, group in hosts.items()}
    assert inventory_problems(loaded(asked)) == []


def test_the_first_leader_is_said() -> None:
    text = create.hosts_yml(wanted(*words("sentinel")))
    assert "    redis-1: {ansible_host: 10.0.0.1} # leads when nothing runs yet\n    redis-2: {" in text
    assert "# leads" not in create.hosts_yml(wanted(*words("cluster")))


MACHINES = [*(f"10.0.0.{number}" for number in range(1, 9)), "db", "cache", "2001:db8::1", "on", "redis", "redis-1"]
PORTS = st.sampled_from([None] * 6 + [6380, 8000, 16379, 26379])
PLACES = st.builds(lambda host, port: endpoint(host, port) if port else host, st.sampled_from(MACHINES), PORTS)
# How many servers each mode can have.
MOST = {"locmem": (0, 0), "standalone": (1, 1), "replication": (2, 4), "sentinel": (2, 5), "cluster": (6, 8)}


def places(least: int, most: int) -> st.SearchStrategy[str]:
    return st.lists(PLACES, min_size=least, max_size=most, unique=True).map(" ".join)


@given(st.sampled_from(PAIRS), st.data())
@settings(max_examples=300)
def test_what_is_not_refused_passes_the_check(pair: tuple[str, str], data: st.DataObject) -> None:
    redis, apps = data.draw(places(*MOST[pair[0]])), data.draw(places(1, 3))
    sentinels = data.draw(places(3, 3) | st.just("")) if pair[0] == "sentinel" else ""
    asked = create.read(words(*pair, REDIS=redis, SENTINEL=sentinels, APP=apps))
    assume(not list(create.refusals(asked, Path("/nonexistent"))))
    written = loaded(asked)
    assert inventory_problems(written) == []
    assert written.variables == asked.inventory.variables
    assert written.groups.items() >= asked.inventory.groups.items()


@EACH_MODE
def test_ansible_reads_what_is_written(
    mode: str, folder: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert create.main(words(mode), folder) == 0
    said = capsys.readouterr().out
    assert "\n  make preflight INVENTORY=inventories/prod\n  ansible-playbook -i inventories/prod site.yml" in said
    files = [path for path in (folder / "prod").rglob("*") if path.is_file()]
    assert sorted(path.relative_to(folder).as_posix() for path in files) == [
        "prod/group_vars/all/main.yml",
        "prod/group_vars/all/vault.yml",
        "prod/hosts.yml",
    ]
    password_file = config / "cachestack" / "vault_password"
    password = password_file.read_text("utf-8").strip()
    secrets = decrypted(folder / "prod/group_vars/all/vault.yml", password)
    assert set(secrets) == {f"vault_{name}" for name in wanted(*words(mode)).secrets}
    for value in (password, *secrets.values()):
        assert re.fullmatch(r"[A-Za-z0-9]{48,}", value)
        assert value not in said
        assert not any(value in path.read_text("utf-8") for path in files)
    # Without a flag, since ansible.cfg names the script that has the password.
    listed = json.loads(ran("ansible-inventory", "-i", str(folder / "prod"), "--list").stdout)
    inventory = loaded(wanted(*words(mode)))
    for group, hosts in inventory.groups.items():
        assert group == "all" or listed.get(group, {"hosts": []})["hosts"] == hosts
    for host, variables in inventory.variables.items():
        assert listed["_meta"]["hostvars"][host].items() >= {**secrets, "cache_mode": mode}.items()
        assert listed["_meta"]["hostvars"][host].get("ansible_host") == variables.get("ansible_host")


@pytest.mark.usefixtures("_no_vault")
def test_rights(folder: Path, config: Path) -> None:
    assert create.main(words("standalone"), folder) == 0

    def rights(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    others = 0o777 & ~current_umask()
    assert rights(config / "cachestack") == 0o700
    assert rights(config / "cachestack" / "vault_password") == 0o600
    assert rights(folder / "prod") == others
    assert rights(folder / "prod" / "hosts.yml") == others & 0o666


def current_umask() -> int:
    umask = os.umask(0o022)
    os.umask(umask)
    return umask


# Nothing is lost, and nothing is left behind


@pytest.mark.usefixtures("_no_vault")
def test_it_never_overwrites(folder: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert create.main(words("standalone"), folder) == 0
    before = contents(folder) | contents(config)
    assert create.main(words("sentinel"), folder) == 2
    assert "inventories/prod is there already" in capsys.readouterr().err
    assert create.main(words("sentinel", NAME="other"), folder) == 0
    assert (contents(folder) | contents(config)).items() >= before.items()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_comes_up_meanwhile_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def encrypted(text: str, password: Path) -> str:
        (folder / "prod").mkdir()
        (folder / "prod" / "hosts.yml").write_text("mine")
        return text

    monkeypatch.setattr(create, "encrypted", encrypted)
    assert create.main(words("standalone"), folder) == 1
    assert "No inventory was written: " in capsys.readouterr().err
    assert contents(folder) == {str(folder / "prod" / "hosts.yml"): b"mine"}
    assert os.listdir(folder) == ["prod"]


@pytest.fixture
def _handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, create.interrupted)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_handler", "_no_vault")
def test_an_interruption_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(self: Path, target: Path) -> None:
        assert [path.name for path in self.rglob("*.yml")] != []
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(SystemExit) as ended:
        create.main(words("standalone"), folder)
    assert ended.value.code == 128 + signal.SIGTERM
    assert os.listdir(folder) == []


def test_a_failure_of_ansible_vault_is_told(folder: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config / "cachestack" / "vault_password"
    path.parent.mkdir(parents=True)
    path.write_text("\n")
    assert create.main(words("standalone"), folder) == 1
    said = capsys.readouterr().err
    assert said.startswith("No inventory was written: ansible-vault did not encrypt the secrets")
    assert str(path) in said
    assert "vault_redis_password" not in said
    assert os.listdir(folder) == []


def test_a_folder_that_cannot_be_made_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    assert create.main(words("standalone"), folder) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


# What is refused


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
def test_wrong_words_are_refused_together(
    arguments: list[str], said: list[str], folder: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "shipped").mkdir()
    assert create.main(arguments, folder) == 2
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert (printed.out, lines[0]) == ("", "No inventory was written:")
    assert lines[-1].startswith("Such as: make inventory NAME=prod MODE=sentinel REDIS=")
    for words_of_it in said:
        assert any(words_of_it in line for line in lines[1:-1]), printed.err
    # No problem is said that is none.
    assert len(lines) - 2 <= max(len(said), 1)
    assert os.listdir(folder) == ["shipped"]
    assert not config.exists()


# The vault's password


def test_the_users_own_password_file_wins(folder: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = folder.parent / "own"
    own.write_text("open sesame\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(own))
    monkeypatch.setenv("ANSIBLE_VAULT_IDENTITY_LIST", f"other@{own}")
    assert create.main(words("standalone"), folder) == 0
    assert "vault_redis_password" in decrypted(folder / "prod/group_vars/all/vault.yml", "open sesame")
    assert not config.exists()


def test_the_script_prints_the_password(config: Path) -> None:
    path = create.password_file()
    assert path == config / "cachestack" / "vault_password"
    before = path.read_text("utf-8")
    assert create.password_file().read_text("utf-8") == before
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (before, "")


def test_where_nobody_says_a_folder_it_is_in_the_home(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = create.password_file()
    assert path == tmp_path / ".config" / "cachestack" / "vault_password"
    assert subprocess.check_output([str(SCRIPT)], text=True) == path.read_text("utf-8")


@pytest.mark.usefixtures("config")
def test_without_a_password_ansible_works_and_encrypts_nothing() -> None:
    """What ships has no vault; what would be encrypted with no secret could be read by everyone."""
    done = ran("ansible-inventory", "-i", str(PROJECT / "inventories" / "locmem"), "--list")
    assert done.returncode == 0
    assert "app-1" in done.stdout
    done = ran("ansible-vault", "encrypt", text="anything: secret\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "vault_password, is not on this machine: copy it from where the inventory was made" in done.stderr


@pytest.mark.parametrize("encrypted", [True, False])
def test_only_a_vault_that_will_not_open_is_spoken_of(encrypted: bool, tmp_path: Path, config: Path) -> None:
    (tmp_path / "ansible").mkdir()
    script = shutil.copy(SCRIPT, tmp_path / "ansible")
    path = tmp_path / "inventories" / "prod" / "group_vars" / "all" / "vault.yml"
    path.parent.mkdir(parents=True)
    path.write_text("$ANSIBLE_VAULT;1.1;AES256\n" if encrypted else "---\n")
    done = subprocess.run([script], capture_output=True, text=True, check=True)
    # Ansible takes no empty answer.
    assert done.stdout.strip()
    needed = f"For {path.relative_to(tmp_path)}: the vault password, {config}/cachestack/vault_password, is not on"
    assert done.stderr.startswith(needed) if encrypted else done.stderr == ""


def test_ansible_can_run_the_script() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert "\nvault_password_file = ansible/vault_password\n" in (PROJECT / "ansible.cfg").read_text("utf-8")


@pytest.mark.usefixtures("_no_vault", "config")
def test_git_takes_the_whole_inventory(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "inventories" / ".prod.half-written").mkdir(parents=True)
    (checkout / "inventories" / ".prod.half-written" / "hosts.yml").write_text("---\n")
    shutil.copy(PROJECT / ".gitignore", checkout)
    assert create.main(words("sentinel"), checkout / "inventories") == 0
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    listed = subprocess.check_output(["git", "ls-files", "--others", "--exclude-standard"], cwd=checkout, text=True)
    assert listed.split() == [
        ".gitignore",
        "inventories/prod/group_vars/all/main.yml",
        "inventories/prod/group_vars/all/vault.yml",
        "inventories/prod/hosts.yml",
    ]
