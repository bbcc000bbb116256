from pathlib import Path

import pytest

from zim_async import ConfigError, RateLimiter, ZimClient


@pytest.fixture(autouse=True)
def app_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIM_APP_ID", "12")


def test_the_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("hush-hush\n")
    monkeypatch.setenv("ZIM_SERVER_SECRET_FILE", str(file))
    assert "app_id=12" in repr(ZimClient.from_env())
    monkeypatch.setenv("ZIM_SERVER_SECRET", "other")
    with pytest.raises(ConfigError, match="not both") as caught:
        ZimClient.from_env()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), (b"hush\xff", "UTF-8"), (b"\n", "non-empty")])
def test_a_file_without_a_secret_says_so(
    content: bytes | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("ZIM_SERVER_SECRET_FILE", str(file))
    with pytest.raises(ConfigError, match=says) as caught:
        ZimClient.from_env()
    assert "hush" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_redis_shares_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIM_SERVER_SECRET", "hush")
    monkeypatch.setenv("ZIM_REDIS_URL", "redis://:hush-hush@127.0.0.1:1/0")
    shown = repr(ZimClient.from_env())
    assert "RedisRateLimiter app_id=12 redis=127.0.0.1:1" in shown
    assert "hush" not in shown
    own = RateLimiter()
    assert ZimClient.from_env(limiter=own).limiter is own
    monkeypatch.setenv("ZIM_REDIS_URL", "http://:hush-hush@127.0.0.1:1/0")
    with pytest.raises(ConfigError, match="redis://") as caught:
        ZimClient.from_env()
    assert "hush" not in str(caught.value)


def test_two_places_are_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIM_SERVER_SECRET", "hush")
    monkeypatch.setenv("ZIM_REGION", "fra")
    monkeypatch.setenv("ZIM_BASE_URL", "http://127.0.0.1:1/")
    with pytest.raises(ConfigError, match="ZIM_REGION or ZIM_BASE_URL"):
        ZimClient.from_env()
    assert "host=zim-api-bom" in repr(ZimClient.from_env(region="bom"))
