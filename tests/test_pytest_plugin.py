"""The fixtures for users' tests: here in this run, and in runs of their own from the built wheel."""

import asyncio
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from zim_async import ConvType, InvalidParameterError, NotFoundError, RateLimitedError, Response, ZimClient
from zim_async.sandbox import Sandbox

REPOSITORY = Path(__file__).parents[1]
USERS_TESTS = """
import asyncio
import os
import time

import pytest

from zim_async import NotFoundError, ZimClient

{mark}

{decorator}
async def test_nothing_waits(zim_client, zim_sandbox):
    began = time.monotonic()
    zim_sandbox.fail_next(code=7, times=5)
    for _ in range(100):
        await zim_client.clear_peer_message(from_user_id="alice", to_user_id="bob")
    assert time.monotonic() - began < 2.0
    assert zim_sandbox.busiest_second("ClearPeerMessage") > 20


{decorator}
@pytest.mark.zim(strict=True, faults=[1, NotFoundError])
async def test_the_sandbox_is_as_marked(zim_client, zim_sandbox):
    with pytest.raises(NotFoundError, match="51102"):
        await zim_client.clear_peer_message(from_user_id="alice", to_user_id="bob")
    with pytest.raises(NotFoundError, match="660200001"):
        await zim_client.clear_peer_message(from_user_id="alice", to_user_id="bob")


def test_the_environment_serves_programs_that_arent_async(zim_env):
    async def main():
        async with ZimClient.from_env() as zim:
            await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")

    zim_env.add_message("alice", "bob")
    asyncio.run(main())
    assert zim_env.messages("alice", "bob") == []
    assert "ZIM_REDIS_URL" not in os.environ
"""
ANYIO = """
@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--quiet", "--no-isolation", "--wheel", "--outdir", str(folder)]
    subprocess.run([*build, str(REPOSITORY)], check=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.parametrize(
    ("options", "mark", "decorator"),
    [
        (["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"], "", ""),
        (
            ["-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"],
            ANYIO,  # both plugins at once
            "@pytest.mark.anyio",
        ),
        (
            ["-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"],
            "",
            "@pytest.mark.asyncio",
        ),
        (["-p", "no:asyncio"], ANYIO, "@pytest.mark.anyio"),
    ],
    ids=["pytest-asyncio auto", "anyio beside pytest-asyncio", "pytest-asyncio strict", "anyio alone"],
)
def test_the_wheel_brings_the_fixtures(
    wheel: Path,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    mark: str,
    decorator: str,
) -> None:
    pytester.makepyfile(USERS_TESTS.format(mark=mark, decorator=decorator))
    hidden = pytester.mkdir("hidden")
    if "no:asyncio" in options:  # and not even installed
        (hidden / "pytest_asyncio.py").write_text("raise ImportError('not installed')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(hidden), str(wheel)]))
    monkeypatch.setenv("ZIM_REDIS_URL", "redis://127.0.0.1:1")
    run = pytester.runpytest_subprocess("-W", "error", "--strict-markers", "-p", "no:cacheprovider", *options)
    run.assert_outcomes(passed=3)


async def test_the_client_neither_queues_nor_pauses(zim_client: ZimClient, zim_sandbox: Sandbox) -> None:
    began = time.monotonic()
    zim_sandbox.fail_next(code=7, times=5)
    zim_sandbox.fail_next(code=1, times=4)
    for _ in range(50):
        await zim_client.clear_peer_message(from_user_id="alice", to_user_id="bob")
    assert time.monotonic() - began < 2.0
    assert zim_client.limiter.of("ClearPeerMessage").estimated_wait() == 0.0
    assert zim_sandbox.busiest_second("ClearPeerMessage") > 20


@pytest.mark.zim(qps=5, counting="sliding-all")
async def test_a_rate_is_kept_where_it_is_asked_for(zim_client: ZimClient) -> None:
    for _ in range(5):
        await zim_client.clear_peer_message(from_user_id="alice", to_user_id="bob")
    with pytest.raises(RateLimitedError):
        await zim_client.clear_peer_message(from_user_id="alice", to_user_id="bob")


@pytest.mark.zim(faults=[NotFoundError, 2])
async def test_faults_meet_the_first_requests(zim_client: ZimClient, zim_sandbox: Sandbox) -> None:
    with pytest.raises(NotFoundError):
        await zim_client.clear_peer_message(from_user_id="alice", to_user_id="bob")
    with pytest.raises(InvalidParameterError):
        await zim_client.clear_peer_message(from_user_id="alice", to_user_id="bob")
    await zim_client.clear_peer_message(from_user_id="alice", to_user_id="bob")
    assert [arrival.code for arrival in zim_sandbox.arrivals] == [51102, 2, 0]


def test_the_environment_is_the_sandboxs(zim_env: Sandbox, zim_sandbox: Sandbox) -> None:
    assert zim_env is zim_sandbox
    zim_env.add_message("alice", "bob")

    async def main() -> None:
        async with ZimClient.from_env() as zim:
            await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")

    asyncio.run(main())
    assert zim_env.messages("alice", "bob") == []


async def test_a_clients_mock_knows_its_methods_and_returns_what_it_is_told() -> None:
    zim = create_autospec(ZimClient, instance=True)
    zim.clear_peer_message.return_value = Response(action="ClearPeerMessage")
    zim.delete_conv.side_effect = NotFoundError("no such conversation", code=660800002)
    assert (await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")).code == 0
    with pytest.raises(NotFoundError):
        await zim.delete_conv(from_user_id="alice", conv_id="bob", conv_type=ConvType.PEER)
    with pytest.raises(TypeError):
        await zim.clear_peer_message(from_user="alice")
