"""What is read from an inventory's files, beside its values."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployment.checks.reading import plain_secrets, reason_of


def test_where_secrets_lie_in_the_open(tmp_path: Path) -> None:
    (tmp_path / "group_vars" / "all").mkdir(parents=True)
    files = {
        "group_vars/all/main.yml": "redis_password: opensesame\nkey_prefix: x\ndjango_app_secret_key: '{{ vault }}'",
        "group_vars/all/vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n3031",
        "hosts.yaml": "redis: {hosts: {redis-1: {redis_password: !vault x, vault_password: open}}}",
        "broken.yml": "redis_password: [",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = {(Path(path).name, name) for path, name in plain_secrets(tmp_path)}
    assert found == {("main.yml", "redis_password"), ("hosts.yaml", "vault_password")}


NO_ETH9 = "object of type 'dict' has no attribute 'eth9'"
TEMPLATE = "Ansible reads its {{, {% or {# as a template (for a text that has them write !unsafe)"


@pytest.mark.parametrize(
    ("error", "raw", "reason"),
    [
        ("'nobody' is undefined", "{{ nobody }}", "'nobody' is undefined"),
        (NO_ETH9, "{{ ansible_facts.eth9.ipv4.address }} 127.0.0.1", NO_ETH9),
        (NO_ETH9, "{{ facts_of_mine.eth9 }}", NO_ETH9),
        # A password that is read as a template, or by which something is looked up.
        ("'hunter2' is undefined", "x{{hunter2}}y", TEMPLATE),
        ("object of type 'dict' has no attribute 'hunter2'", "{{ users[password] }}", "something that it names has"),
        (
            "The lookup plugin 'ansible.builtin.file' failed: no file hunter2",
            "{{ lookup('file', x) }}",
            "The lookup plugin 'ansible.builtin.file' failed",
        ),
    ],
)
def test_why_a_value_cannot_be_had(error: str, raw: str, reason: str) -> None:
    told = reason_of(ValueError(error), raw)
    assert told.startswith(reason)
    assert "hunter2" not in told
