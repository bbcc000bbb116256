"""The way to Redis: one script, one deadline, and failures as values that hold no password.

The rule about the password: redis-py's errors are never raised, chained, logged or kept. Their frames hold what the
connection was made with. What leaves here are texts of this module.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from redis import exceptions
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ..errors import ConfigError

AnyRedis: TypeAlias = Redis | RedisCluster

SCRIPT: Final = Path(__file__).with_name("_redis_step.lua").read_text(encoding="utf-8")
SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
CLOSE_WITHIN: Final = 0.5  # seconds
# Of connections made here. A step has a deadline of its own, and repeats itself.
SOCKET_TIMEOUT: Final = 0.6  # seconds
_OPTIONS: Final[dict[str, Any]] = {
    "protocol": 2,  # saves a round trip when connecting
    "socket_timeout": SOCKET_TIMEOUT,
    "socket_connect_timeout": SOCKET_TIMEOUT,
    "retry": Retry(NoBackoff(), 0),
}

# What the server says, as an error of redis-py's or as the first word of a script's error: what that is, and advice.
_REFUSALS: Final = (
    (
        "WRONGTYPE",
        "its key holds something else",
        "Find what else writes keys that begin with zim:, and delete this one",
    ),
    ("READONLY", "it is a replica", "Connect to the primary"),
    ("OOM", "its memory is full", "Raise its maxmemory, or let it evict keys"),
    ("NOAUTH", "it asks for a password", "Put user and password into the URL"),
    ("WRONGPASS", "it refused the credentials", "Check user and password"),
    ("NOPERM", "its user lacks a right", "Allow the user EVAL, EVALSHA, TIME, PEXPIRE, DEL and Z* on keys zim:*"),
    ("MOVED", "it is one node of a cluster", "Give a redis.asyncio.RedisCluster instead of a URL"),
    ("ASK", "it is one node of a cluster", "Give a redis.asyncio.RedisCluster instead of a URL"),
    ("CLUSTERDOWN", "its cluster is down", "See to the cluster"),
    ("MISCONF", "it takes no writes because it can't save to disk", "See to its disk"),
    ("LOADING", "it is starting", "Try again later"),
    ("BUSY", "it is busy with a script", "Try again later"),
    ("MASTERDOWN", "it is a replica without its primary", "Connect to the primary"),
)
_UNREACHABLE: Final = "See whether it is overloaded, or the network down"
_KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.AuthenticationError, "WRONGPASS"),
    (exceptions.AskError, "ASK"),
    (exceptions.MovedError, "MOVED"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.MasterDownError, "MASTERDOWN"),
)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why a step failed.

    Attributes:
        reason: What is wrong with Redis.
        advice: What to do about it.
        disconnected: Whether the connection was found dead: another try on a new one may pass.
    """

    reason: str
    advice: str
    disconnected: bool = False


class RedisSource:
    """Where Redis is, and the links to it, one for each event loop.

    Args:
        url_or_client: A URL, or redis-py's asyncio client, which is never closed here.

    Raises:
        ConfigError: It is neither.
    """

    def __init__(self, url_or_client: str | AnyRedis) -> None:
        self._given: str | AnyRedis | None = None
        self._links: dict[asyncio.AbstractEventLoop, RedisLink] = {}
        self.address = ""
        try:
            problem = self._take(url_or_client)
        finally:
            del url_or_client  # error trackers show the locals of a failed frame
        if problem:
            raise ConfigError(problem)

    def __repr__(self) -> str:
        return f"<RedisSource {self.address}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a limiter on Redis can't be pickled or copied: it may hold a password. Make one in each process"
        )

    def link(self) -> RedisLink:
        """Return the link of the running event loop."""
        loop = asyncio.get_running_loop()
        if (link := self._links.get(loop)) is None:
            self._forget_closed_loops()
            given = self._given
            if isinstance(given, str):
                link = RedisLink(Redis.from_url(given, **_OPTIONS), owned=True)
            else:
                link = RedisLink(given, owned=False)
            self._links[loop] = link
        return link

    def take_link(self) -> RedisLink | None:
        """Return the link of the running event loop, if there is one, to be closed: whoever comes next gets another."""
        self._forget_closed_loops()
        return self._links.pop(asyncio.get_running_loop(), None)

    def _forget_closed_loops(self) -> None:
        # There is nothing to be done for connections on a loop that was closed before them.
        for loop in [loop for loop in list(self._links) if loop.is_closed()]:
            self._links.pop(loop, None)

    def _take(self, given: object) -> str:
        """Keep what was given, and return what is wrong with it, if anything."""
        if isinstance(given, str):
            try:
                pool = Redis.from_url(given, **_OPTIONS).connection_pool
                pool.make_connection()  # type: ignore[no-untyped-call]
            except Exception:  # noqa: BLE001, of many kinds, with the password in their frames
                return f"the URL of Redis must be like redis://user:password@host:6379/0 or {_OTHER_URLS}; this isn't"
            options = pool.connection_kwargs
            if "@" in given and not {"host", "path"} & set(options):  # part of the password would show as the port
                return "the password in the URL of Redis must have its /, ? and # written as %2F, %3F and %23"
            self._given, self.address = given, _address(options)
        elif isinstance(given, Redis):
            self._given, self.address = given, _address(given.connection_pool.connection_kwargs)
        elif isinstance(given, RedisCluster):
            self._given, self.address = given, "the cluster"
        else:
            return f"give a URL or redis-py's asyncio client (redis.asyncio.Redis), not {type(given).__name__}"
        return ""


