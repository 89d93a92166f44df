"""Addresses `tcp://HOST:PORT`: what they are made of, and whether HOST is this machine. Shared with the runtime."""

from __future__ import annotations

import ipaddress
import re

LARGEST_PORT = 65535


def parse(endpoint: str) -> tuple[str, int] | None:
    """HOST, without the brackets of IPv6, and PORT, 0 to 65535; None for anything else."""
    match = re.fullmatch(r"tcp://(\[[0-9a-fA-F:.]+\]|[^\[\]:/\s]+):(\d{1,5})", endpoint)
    if match is None or int(match[2]) > LARGEST_PORT:
        return None
    return match[1].strip("[]"), int(match[2])


def is_this_machine(host: str) -> bool:
    """Whether nobody but this machine reaches `host`: it is `localhost`, or an address of the loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
