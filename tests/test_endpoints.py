import pytest
from yarl import URL

from zim_async import ConfigError, Region
from zim_async._endpoints import quota_domain, resolve


@pytest.mark.parametrize(
    ("region", "host"),
    [(None, "zim-api.zego.im"), (Region.AUTO, "zim-api.zego.im"), ("fra", "zim-api-fra.zego.im")]
    + [(region, f"zim-api-{region}.zego.im") for region in Region if region != Region.AUTO],
)
def test_regions_are_the_vendors_hosts(region: Region | str | None, host: str) -> None:
    assert str(resolve(region, None)) == f"https://{host}/"


@pytest.mark.parametrize(
    "base_url",
    [
        "https://zim.example/",
        "https://zim.example:8443/prefix",
        "http://127.0.0.1:8000",
        "http://[::1]:80/",
        "http://localhost",
    ],
)
def test_base_urls(base_url: str) -> None:
    assert resolve(None, base_url) == URL(base_url)


@pytest.mark.parametrize(
    ("region", "base_url", "says"),
    [
        ("mars", None, "region must be one of auto, sha"),
        (7, None, "region"),
        ("fra", "https://zim.example/", "not both"),
        (None, "http://zim.example/", "loopback only"),
        (None, "http://10.0.0.1/", "loopback only"),
        (None, "ftp://127.0.0.1/", "such as"),
        (None, "zim.example", "such as"),
        (None, "", "such as"),
        (None, 5, "such as"),
        (None, "https://exa mple:bad/", "such as"),
        (None, "https://user:pass@zim.example/", "no user"),
        (None, "https://zim.example/?a=b", "query"),
        (None, "https://zim.example/#top", "fragment"),
    ],
)
def test_bad_places_are_refused(region: str, base_url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        resolve(region, base_url)
    assert "pass" not in str(caught.value).replace("password", "")


def test_all_but_loopback_share_a_quota() -> None:
    assert quota_domain(resolve("fra", None)) == quota_domain(URL("https://egress.example/"))
    assert quota_domain(URL("http://127.0.0.1:80/")) == quota_domain(URL("http://localhost:80/"))
    assert quota_domain(URL("http://127.0.0.1:80/")) != quota_domain(URL("http://127.0.0.1:81/"))
    assert quota_domain(URL("http://127.0.0.1:80/")) != quota_domain(resolve(None, None))
