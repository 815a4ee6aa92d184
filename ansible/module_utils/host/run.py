"""What the parts of one run share: check mode, warnings, diffs, files, and the trial server."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible.module_utils.redis_client import connection_of

if TYPE_CHECKING:
    from ansible.module_utils.host.trial import Setup, Trial


# The default of a parameter that has none.
REQUIRED: Any = object()


class PartError(Exception):
    """A part cannot be applied; the text says what and why."""


class Run:
    """One run of host_apply on one host, in check mode or not.

    ``warnings`` and ``diffs`` are what Ansible shows afterwards; neither ever has a secret. ``planned`` is the text of
    files that this run writes, by path: a part that needs one sees the new text before it is written, or in check mode.
    ``logins`` has by ``auth_file`` the user and the password that a server takes where the file does not have them.
    """

    def __init__(self, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self.warnings: list[str] = []
        self.diffs: list[dict[str, str]] = []
        self.planned: dict[str, str] = {}
        self.logins: dict[str, tuple[str, str]] = {}
        self._trial: Trial | None = None

    def warn(self, text: str) -> None:
        """Tell whoever runs the playbook."""
        self.warnings.append(text)

    def add_diff(self, before: str, after: str, header: str, after_header: str = "") -> None:
        """Add a difference for ``--diff``, without secrets; nothing where both texts are the same."""
        if before != after:
            headers = {"before_header": header, "after_header": after_header or header}
            self.diffs.append({**headers, "before": before, "after": after})

    def attributes(self, path: str, owner: str = "", group: str = "", mode: str = "") -> list[str]:
        """Set the owner, the group and the mode of a file or directory; an empty one is left alone.

        Returns which of "owner", "group" and "mode" differed; in check mode they still do, and a missing file has no
        differences. Raises PartError.
        """
        try:
            found = os.stat(path)
        except FileNotFoundError as error:
            if self.check_mode:
                return []
            raise PartError(f"{path}: {error.strerror}") from error
        except OSError as error:
            raise PartError(f"{path}: {error.strerror}") from error
        uid, gid = self._user(owner), self._group(group)
        differs = []
        if owner and found.st_uid != uid:
            differs.append("owner")
        if group and found.st_gid != gid:
            differs.append("group")
        if mode and stat.S_IMODE(found.st_mode) != octal(mode):
            differs.append("mode")
        if differs and not self.check_mode:
            _set(path, uid, gid, octal(mode) if mode else stat.S_IMODE(found.st_mode))
            self.add_diff(_attributes(found), _attributes(os.stat(path)), path)
        elif differs:
            names = {"owner": owner, "group": group, "mode": mode}
            wanted = "".join(f"{name} {names[name]}\n" for name in differs)
            self.add_diff("".join(f"{name} {_attribute(found, name)}\n" for name in differs), wanted, path)
        return differs

    def write(
        self,
        path: str,
        content: str,
        owner: str = "",
        group: str = "",
        mode: str = "",
        force: bool = True,
        show: bool = True,
    ) -> list[str]:
        """Write a file whole: under another name in the same directory, with its owner and mode, and then renamed.

        With ``force`` false only where it does not exist. ``show`` is whether the diff has its content. Returns what
        differed, out of "content", "owner", "group" and "mode", or "missing"; in check mode it still does. An empty
        owner, group or mode is left as it is. Raises PartError.
        """
        data = content.encode()
        try:
            before: bytes | None = _read(path)
        except FileNotFoundError:
            before = None
        except OSError as error:
            raise PartError(f"{path} cannot be read: {error.strerror}") from error
        if before is not None and (not force or before == data):
            return self.attributes(path, owner, group, mode)
        self.planned[path] = content
        differs = ["missing"]
        if before is not None:
            # Looked at only: the new file has them from its start.
            differs = ["content", *Run(check_mode=True).attributes(path, owner, group, mode)]
        if not self.check_mode:
            self._replace(path, data, owner, group, mode)
        if show:
            self.add_diff((before or b"").decode("utf-8", "replace"), content, path)
        return differs

    def text(self, path: str) -> str | None:
        """The text that a file has after this run, in check mode that it would have; None where there is none."""
        return self.planned[path] if path in self.planned else text_on_disk(path)

    def connection(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of `redis_client.connect`, with the login that an earlier part of the run has found."""
        found = connection_of(given)
        return {**found, "login": self.logins.get(found["auth_file"] or "")}

    def trial(self, setup: Setup) -> Trial:
        """The trial server that has loaded this configuration, the same one for every part that asks for the same.

        Raises ConfigError where its program refuses it, OSError or KeyError where it cannot be started.
        """
        from ansible.module_utils.host.trial import Trial

        if self._trial is None or self._trial.setup != setup:
            self.close()
            self._trial = Trial(setup)
        return self._trial

    def close(self) -> None:
        """End the trial server."""
        if self._trial is not None:
            self._trial.close()
            self._trial = None

    def _replace(self, path: str, data: bytes, owner: str, group: str, mode: str) -> None:
        uid, gid = self._user(owner), self._group(group)
        try:
            found = os.stat(path)
        except FileNotFoundError:
            bits = octal(mode) if mode else 0o666 & ~_umask()
        else:
            uid, gid = (uid if owner else found.st_uid), (gid if group else found.st_gid)
            bits = octal(mode) if mode else stat.S_IMODE(found.st_mode)
        folder, name = os.path.split(path)
        aside = ""
        try:
            # Readable for nobody else until it has its owner.
            handle, aside = tempfile.mkstemp(prefix=f".{name}.", dir=folder or ".")
            with open(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(handle)
            _set(aside, uid, gid, bits)
            os.rename(aside, path)
        except BaseException as error:
            if aside:
                with contextlib.suppress(OSError):
                    os.unlink(aside)
            if isinstance(error, OSError):
                raise PartError(f"{path} cannot be written: {error.strerror}") from error
            raise

    def _user(self, name: str) -> int:
        """The number of a user; -1 for the empty name, and -2 in check mode for a user who would be made before."""
        if not name or name.isdigit():
            return int(name or -1)
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            if self.check_mode:
                return -2
            raise PartError(f"there is no user {name}") from None

    def _group(self, name: str) -> int:
        """The number of a group; -1 for the empty name, and -2 in check mode for a group that would be made before."""
        if not name or name.isdigit():
            return int(name or -1)
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            if self.check_mode:
                return -2
            raise PartError(f"there is no group {name}") from None


def checked(params: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """A part's parameters, completed: each option's value is its default, REQUIRED where it has none.

    Raises PartError for a parameter that is missing or unknown.
    """
    unknown = sorted(set(params) - set(options))
    missing = sorted(name for name, default in options.items() if default is REQUIRED and name not in params)
    if unknown or missing:
        names = [*(f"{name} is unknown" for name in unknown), *(f"{name} is missing" for name in missing)]
        raise PartError(f"wrong parameters: {', '.join(names)}")
    return {**options, **params}


def with_secrets(value: Any, secrets: Mapping[str, str]) -> Any:
    """A parameter in which each ``{"secret": NAME}`` is replaced by the secret. Raises PartError for an unknown one."""
    if isinstance(value, Mapping):
        if set(value) == {"secret"}:
            try:
                return secrets[value["secret"]]
            except KeyError:
                raise PartError(f"there is no secret {value['secret']}") from None
        return {key: with_secrets(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [with_secrets(item, secrets) for item in value]
    return value


def text_on_disk(path: str) -> str | None:
    """The text of a file, None where it does not exist. Raises PartError where it cannot be read."""
    try:
        return _read(path).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PartError(f"{path} cannot be read: {error.strerror}") from error


def octal(mode: str) -> int:
    """The bits of a mode such as ``0640``. Raises PartError."""
    try:
        return int(mode, 8)
    except ValueError:
        raise PartError(f"{mode} is no octal mode such as 0640") from None


def _set(path: str, uid: int, gid: int, bits: int) -> None:
    """Set the owner, the group and the mode, touching only what differs: another owner needs root. Raises PartError."""
    found = os.stat(path)
    try:
        if uid not in (-1, found.st_uid) or gid not in (-1, found.st_gid):
            os.chown(path, uid, gid)
        # Also where the mode seems right, since a change of the owner takes bits away.
        os.chmod(path, bits)
    except OSError as error:
        raise PartError(f"{path} does not get its owner, group or mode: {error.strerror}") from error


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _attributes(found: os.stat_result) -> str:
    return "".join(f"{name} {_attribute(found, name)}\n" for name in ("owner", "group", "mode"))


def _attribute(found: os.stat_result, name: str) -> str:
    if name == "mode":
        return f"{stat.S_IMODE(found.st_mode):04o}"
    try:
        return pwd.getpwuid(found.st_uid).pw_name if name == "owner" else grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        return str(found.st_uid if name == "owner" else found.st_gid)


def _umask() -> int:
    """The bits that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
