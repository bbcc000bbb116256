"""Where the server is: the vendor's regions, or a base URL of one's own."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import Literal, TypeAlias

from yarl import URL

from ._text import show_value
from .errors import ConfigError


class Region(StrEnum):
    """The vendor's regional hosts. Prefer the one nearest to your own server. ``AUTO`` routes by itself."""

    AUTO = "auto"
    SHANGHAI = "sha"
    HONG_KONG = "hkg"
    FRANKFURT = "fra"
    CALIFORNIA = "lax"
    MUMBAI = "bom"
    SINGAPORE = "sgp"


RegionName: TypeAlias = Literal["auto", "sha", "hkg", "fra", "lax", "bom", "sgp"]


def resolve(region: str | None, base_url: str | None) -> URL:
    """Return the URL to post to. Raises ``ConfigError`` for an unknown region or a base URL that isn't safe."""
    if base_url is not None:
        if region is not None:
            raise ConfigError("give region or base_url, not both")
        return _checked(base_url)
    try:
        host = Region(region or Region.AUTO)
    except ValueError:
        host = None
    if host is None:
        raise ConfigError(f"region must be one of {', '.join(Region)}, not {show_value(region)}")
    suffix = "" if host is Region.AUTO else f"-{host}"
    return URL(f"https://zim-api{suffix}.zego.im/")


def quota_domain(url: URL) -> str:
    """Return the name of the side whose quota a URL draws on: every host but a loopback one leads to the vendor."""
    return f"loopback:{url.port}" if is_loopback(url.host or "") else "vendor"


def _checked(base_url: str) -> URL:
    try:
        url = URL(base_url)
        host = url.host
    except (ValueError, TypeError):
        url, host = URL(), None
    if not host or url.scheme not in ("http", "https"):
        raise ConfigError("base_url must be a URL such as https://zim-api.zego.im/")
    if url.user or url.password or url.raw_query_string or url.raw_fragment:
        raise ConfigError("base_url must hold no user, password, query or fragment")
    if url.scheme == "http" and not is_loopback(host):
        raise ConfigError(f"base_url must be https: plain http is for loopback only, not for {host}")
    return url


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine by its name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
