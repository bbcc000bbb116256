"""The client: options, environment and lifetime, and one method for each action."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Literal, Self, TypedDict, Unpack, cast

import aiohttp

from ._call import Caller
from ._endpoints import Region, RegionName, quota_domain, resolve
from ._environment import check_environment, read_app_id, read_place, read_secret, redis_limiter
from ._pages import Pages
from ._protocol import Credentials, Response, ready_to_send, to_request
from ._text import show_value
from ._timeouts import RANGE, is_duration
from .actions import (
    MAX_PAGE,
    Action,
    ClearMemberGroupMessage,
    ClearPeerMessage,
    Conversation,
    ConvType,
    DeleteConv,
    QueryConversationList,
    check_action,
)
from .errors import ClosedError, ConfigError
from .events import Emitter, Observer
from .limits import Priority, Rate, RateLimiter
from .limits.registry import shared_limiters
from .retry import RetryPolicy
from .session import SessionManager


class ClientOptions(TypedDict, total=False):
    """The keyword options of ``ZimClient``, which explains them."""

    region: Region | RegionName | None
    base_url: str | None
    qps: Rate | None
    timeout: float
    deadline: float | None
    max_wait: float | None
    retry: RetryPolicy | None
    limiter: RateLimiter | None
    sessions: SessionManager | None
    session: aiohttp.ClientSession | None
    observers: Iterable[Observer]


class ZimClient:
    """Calls the ZIM server API for one application, at its rate and with retries.

    Use it as ``async with``, or call ``close``. Building one needs no running event loop. It serves one loop at a
    time: after a loop was closed, the next one opens anew.

    Args:
        app_id: The AppId shown in the vendor's console.
        server_secret: The server secret beside it.
        region: The vendor's host nearest to your server, a ``Region`` or its short name. Default: the host that
            routes by itself.
        base_url: Another URL instead of a region. Plain http is for loopback only.
        qps: The quota in calls a second: a number for every action, or a mapping by action name or class. It
            belongs to the application. All its clients in the process share it, and the latest to state it sets it.
            Default: the vendor's limit, 20 for most actions.
        timeout: For one attempt, in seconds.
        deadline: For queue, attempts and waits together, in seconds. Default: none.
        max_wait: For the queue, repeats' turns included, in seconds. A call whose wait is likely to be longer fails
            immediately with ``QueueTimeoutError``. Default: none.
        retry: How often what failed is sent again.
        limiter: A limiter of your own instead of the one shared by AppId in this process, or a
            ``RedisRateLimiter`` to share the quota among processes.
        sessions: A ``SessionManager`` to share one connector among clients. It is not closed here.
        session: Your own aiohttp session, whose connections are used. It is not closed here.
        observers: Called with each event of each call (see ``zim_async.events``).

    Raises:
        ConfigError: An option is missing or out of range.

    Example:
        async with ZimClient(1234567890, server_secret, region="fra", deadline=10) as zim:
            await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")
    """

    def __init__(
        self,
        app_id: int,
        server_secret: str,
        *,
        region: Region | RegionName | None = None,
        base_url: str | None = None,
        qps: Rate | None = None,
        timeout: float = 10.0,
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
        limiter: RateLimiter | None = None,
        sessions: SessionManager | None = None,
        session: aiohttp.ClientSession | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        try:
            credentials = Credentials(app_id, server_secret)
        finally:
            del server_secret  # error trackers show the locals of a failed frame
        self._app_id = app_id
        self._url = resolve(region, base_url)
        for name, seconds in {"timeout": timeout, "deadline": deadline, "max_wait": max_wait}.items():
            if not (is_duration(seconds) or (seconds is None and name != "timeout")):
                raise ConfigError(f"{name} must be a number of seconds {RANGE}, not {show_value(seconds)}")
        if sessions is not None and session is not None:
            raise ConfigError("give sessions or session, not both")
        for name, option, kind in (
            ("retry", retry, RetryPolicy),
            ("limiter", limiter, RateLimiter),
            ("sessions", sessions, SessionManager),
        ):
            if not isinstance(option, kind | None):
                raise ConfigError(f"{name} must be a {kind.__name__}, not {show_value(option)}")
        self._limiter = limiter or shared_limiters.find(quota_domain(self._url), app_id)
        self._limiter.attach(self)
        if qps is not None:
            self._limiter.qps = qps
        self._owns_sessions = sessions is None
        self._sessions = sessions or SessionManager(session=session)
        self._caller = Caller(
            credentials,
            self._url,
            self._limiter,
            self._sessions,
            Emitter(observers),
            timeout=timeout,
            deadline=deadline,
            max_wait=max_wait,
            policy=retry or RetryPolicy(),
        )

    @classmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """Build a client from the environment.

        ``ZIM_APP_ID`` is needed, and ``ZIM_SERVER_SECRET`` or ``ZIM_SERVER_SECRET_FILE``, a file that holds the secret.
        ``ZIM_REGION`` or ``ZIM_BASE_URL`` say where to. ``ZIM_REDIS_URL`` shares the quota through Redis.

        Args:
            **options: Those of the class. They go before the environment.

        Returns:
            The client.

        Raises:
            ConfigError: A variable is missing, or an option is out of range.
        """
        check_environment()
        app_id = read_app_id()
        if options.get("region") is None and options.get("base_url") is None:
            region, options["base_url"] = read_place()
            options["region"] = cast("RegionName | None", region)  # any text: checked with the other options
        if options.get("limiter") is None:
            options["limiter"] = redis_limiter(app_id)
        return cls(app_id, read_secret(), **options)

    def __repr__(self) -> str:
        if not hasattr(self, "_caller"):
            return "<ZimClient, not configured>"
        return f"<ZimClient app_id={self._app_id} host={self._url.host} {self._limiter!r}>"

    async def __aenter__(self) -> Self:
        if self._caller.closed:
            raise ClosedError("the client is closed; make a new one")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Refuse new calls, end those that wait, and close sessions of its own after the calls in flight."""
        try:
            await self._caller.close()
        finally:
            try:
                if self._owns_sessions:
                    await self._sessions.close()
            finally:
                await self._limiter.detach(self)  # after the last call's end, which it passes on

    @property
    def app_id(self) -> int:
        """The application that calls are made for."""
        return self._app_id

    @property
    def host(self) -> str:
        """The name of the host that calls go to."""
        return self._url.host or ""

    @property
    def limiter(self) -> RateLimiter:
        """The limiter in use, for its live state. ``RateLimiter.of`` returns that of an action."""
        return self._limiter

    @property
    def qps(self) -> Mapping[str, float]:
        """Calls a second by action name. Set it, while running too, to a number or to a mapping of those to change."""
        return self._limiter.qps

    @qps.setter
    def qps(self, qps: Rate) -> None:
        self._limiter.qps = qps

    async def clear_peer_message(
        self,
        *,
        from_user_id: str,
        to_user_id: str,
        priority: Priority = "interactive",
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Remove every message between two users from the view of one of them.

        Args:
            from_user_id: The user whose view is cleared, 1 to 32 characters.
            to_user_id: The other user, who keeps the messages.
            priority: "bulk" lets "interactive" calls go first.
            deadline: For queue, attempts and waits together, in seconds. Default: the client's.
            max_wait: For the queue, in seconds. Default: the client's.
            retry: How often to repeat what failed. Default: the client's.

        Returns:
            The server's response.

        Raises:
            InvalidArgumentError: An argument is wrong. Nothing was sent.
            ApiError: The server refused, as one of its subclasses.
            QueueTimeoutError: The queue is longer than ``max_wait`` or the deadline. Nothing was sent.
            TransportError: No usable response came.
            ProtocolError: A response came that isn't the documented one.

        Example:
            await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")
        """
        action = ClearPeerMessage(from_user_id, to_user_id)
        turn = await self._caller.enter_queue(action, priority, deadline, max_wait)
        return await self._caller.send(action, turn, priority, retry)

    async def delete_conv(
        self,
        *,
        from_user_id: str,
        conv_id: str,
        conv_type: ConvType,
        priority: Priority = "interactive",
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Remove a conversation from one user's list. Its messages stay, and nobody else is affected.

        Args:
            from_user_id: The user whose list it is, 1 to 32 characters.
            conv_id: The other user's ID, or the group's.
            conv_type: What ``conv_id`` names. It has no default: a forgotten one would address another conversation.
            priority: "bulk" lets "interactive" calls go first.
            deadline: For queue, attempts and waits together, in seconds. Default: the client's.
            max_wait: For the queue, in seconds. Default: the client's.
            retry: How often to repeat what failed. Default: the client's.

        Returns:
            The server's response.

        Raises:
            InvalidArgumentError: An argument is wrong. Nothing was sent.
            ApiError: The server refused, as one of its subclasses.
            QueueTimeoutError: The queue is longer than ``max_wait`` or the deadline. Nothing was sent.
            TransportError: No usable response came.
            ProtocolError: A response came that isn't the documented one.

        Example:
            await zim.delete_conv(from_user_id="alice", conv_id="g7", conv_type=ConvType.GROUP)
        """
        action = DeleteConv(from_user_id, conv_id, conv_type)
        turn = await self._caller.enter_queue(action, priority, deadline, max_wait)
        return await self._caller.send(action, turn, priority, retry)

    async def clear_member_group_message(
        self,
        *,
        from_user_id: str,
        group_id: str,
        priority: Priority = "interactive",
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Remove every message of a group from the view of one member.

        Args:
            from_user_id: The member whose view is cleared, 1 to 32 characters.
            group_id: The group, whose other members keep the messages.
            priority: "bulk" lets "interactive" calls go first.
            deadline: For queue, attempts and waits together, in seconds. Default: the client's.
            max_wait: For the queue, in seconds. Default: the client's.
            retry: How often to repeat what failed. Default: the client's.

        Returns:
            The server's response.

        Raises:
            InvalidArgumentError: An argument is wrong. Nothing was sent.
            ApiError: The server refused, as one of its subclasses.
            QueueTimeoutError: The queue is longer than ``max_wait`` or the deadline. Nothing was sent.
            TransportError: No usable response came.
            ProtocolError: A response came that isn't the documented one.

        Example:
            await zim.clear_member_group_message(from_user_id="alice", group_id="g7")
        """
        action = ClearMemberGroupMessage(from_user_id, group_id)
        turn = await self._caller.enter_queue(action, priority, deadline, max_wait)
        return await self._caller.send(action, turn, priority, retry)

    async def query_conversation_list(
        self,
        *,
        from_user_id: str,
        limit: int = 100,
        next: int = 0,  # noqa: A002, the vendor's name for it
        priority: Priority = "interactive",
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Read one page of a user's conversations, as the vendor spells it. ``conversations`` reads them all.

        Args:
            from_user_id: The user, 1 to 32 characters.
            limit: The most conversations that the page may hold, 1 to 500.
            next: 0 for the first page, then the ``Next`` of the page before.
            priority: "bulk" lets "interactive" calls go first.
            deadline: For queue, attempts and waits together, in seconds. Default: the client's.
            max_wait: For the queue, in seconds. Default: the client's.
            retry: How often to repeat what failed. Default: the client's.

        Returns:
            The server's response. Its ``data`` holds ``List``, ``Next`` and ``TotalCount``.

        Raises:
            InvalidArgumentError: An argument is wrong. Nothing was sent.
            ApiError: The server refused, as one of its subclasses.
            QueueTimeoutError: The queue is longer than ``max_wait`` or the deadline. Nothing was sent.
            TransportError: No usable response came.
            ProtocolError: A response came that isn't the documented one.

        Example:
            response = await zim.query_conversation_list(from_user_id="alice", limit=500)
        """
        action = QueryConversationList(from_user_id, limit, next)
        turn = await self._caller.enter_queue(action, priority, deadline, max_wait)
        return await self._caller.send(action, turn, priority, retry)

    async def conversations(
        self,
        user_id: str,
        *,
        priority: Priority = "interactive",
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> AsyncIterator[Conversation]:
        """Read all conversations in a user's list, the latest 1,000 at the vendor, oldest first.

        Read to the end before you delete any: what a page's ``Next`` encodes is undocumented.

        Args:
            user_id: The user, 1 to 32 characters.
            priority: "bulk" lets "interactive" calls go first.
            deadline: For each page, in seconds. Default: the client's.
            max_wait: For the queue before each page, in seconds. Default: the client's.
            retry: How often to repeat what failed. Default: the client's.

        Yields:
            Each conversation once.

        Raises:
            NotFoundError: The server doesn't know the user.
            ProtocolError: A page isn't the documented one, repeats an earlier one, or the pages don't end.
            ZimError: As in ``query_conversation_list``.

        Example:
            async for conversation in zim.conversations("alice"):
                print(conversation.conv_id, conversation.conv_type, conversation.updated_at)
        """
        pages = Pages()
        while not pages.ended:
            action = QueryConversationList(user_id, MAX_PAGE, pages.next)
            response = await self.send(action, priority=priority, deadline=deadline, max_wait=max_wait, retry=retry)
            for conversation in pages.add(response):
                yield conversation

    async def call(
        self,
        name: str,
        body: Mapping[str, Any] | None = None,
        *,
        method: Literal["POST", "GET"] = "POST",
        idempotent: bool = False,
        qps: float | None = None,
        priority: Priority = "interactive",
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Call any action of the server API, with the same signature, quota, retries and errors.

        An action may succeed in part: the response then has a list of what failed, whose name differs by action
        (``ErrorList``, ``ErrList``, ``ErrorUsers``, ``FailList``, ``Fails``). That raises nothing. Look into ``data``.

        Args:
            name: The action's name in the vendor's spelling, ASCII letters and digits.
            body: The request's parameters in the vendor's spelling. With "GET" they go into the query.
            method: As the vendor documents for the action.
            idempotent: Whether doing it twice leaves the same state. If not, it is sent again only when it surely
                wasn't done.
            qps: The vendor's limit for the action in calls a second. It stays set. Default: 20, or as set before.
            priority: "bulk" lets "interactive" calls go first.
            deadline: For queue, attempts and waits together, in seconds. Default: the client's.
            max_wait: For the queue, in seconds. Default: the client's.
            retry: How often to repeat what failed. Default: the client's.

        Returns:
            The server's response. Its ``data`` holds everything besides code, message and request ID.

        Raises:
            InvalidArgumentError: An argument is wrong. Nothing was sent.
            ApiError: The server refused, as one of its subclasses.
            QueueTimeoutError: The queue is longer than ``max_wait`` or the deadline. Nothing was sent.
            TransportError: No usable response came.
            ProtocolError: A response came that isn't the documented one.

        Example:
            response = await zim.call("QueryUserInfos", {"UserIds": ["alice"]}, idempotent=True)
            print(response.data["Users"])
        """
        request = to_request(name, body, method, idempotent)
        if qps is not None:
            self._limiter.qps = {name: qps}
        turn = await self._caller.enter_queue(request, priority, deadline, max_wait)
        return await self._caller.send(request, turn, priority, retry)

    async def send(
        self,
        action: Action,
        *,
        priority: Priority = "interactive",
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Send an action when its turn comes, and again where that may help.

        Args:
            action: One of the package's actions, or of your own (see ``Action``).
            priority: "bulk" lets "interactive" calls go first.
            deadline: For queue, attempts and waits together, in seconds. Default: the client's.
            max_wait: For the queue, in seconds. Default: the client's.
            retry: How often to repeat what failed. Default: the client's.

        Returns:
            The server's response.

        Raises:
            InvalidArgumentError: An argument is wrong. Nothing was sent.
            ApiError: The server refused, as one of its subclasses.
            QueueTimeoutError: The queue is longer than ``max_wait`` or the deadline. Nothing was sent.
            TransportError: No usable response came.
            ProtocolError: A response came that isn't the documented one.

        Example:
            await zim.send(DeleteConv("alice", "g7", ConvType.GROUP), priority="bulk")
        """
        check_action(action)
        ready = ready_to_send(action)
        turn = await self._caller.enter_queue(ready, priority, deadline, max_wait)
        return await self._caller.send(ready, turn, priority, retry)
