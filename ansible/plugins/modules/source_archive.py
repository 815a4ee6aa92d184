#!/usr/bin/python
"""Ansible module: pack folders into an archive whose name is the hash of what it holds."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: source_archive
short_description: Pack folders into an archive named by its content
description:
  - Runs on the control machine. The same content always gives the same name, so a host that has unpacked an archive of
    that name has that content.
  - Version control's own folders, virtual environments and compiled Python are left out.
options:
  folders: {description: Top folder in the archive to folder on disk., type: dict, required: true}
  files: {description: "More files, path to content; C(#!) makes one executable.", type: dict, default: {}}
  dest: {description: Folder to write the archive to., type: path, required: true}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Pack the project
  source_archive:
    folders: {project: /home/me/shop}
    dest: ~/.cache/cachestack
  delegate_to: localhost
"""

RETURN = r"""
path: {description: The archive., type: str}
digest: {description: The hash of its content., type: str}
"""

LEFT_OUT = {
    ".git",
    ".hg",
    ".svn",
    ".tox",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
}


def walk(folder: Path) -> Iterator[Path]:
    """The files below a folder, sorted, without what LEFT_OUT names."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        # A link to a folder counts as a folder, which is not walked into.
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in sorted([*names, *links]) if not name.endswith(".pyc"))


def tree_entries(folders: dict[str, str]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """One archive entry for each file, with nothing in it that depends on this machine."""
    for top in sorted(folders):
        root = Path(folders[top])
        for path in walk(root):
            entry = tarfile.TarInfo(str(Path(top, path.relative_to(root))))
            if path.is_symlink():
                entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
                yield entry, b""
            elif path.is_file():
                content = path.read_bytes()
                entry.size, entry.mode = len(content), 0o755 if os.access(path, os.X_OK) else 0o644
                yield entry, content


def file_entries(files: dict[str, str]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """One archive entry for each of the further files."""
    for name in sorted(files):
        entry, content = tarfile.TarInfo(name), files[name].encode()
        entry.size, entry.mode = len(content), 0o755 if content.startswith(b"#!") else 0o644
        yield entry, content


def pack(folders: dict[str, str], files: dict[str, str]) -> tuple[str, bytes]:
    """The content's hash (16 hexadecimal digits) and the archive."""
    digest, buffer = hashlib.sha256(), io.BytesIO()
    members = [*tree_entries(folders), *file_entries(files)]
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        # Named, so that they have this mode whatever the umask of the host that unpacks them.
        for folder in sorted({str(parent) for entry, _ in members for parent in Path(entry.name).parents} - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for entry, content in members:
            digest.update(f"{entry.name}\0{entry.mode:o}\0{entry.linkname}\0{len(content)}\0".encode() + content)
            archive.addfile(entry, io.BytesIO(content))
    return digest.hexdigest()[:16], buffer.getvalue()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            "folders": {"type": "dict", "required": True},
            "files": {"type": "dict", "default": {}},
            "dest": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    missing = [folder for folder in module.params["folders"].values() if not Path(folder).is_dir()]
    if missing:
        module.fail_json(msg=f"no such folder on the control machine: {', '.join(missing)}")
    digest, content = pack(module.params["folders"], module.params["files"])
    dest = Path(module.params["dest"])
    path = dest / f"{digest}.tar.gz"
    if not path.exists():
        # Written aside and renamed, so that runs side by side never see half an archive.
        dest.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=dest, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
    module.exit_json(changed=False, path=str(path), digest=digest)


if __name__ == "__main__":
    main()
