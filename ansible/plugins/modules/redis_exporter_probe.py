#!/usr/bin/python
"""Ansible module: prove that an exporter reads its server, and gives the password to no other one."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: redis_exporter_probe
short_description: Prove that an exporter reads its server, and gives the password to no other one
description:
  - Waits until C(/metrics) says that the server answers. Then asks for C(/scrape) with a target that is no Redis server
    but this module, which hears what the exporter says to it. Changes nothing; fails where either is not as it must be.
options:
  url: {description: "Where the exporter is, without a path.", type: str, required: true}
  wait: {description: Seconds to wait until the server answers the exporter., type: float, default: 15}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Prove the exporter
  redis_exporter_probe:
    url: http://127.0.0.1:9121
"""

RETURN = r"""
heard: {description: "How many bytes the exporter said to a stranger, none of them a login.", type: int}
"""

# What makes a client that has a password say it.
REFUSAL = b"-NOAUTH Authentication required.\r\n"
# With them a client logs in; HELLO may have AUTH in it.
LOGIN = b"AUTH"
# Seconds for one answer of the exporter, which gives a server 15.
TIMEOUT = 20.0


class Stranger:
    """A listener on loopback that refuses every command and keeps what it hears, as a context manager."""

    def __init__(self) -> None:
        self.heard = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                client = self._socket.accept()[0]
            except OSError:
                # Closed, since everything was heard.
                return
            threading.Thread(target=self._hear, args=(client,), daemon=True).start()

    def _hear(self, client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(65536):
                    self.heard += data
                    client.sendall(REFUSAL)
            except OSError:
                # The exporter is gone, and has said what it had to say.
                return


def fetch(url: str) -> str:
    """The text at a URL, by no proxy. Raises OSError where there is none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=TIMEOUT) as response:
        text: str = response.read().decode("utf-8", "replace")
    return text


def server_fault(url: str, wait: float) -> str:
    """Why the exporter has no figures of its server after so many seconds, "" where it has them."""
    deadline = time.monotonic() + wait
    while True:
        try:
            lines = fetch(f"{url}/metrics").splitlines()
        except OSError as error:
            fault = f"the exporter does not answer at {url}: {error}"
        else:
            if "redis_up 1" in lines:
                return ""
            errors = [line for line in lines if line.startswith("redis_exporter_last_scrape_error{")]
            fault = f"the exporter at {url} cannot ask its server: {' '.join(errors) or 'it has no redis_up 1'}"
        if time.monotonic() > deadline:
            return fault
        time.sleep(0.5)


def said_to_stranger(url: str) -> bytes:
    """What the exporter says to a server that whoever asks for /scrape may name."""
    with Stranger() as stranger:
        for target in (f"redis://{stranger.place}", stranger.place):
            try:
                fetch(f"{url}/scrape?{urllib.parse.urlencode({'target': target})}")
            except urllib.error.HTTPError:
                # It has no such page, or does not take this target.
                continue
        return stranger.heard


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {"url": {"type": "str", "required": True}, "wait": {"type": "float", "default": 15}}, supports_check_mode=True
    )
    url = module.params["url"]
    fault = server_fault(url, module.params["wait"])
    if fault:
        module.fail_json(msg=fault)
    try:
        heard = said_to_stranger(url)
    except OSError as error:
        module.fail_json(msg=f"the exporter does not answer at {url}/scrape: {error}")
    if LOGIN in heard.upper():
        module.fail_json(msg=f"the exporter at {url} logs in to every server that /scrape names, with its password")
    module.exit_json(changed=False, heard=len(heard))


if __name__ == "__main__":
    main()
