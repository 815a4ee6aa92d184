"""Connect to every TCP port of hosts, and print those that are open, a line each.

python scan.py PORTS HOST...      (PORTS: those that may be open, with commas between them, or an empty text)

Exit code 0: all ports were tried; 1: a host has no address.
"""

from __future__ import annotations

import resource
import select
import socket
import sys
import time
from collections.abc import Iterator

LAST = 65535
# At once.
MANY = 8192
# Seconds for an answer; a port whose packets are dropped says nothing at all.
TIMEOUT = 1.0


def open_ports(address: str, ports: range) -> list[int]:
    """Return the ports of an address, all tried at once, on which somebody takes a connection."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    waiting: dict[int, tuple[socket.socket, int]] = {}
    poll = select.poll()
    for port in ports:
        client = socket.socket(family)
        client.setblocking(False)
        client.connect_ex((address, port))
        waiting[client.fileno()] = client, port
        poll.register(client, select.POLLOUT)
    found = []
    deadline = time.monotonic() + TIMEOUT
    while waiting and time.monotonic() < deadline:
        for number, _ in poll.poll(100):
            client, port = waiting.pop(number)
            poll.unregister(number)
            if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.append(port)
            client.close()
    for client, _ in waiting.values():
        client.close()
    return sorted(found)


def batches() -> Iterator[range]:
    """All ports, as many at once as this process may have open."""
    for first in range(1, LAST + 1, MANY):
        yield range(first, min(first + MANY, LAST + 1))


def main(expected: str, *hosts: str) -> int:
    """Scan the hosts one after the other."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MANY * 2), hard))
    allowed = {int(port) for port in expected.split(",") if port}
    for host in hosts:
        try:
            addresses = sorted({str(place[4][0]) for place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
        except OSError as error:
            print(f"{host}: {error}", file=sys.stderr)
            return 1
        for address in addresses:
            for port in (port for ports in batches() for port in open_ports(address, ports)):
                if port not in allowed:
                    print(f"{host} ({address}): port {port} is open")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