_OTHER_URLS: Final = "rediss://host:6379/0 or unix:///path?db=0, with options of redis-py alone"


def _address(options: dict[str, Any]) -> str:
    if "path" in options:
        return str(options["path"])
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


class RedisLink:
    """Runs the script on one event loop.

    Args:
        client: redis-py's asyncio client, for one server or a cluster.
        owned: Whether to close the client too.
    """

    def __init__(self, client: Any, *, owned: bool) -> None:
        self._client = client
        self._owned = owned
        self._left: set[asyncio.Task[list[int]]] = set()

    async def run(self, key: str, arguments: list[str | int], timeout: float) -> list[int] | Unavailable:
        """Run the script, and return its reply or why there is none.

        Args:
            key: The sorted set.
            arguments: The script's.
            timeout: In seconds. It is kept, whatever redis-py does.
        """
        task = asyncio.create_task(self._evaluate(key, arguments))
        # Cancelling a command of redis-py may take longer than its reply would, so a late one is left to itself.
        self._left.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait({task}, timeout=timeout)
        if not done:
            return Unavailable(f"it doesn't reply within {timeout:.1f} s", _UNREACHABLE)
        if task.cancelled():
            return Unavailable("the limiter was closed", "Close it later")
        error = task.exception()
        return task.result() if error is None else _explain(error)

    async def close(self) -> None:
        """Disconnect, if the client is owned, and end what was left to itself."""
        for task in self._left:
            task.cancel()
        ending: set[asyncio.Task[Any]] = set(self._left)
        if self._owned:
            ending.add(asyncio.create_task(self._client.aclose()))
        if ending:
            await asyncio.wait(ending, timeout=CLOSE_WITHIN)

    async def _evaluate(self, key: str, arguments: list[str | int]) -> list[int]:
        try:
            reply: list[int] = await self._client.evalsha(SHA, 1, key, *arguments)
        except exceptions.NoScriptError:
            reply = await self._client.eval(SCRIPT, 1, key, *arguments)
        return reply

    def _forget(self, task: asyncio.Task[list[int]]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, lest asyncio log it with its frames


def _explain(error: BaseException) -> Unavailable:
    word = next((word for kind, word in _KINDS if isinstance(error, kind)), "")
    said = str(error).split()
    if word == "WRONGPASS" and "required." in said:
        word = "NOAUTH"
    for code, reason, advice in _REFUSALS:
        if word == code or (not word and code in said):
            return Unavailable(reason, advice)
    name = type(error).__name__
    if isinstance(error, RuntimeError):  # of a client that was given, and used on another loop before
        reason = "its connection belongs to another event loop"
        return Unavailable(reason, "Give a URL, or a client for each loop", disconnected=True)
    if isinstance(error, exceptions.TimeoutError):
        return Unavailable(f"it doesn't reply ({name})", _UNREACHABLE)
    if isinstance(error, exceptions.ConnectionError | OSError):
        return Unavailable(f"it can't be connected to ({name})", "Check its URL, and that it is up", disconnected=True)
    return Unavailable(f"it failed ({name})", "See its log; it must be Redis 6.2 or newer, or Valkey")
