"""A release of the Django project: its files, and the name that their content gives it."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Version control's own directories, virtual environments and compiled Python are left out.
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
EXECUTABLE, PLAIN = 0o755, 0o644


@dataclass(frozen=True)
class Release:
    """``directories``: top directory in the release to directory on the control node; ``files``: path to content.

    The same content always has the same digest, so a host that has unpacked a release of that name has that content.
    """

    directories: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """The hash of the content, 16 hexadecimal digits."""
        found = hashlib.sha256()
        for entry, content in self._members():
            found.update(f"{entry.name}\0{entry.mode:o}\0{entry.linkname}\0{len(content)}\0".encode() + content)
        return found.hexdigest()[:16]

    def missing(self) -> list[str]:
        """The directories that are not there."""
        return [path for path in self.directories.values() if not Path(path).is_dir()]

    def pack(self, dest: Path) -> Path:
        """Write the archive to ``dest`` unless it is there, and return its path."""
        path = dest / f"{self.digest()}.tar.gz"
        if not path.exists():
            # Written aside and renamed, so that runs side by side never see half an archive.
            dest.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=dest, delete=False) as file:
                file.write(self._archive())
            os.replace(file.name, path)
        return path

    def _archive(self) -> bytes:
        members, buffer = list(self._members()), io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            # Named, so that they have this mode whatever the umask of the host that unpacks them.
            for directory in sorted(
                {str(parent) for entry, _ in members for parent in Path(entry.name).parents} - {"."}
            ):
                entry = tarfile.TarInfo(directory)
                entry.type, entry.mode = tarfile.DIRTYPE, EXECUTABLE
                archive.addfile(entry)
            for entry, content in members:
                archive.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()

    def _members(self) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        """One entry for each file, with nothing in it that depends on the control node."""
        for top in sorted(self.directories):
            root = Path(self.directories[top])
            for path in _files(root):
                entry = tarfile.TarInfo(str(Path(top, path.relative_to(root))))
                if path.is_symlink():
                    entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
                    yield entry, b""
                elif path.is_file():
                    content = path.read_bytes()
                    entry.size, entry.mode = len(content), EXECUTABLE if os.access(path, os.X_OK) else PLAIN
                    yield entry, content
        for name in sorted(self.files):
            entry, content = tarfile.TarInfo(name), self.files[name].encode()
            entry.size, entry.mode = len(content), EXECUTABLE if content.startswith(b"#!") else PLAIN
            yield entry, content


def _files(directory: Path) -> Iterator[Path]:
    """The files below a directory, sorted, without what LEFT_OUT names."""
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(set(directories) - LEFT_OUT)
        # A link to a directory counts as a directory, which is not walked into.
        links = [name for name in directories if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in sorted([*names, *links]) if not name.endswith(".pyc"))
