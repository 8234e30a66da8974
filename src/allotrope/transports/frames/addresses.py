"""Addresses: where a server listens, as a line of text. It resolves no names and opens nothing."""

import ipaddress
from dataclasses import dataclass

from allotrope.kernel.errors import Refused

FORMS = "write `unix:/path/of/socket` or `tcp://host:port`, as in tcp://127.0.0.1:7400 or tcp://[::1]:7400"


@dataclass(frozen=True, slots=True)
class Unix:
    """A socket in the file system."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class Tcp:
    """A host and a port; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Return whether only this machine can reach it, judged by the text: a name may mean any machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parsed(address: str) -> Unix | Tcp:
    """Return the address that the text stands for; Refused, with the forms that exist, when it is none."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path or path.endswith("/"):
            raise Refused(f"address `{address}`: the path must be absolute and name a socket; {FORMS}")
        return Unix(path)
    if not address.startswith("tcp://"):
        raise Refused(f"address `{address}`: no such kind; {FORMS}")
    host, colon, port = address.removeprefix("tcp://").rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise Refused(f"address `{address}`: put the host in brackets; {FORMS}")
    if not colon or not host or not host.isprintable() or any(letter in host for letter in " /@?#"):
        raise Refused(f"address `{address}`: host or port is missing; {FORMS}")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        raise Refused(f"address `{address}`: port `{port}` is not a number from 0 to 65535; {FORMS}")
    return Tcp(host, int(port))
