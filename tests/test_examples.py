"""The README's examples, each run for real. Those for the web are in ``test_web_examples``."""

import asyncio
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiogram import Bot
from aiogram.methods import SendMessage
from aiogram.types import Chat, Message, Update, User

import aiogram_bot
import bulk
import first_call
import telemetry_main
from mock_tests import test_nobody_forgets_bob, test_without_a_server  # noqa: F401
from own_tests import (  # noqa: F401, they run here
    test_alice_forgets_bob_but_not_the_reverse,
)
from tests.conftest import MakeClient
from zim_async import ConvType, RetryPolicy, TransportError, ZimClient
from zim_async.sandbox import Sandbox

SENTRY_PROGRAM = """
import asyncio, sys
import sentry_init, sentry_sdk
from sentry_sdk.integrations.aiohttp import AioHttpIntegration
from sentry_sdk.transport import Transport
from zim_async import ZimClient, ZimError

class Printed(Transport):
    def capture_envelope(self, envelope):
        sys.stdout.buffer.write(envelope.serialize())

async def main():
    with sentry_sdk.start_transaction(op="test", name="test"):
        async with ZimClient.from_env() as zim:
            try:
                await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")
            except ZimError as error:
                sentry_sdk.capture_exception(error)

options = {"transport": Printed, "integrations": [AioHttpIntegration()], "traces_sample_rate": 1.0}
if sys.argv[1] == "with":
    sentry_init.init("http://key@127.0.0.1:1/1", **options)
else:
    sentry_sdk.init("http://key@127.0.0.1:1/1", **options)
asyncio.run(main())
"""


async def test_first_call(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    await first_call.main()
    assert [arrival.action for arrival in env.arrivals] == ["ClearPeerMessage", "DeleteConv"]
    assert capsys.readouterr().out.strip().isdigit()


class Chatter:
    """A user of the bot, offline: says things, and keeps what is answered."""

    def __init__(self, zim: ZimClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[str] = []

        async def note(bot: Bot, method: SendMessage, request_timeout: int | None = None) -> None:
            self.answers.append(method.text)

        monkeypatch.setattr(Bot, "__call__", note)
        self.bot, self.dispatcher = Bot("1:offline"), aiogram_bot.make_dispatcher(zim)

    async def say(self, text: str) -> None:
        chat, user = Chat(id=1, type="private"), User(id=1, is_bot=False, first_name="Ann")
        message = Message(message_id=1, date=datetime.now(UTC), chat=chat, from_user=user, text=text)
        await self.dispatcher.feed_update(self.bot, Update(update_id=1, message=message))


async def test_a_bot_always_answers(box: Sandbox, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    chatter = Chatter(make_client(retry=RetryPolicy(attempts=1)), monkeypatch)
    box.add_message("alice", "bob")
    await chatter.say("/forget alice bob")
    assert box.messages("alice", "bob") == []
    await chatter.say("/forget alice")
    box.drop_next()
    with pytest.raises(TransportError):
        await chatter.say("/forget alice bob")
    await chatter.dispatcher.emit_shutdown()
    assert chatter.answers[0] == "Forgotten."
    assert "to_user_id must have 1 to 32 characters" in chatter.answers[1]
    assert chatter.answers[2] == "Not forgotten: the chat server is busy. Try again in a minute."


async def test_a_bulk_job_stops_and_resumes(
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

    zim, stop = make_client(), asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, stop.set)
    interrupted = await bulk.leave_groups(zim, members(), stop)
    assert interrupted.interrupted
    assert 0 < interrupted.done < 30
    box.fail_next(code=660600001)
    report = await bulk.leave_groups(zim, members())
    assert (report.done, report.not_found) == (44, 1)
    assert capsys.readouterr().out.endswith("44 done, 0 to go\n")
    assert sum(box.messages("alice", group, ConvType.GROUP) is None for group in groups) == 44
    assert box.refused == 0


async def test_metrics_reach_prometheus(env: Sandbox, unused_tcp_port: int) -> None:
    await telemetry_main.main(unused_tcp_port)
    with urllib.request.urlopen(f"http://127.0.0.1:{unused_tcp_port}/metrics") as page:
        text = page.read().decode()
    assert "rpc_client_call_duration_seconds_count{" in text
    assert "zim_async_attempts_total{" in text
    assert "zim_async_permits{" in text


@pytest.mark.parametrize(("way", "leaks"), [("with", False), ("without", True)])
async def test_sentry_never_sees_a_signature(env: Sandbox, tmp_path: Path, way: str, leaks: bool) -> None:
    env.fail_next(code=2)
    path = os.pathsep.join(sys.path)
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SENTRY_PROGRAM, way),
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
    )
    sent, _ = await program.communicate()
    assert program.returncode == 0
    assert b"InvalidParameterError" in sent
    assert b"httplib" in sent
    assert (b"Signature=" in sent) is leaks
