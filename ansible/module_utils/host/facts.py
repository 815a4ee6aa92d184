"""What is known of a host before anything else: the facts that the deployment uses, as Ansible's setup has them."""

from __future__ import annotations

import array
import fcntl
import os
import re
import socket
import struct
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

# See netdevice(7): all interfaces that have an IPv4 address, each a `struct ifreq`.
SIOCGIFCONF = 0x8912
IFREQ = 16 + max(16, 3 * struct.calcsize("P"))
MOST_ADDRESSES = 4096
# Addresses to which every default route leads; nothing is sent to them. Those of Ansible's setup.
ELSEWHERE = {socket.AF_INET: "8.8.8.8", socket.AF_INET6: "2404:6800:400a:800::1012"}


def facts() -> dict[str, Any]:
    """The facts; those that a host does not have are empty, not missing. ``memtotal_mb`` is in MiB."""
    return {
        "nodename": os.uname().nodename,
        "machine_id": (text_of("/var/lib/dbus/machine-id") or text_of("/etc/machine-id")).strip(),
        "default_ipv4": _default(socket.AF_INET),
        "default_ipv6": _default(socket.AF_INET6),
        "all_ipv4_addresses": ipv4_addresses(),
        "all_ipv6_addresses": ipv6_addresses(),
        "memtotal_mb": _memory() // 1024,
        "python": {
            "version": {"major": sys.version_info.major, "minor": sys.version_info.minor},
            # What Ansible's pip module needs to make a virtualenv.
            "modules": {name: find_spec(name) is not None for name in ("ensurepip", "packaging")},
        },
    }


def own_address(found: Mapping[str, Any], announced: str) -> str:
    """Where a host reaches its own server.

    That is at the address that it announces, if the host has it, else at the host's main one: behind address
    translation a host does not have what others know it by.
    """
    own = {*found["all_ipv4_addresses"], *found["all_ipv6_addresses"], "::1", "localhost"}
    if announced in own or announced.startswith("127."):
        return announced
    return str(found["default_ipv4"].get("address") or found["default_ipv6"].get("address") or announced)


def ipv4_addresses() -> list[str]:
    """All IPv4 addresses of the host, without those of loopback."""
    buffer = array.array("B", bytes(MOST_ADDRESSES * IFREQ))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("iP", len(buffer), buffer.buffer_info()[0])
        used, _ = struct.unpack("iP", fcntl.ioctl(asked, SIOCGIFCONF, request))
    # The address is behind the name of the interface, the family and the port.
    found = [socket.inet_ntoa(buffer[start + 20 : start + 24].tobytes()) for start in range(0, used, IFREQ)]
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")]


def ipv6_addresses() -> list[str]:
    """All IPv6 addresses of the host, without that of loopback. See the kernel's ipv6/addrconf.c."""
    lines = text_of("/proc/net/if_inet6").splitlines()
    found = [socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])) for line in lines]
    return [address for address in found if address != "::1"]


def _default(family: socket.AddressFamily) -> dict[str, str]:
    """The address from which the host goes where its default route leads, in a dict; an empty one without a route."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            # Sends nothing, but has the kernel choose the route.
            client.connect((ELSEWHERE[family], 53))
            return {"address": client.getsockname()[0]}
    except OSError:
        return {}


def _memory() -> int:
    """The memory of the host, in KiB."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", text_of("/proc/meminfo"), re.M)
    return int(found.group(1)) if found else 0


def text_of(path: str) -> str:
    """A file's text, "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
