"""Children that a program forks while its event loop runs, and threads with loops of their own."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT

import pytest

from zim_async.sandbox import Sandbox

FORK = """
import asyncio, os, sys
from zim_async import ClearPeerMessage, ZimClient

ACTION = ClearPeerMessage("alice", "bob")

async def use(zim):
    return (await zim.send(ACTION)).attempts

async def use_and_close(zim):
    async with zim:
        return (await zim.send(ACTION)).attempts

async def main():
    zim = ZimClient.from_env()
    await use(zim)
    child = os.fork()
    if child == 0:
        os._exit(0 if asyncio.run(use(zim)) + asyncio.run(use_and_close(ZimClient.from_env())) == 2 else 1)
    status = await asyncio.to_thread(os.waitpid, child, 0)
    await use_and_close(zim)  # on the connection that the child had too
    return os.waitstatus_to_exitcode(status[1])

sys.exit(asyncio.run(main()))
"""
THREAD = """
import asyncio, sys, threading
from zim_async import ClearPeerMessage, ZimClient

async def use():
    async with ZimClient.from_env() as zim:
        await zim.send(ClearPeerMessage("alice", "bob"))

done = []
thread = threading.Thread(target=lambda: done.append(asyncio.run(use())))

async def main():
    await use()
    thread.start()
    await asyncio.to_thread(thread.join)
    await use()

asyncio.run(main())
sys.exit(0 if len(done) == 1 else 1)
"""


@pytest.mark.parametrize("code", [FORK, THREAD], ids=["fork", "thread"])
async def test_a_child_starts_fresh_and_a_second_loop_takes_over(code: str, env: Sandbox) -> None:
    command = [sys.executable, "-W", "error", "-c", code]
    program = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    output, _ = await asyncio.wait_for(program.communicate(), 30)
    assert (program.returncode, output) == (0, b"")
    assert env.refused == 0
