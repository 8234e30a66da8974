"""Reach: which addresses a webhook may have. Those of this machine and of private networks only where it is allowed.

An address that somebody else chooses must not make this process ask what only it can reach. What counts is the address
that is connected to, so a name that resolves anew does not get round this; redirections are not followed.
"""

from ipaddress import IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from allotrope.kernel.errors import Refused

_EMBEDDED = IPv6Network("64:ff9b::/96")  # IPv4 addresses behind a translator


def check_address(url: str, *, private: bool) -> None:
    """Refuse a URL that is none, holds a password, is not encrypted, or names a private address."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Refused(f"the URL of a webhook cannot be read: {error}") from None
    if parts.scheme not in ("https", "http") or not host:
        raise Refused("the URL of a webhook is https://HOST/PATH")
    if parts.username is not None or parts.password is not None:
        raise Refused("the URL of a webhook holds no password: what comes is signed, check that instead")
    if parts.scheme == "http" and not private:
        raise Refused(
            f"{parts.scheme}://{host}: a webhook is sent by https; --allow-private takes http as well"
        )
    if not private and (host == "localhost" or host.endswith(".localhost") or not _may(host)):
        raise Refused(f"{host} is no public address; --allow-private sends to such ones")


def is_public(address: str) -> bool:
    """Return whether an IP address is one that everybody can reach."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif found in _EMBEDDED or found.sixtofour is not None or found.teredo is not None:
            return False
    return found.is_global and not found.is_multicast


def _may(host: str) -> bool:
    try:
        return is_public(host)
    except ValueError:  # a name: its addresses are looked at when it is connected to
        return True
