import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.cli.test_main import run

CALL = ("clear-peer-message", "alice", "bob")


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[bytes]]:
    """A proxy of the environment that refuses everybody, and what it was asked for."""
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1") as server:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        monkeypatch.setenv("ZIM_APP_ID", "1")
        monkeypatch.setenv("ZIM_SERVER_SECRET", "made up")
        yield asked


async def test_commands_use_the_environments_proxy(proxy: list[bytes], capsys: pytest.CaptureFixture[str]) -> None:
    monkey = asyncio.create_task(run(*CALL))
    async with asyncio.timeout(20):
        while not proxy:
            await asyncio.sleep(0.01)
    assert proxy[0].startswith(b"CONNECT zim-api.zego.im:443")
    assert await monkey == 3


async def test_hosts_without_a_proxy_are_heeded(
    proxy: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "nowhere.invalid")
    monkeypatch.setenv("ZIM_BASE_URL", "https://nowhere.invalid/")
    assert await run(*CALL) == 3
    assert proxy == []


async def test_two_places_are_told_by_their_variables(
    proxy: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZIM_BASE_URL", "https://zim.example/")
    monkeypatch.setenv("ZIM_REGION", "fra")
    assert await run(*CALL) == 2
    err = capsys.readouterr().err
    assert "ZIM_REGION" in err
    assert "ZIM_BASE_URL" in err
    assert proxy == []


async def test_another_kind_of_proxy_is_configuration(
    proxy: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    assert await run(*CALL) == 2
    assert "proxy must be the URL of an HTTP proxy" in capsys.readouterr().err


async def test_variables_are_shown_as_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZIM_APP_ID", '"77"')
    monkeypatch.setenv("ZIM_SERVER_SECRET", "made up")
    assert await run(*CALL) == 2
    assert """not '"77"'""" in capsys.readouterr().err
