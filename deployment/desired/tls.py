"""The files of TLS on a host, and the parts that bring them there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployment.desired.parts import Part, Secret, file


@dataclass(frozen=True)
class Files:
    """Paths on the host; ``issued`` where the certificate is one of the CA on the control node."""

    cert: str
    key: str
    ca: str
    issued: bool

    @property
    def paths(self) -> dict[str, str]:
        """The paths under the names by which the modules and the checks take them."""
        return {"cert_file": self.cert, "key_file": self.key, "ca_file": self.ca}


@dataclass(frozen=True)
class Issued:
    """What the CA on the control node has for a host: texts in PEM."""

    cert: str
    key: str
    ca: str


def file_parts(files: Files, issued: Issued, owner: str, group: str) -> list[Part]:
    """The certificate, its private key and the CA certificate, the key first: it fits the former certificate least."""
    attributes: Mapping[str, str] = {"owner": owner, "group": group, "mode": "0640"}
    contents = {files.key: issued.key, files.cert: issued.cert, files.ca: issued.ca}
    return [file(path, Secret(content), **attributes) for path, content in contents.items()]
