"""The README's examples, each run for real."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from aiogram import Bot
from aiogram.methods import SendMessage
from aiogram.types import Chat, Message, Update, User
from aiohttp import web

from tests.conftest import MakeClient
from tests.examples import aiogram_bot, aiohttp_app, bulk, fastapi_app, first_call, own_tests
from zim_async import ConvType
from zim_async.sandbox import Sandbox

EXAMPLES = sorted(path for path in Path(__file__).with_name("examples").glob("*.py") if path.stat().st_size)
README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_readme_shows_what_is_tested_here(path: Path) -> None:
    assert f"```python\n{path.read_text()}```\n" in README.read_text()


def test_the_readme_shows_no_other_code() -> None:
    assert README.read_text().count("```python\n") == len(EXAMPLES)


async def test_first_call(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    await first_call.main()
    assert [arrival.action for arrival in env.arrivals] == ["ClearPeerMessage", "DeleteConv"]
    assert capsys.readouterr().out.strip().isdigit()


async def test_fastapi_under_uvicorn(env: Sandbox) -> None:
    for number in range(30):
        env.add_message("alice", f"friend-{number}")
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(uvicorn.Config(fastapi_app.app, log_level="error", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([listener]))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with aiohttp.ClientSession() as browser:

        async def delete(other: str) -> int:
            async with browser.delete(f"{base}/users/alice/chats/{other}") as response:
                return response.status

        assert await asyncio.gather(*(delete(f"friend-{number}") for number in range(30))) == [204] * 30
        env.fail_next(code=660800002)
        assert await delete("nobody") == 404
        statuses = await asyncio.gather(*(delete("somebody") for _ in range(90)))
        assert set(statuses) == {204, 503}  # for some, the queue would be longer than they may wait
    assert all(env.messages("alice", f"friend-{number}") is None for number in range(30))
    assert env.refused == 0
    server.should_exit = True
    await serving


async def test_aiohttp_app(env: Sandbox) -> None:
    env.add_message("alice", "bob")
    runner = web.AppRunner(aiohttp_app.make_app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/users/alice/messages/bob"
    async with aiohttp.ClientSession() as browser, browser.delete(url) as response:
        assert response.status == 204
    await runner.cleanup()
    assert env.messages("alice", "bob") == []


async def test_aiogram_handler(box: Sandbox, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str] = []

    async def note(self: Bot, method: SendMessage, request_timeout: int | None = None) -> None:
        answers.append(method.text)

    monkeypatch.setattr(Bot, "__call__", note)
    bot, dispatcher = Bot("1:offline"), aiogram_bot.make_dispatcher(make_client())

    async def receive(text: str) -> None:
        chat, user = Chat(id=1, type="private"), User(id=1, is_bot=False, first_name="Ann")
        message = Message(message_id=1, date=datetime.now(UTC), chat=chat, from_user=user, text=text)
        await dispatcher.feed_update(bot, Update(update_id=1, message=message))

    box.add_message("alice", "bob")
    await receive("/forget alice bob")
    assert box.messages("alice", "bob") == []
    await receive("/forget alice")
    await dispatcher.emit_shutdown()
    assert answers[0] == "Forgotten."
    assert "to_user_id must have 1 to 32 characters" in answers[1]


async def test_bulk(
    box: Sandbox,
    make_client: MakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    groups = [f"g{number}" for number in range(45)]
    for group in groups:
        box.add_group(group, ["alice", "bob"])

    async def members() -> AsyncIterator[tuple[str, str]]:
        for group in groups:
            yield "alice", group

    zim = make_client()
    await bulk.leave_some_groups(zim, 0.5, members())
    assert sum(box.messages("alice", group, ConvType.GROUP) is None for group in groups) == pytest.approx(11, abs=4)
    box.fail_next(code=660600001)
    assert await bulk.leave_groups(zim, members()) == 45
    assert capsys.readouterr().out.endswith("44 done, 0 to go\n")
    assert sum(box.messages("alice", group, ConvType.GROUP) is None for group in groups) == 44
    assert box.refused == 0


async def test_own_tests() -> None:
    await own_tests.test_alice_forgets_bob_but_not_the_reverse()
