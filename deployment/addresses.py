"""Addresses and the places that they make with a port."""

from __future__ import annotations

import ipaddress


def is_loopback(address: str) -> bool:
    """Tell whether it is the address of whoever uses it."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def bracketed(address: str) -> str:
    """Return an address as it stands in front of a port or in a URL: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def endpoint(address: str, port: int | str) -> str:
    """Return address:port, with IPv6 in brackets."""
    return f"{bracketed(address)}:{port}"
