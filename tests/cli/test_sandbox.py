import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cli.test_main import COMMAND

Serve = Callable[..., dict[str, str]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Run sandboxes in processes of their own; returns the environment that their lines make."""
    processes: list[subprocess.Popen[str]] = []

    def serve(*options: str, **environment: str) -> dict[str, str]:
        process = subprocess.Popen(
            [*COMMAND, "sandbox", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        processes.append(process)
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == "# serving until interrupted\n"
        os.set_blocking(process.stdout.fileno(), False)
        lines = process.stdout.read().splitlines()
        return dict(line.removeprefix("export ").split("=", 1) for line in lines)

    yield serve
    for process in processes:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        process.communicate()


def call(settings: dict[str, str], *arguments: str) -> Any:
    return subprocess.run([*COMMAND, *arguments], env=os.environ | settings, capture_output=True, text=True, timeout=30)


CLEAR = ("clear-peer-message", "alice", "bob")


def test_it_serves_other_processes(serve: Serve) -> None:
    settings = serve()
    assert sorted(settings) == ["ZIM_APP_ID", "ZIM_BASE_URL", "ZIM_SERVER_SECRET"]
    done = call(settings, *CLEAR)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ClearPeerMessage done" in done.stdout
    taken = settings["ZIM_BASE_URL"].rstrip("/").rpartition(":")[2]
    again = call({}, "sandbox", "--port", taken)
    assert again.returncode == 2
    assert f"can't listen on port {taken}" in again.stderr


def test_failures_can_be_rehearsed(serve: Serve) -> None:
    settings = serve("--app-id", "7", "--server-secret", "made up", "--fail", "1:2", "--fail", "2", "--delay", "0.01")
    assert (settings["ZIM_APP_ID"], settings["ZIM_SERVER_SECRET"]) == ("7", "'made up'")
    settings["ZIM_SERVER_SECRET"] = "made up"
    refused = call(settings, *CLEAR)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "after 3 attempts: code 2" in refused.stderr
    assert call(settings, *CLEAR).returncode == 0


def test_a_strict_one_knows_nobody(serve: Serve) -> None:
    done = call(serve("--strict"), *CLEAR)
    assert (done.returncode, "660200001" in done.stderr) == (1, True)


def test_one_that_accepts_a_call_a_second(serve: Serve) -> None:
    settings = serve("--qps", "1")
    assert call(settings, *CLEAR).returncode == 0
    assert "660" not in call(settings, *CLEAR).stderr


def test_a_secret_of_the_environment_is_taken_and_not_shown(serve: Serve) -> None:
    settings = serve("--app-id", "7", ZIM_SERVER_SECRET="of compose")
    assert sorted(settings) == ["ZIM_APP_ID", "ZIM_BASE_URL"]
    assert call(settings | {"ZIM_SERVER_SECRET": "of compose"}, *CLEAR).returncode == 0


def test_a_secret_of_the_environment_is_left_alone_without_an_app_id(serve: Serve) -> None:
    settings = serve(ZIM_SERVER_SECRET="a real one")
    assert settings["ZIM_SERVER_SECRET"] != "a real one"
