"""What is read from an inventory's files, beside its values."""

from __future__ import annotations

from pathlib import Path

from deployment.checks.reading import plain_secrets


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
