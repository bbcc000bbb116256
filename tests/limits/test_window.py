"""The plug, seen from the limiter: a window that has its permits from elsewhere, as a shared quota has."""

import asyncio
import time
from collections.abc import Callable

import pytest

from zim_async import ClosedError, RateLimiter, ZimError
from zim_async.limits import Permit, Priority, _action


class Far:
    """A window whose permits a test hands out; it notes what it is told."""

    def __init__(self, action: str, qps: float) -> None:
        self.action, self.qps = action, qps
        self.in_hand: list[Priority] = []
        self.told: list[str] = []
        self.expected = (0, 0)
        self.error: str | None = None

    permits = 7.0
    idle = False

    def open(self, on_change: Callable[[], None]) -> None:
        self.told.append("open")
        self.on_change = on_change

    async def close(self) -> None:
        self.told.append("close")

    def try_take(self, priority: Priority) -> Permit | None:
        if self.error is not None:
            raise ZimError(self.error)
        if not self.in_hand or (priority == "bulk" and "bulk" not in self.in_hand):
            return None
        self.in_hand.remove(priority if priority in self.in_hand else "bulk")
        return FarPermit(self)

    def expect(self, interactive: int, bulk: int) -> None:
        self.expected = (interactive, bulk)

    def estimated_wait(self, priority: Priority, ahead: int) -> float:
        return float(ahead)

    def resize(self, qps: float) -> None:
        self.qps = qps


class FarPermit:
    def __init__(self, window: Far) -> None:
        self.window = window

    def release(self, *, min_round_trip: float = 0.0, throttled: bool = False) -> None:
        self.window.told.append(f"release {min_round_trip:g} {throttled}")

    def cancel(self) -> None:
        self.window.told.append("cancel")


@pytest.fixture
def windows() -> dict[str, Far]:
    return {}


@pytest.fixture
def limiters(windows: dict[str, Far]) -> RateLimiter:
    def make(action: str, qps: float) -> Far:
        windows[action] = Far(action, qps)
        return windows[action]

    return RateLimiter({"DeleteConv": 30}, window=make)


async def test_an_action_has_a_window_of_its_own_at_its_rate(limiters: RateLimiter, windows: dict[str, Far]) -> None:
    assert limiters.of("DeleteConv").permits == 7.0
    limiters.of("QueryUserInfos")
    assert {name: window.qps for name, window in windows.items()} == {"DeleteConv": 30, "QueryUserInfos": 20}
    limiters.qps = {"DeleteConv": 40}
    assert windows["DeleteConv"].qps == 40


async def test_a_window_is_told_how_many_wait_and_tells_when_permits_came(
    limiters: RateLimiter, windows: dict[str, Far]
) -> None:
    limiter = limiters.of("DeleteConv")
    window = windows["DeleteConv"]
    bulk = [asyncio.create_task(limiter.acquire("bulk")) for _ in range(3)]
    web = [asyncio.create_task(limiter.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    assert (window.told, window.expected) == (["open"], (2, 3))
    window.in_hand = ["interactive", "bulk", "bulk"]
    window.on_change()
    assert (window.expected, window.in_hand) == ((0, 2), [])
    window.in_hand = ["interactive"]  # which a bulk call can't have
    window.on_change()
    assert (window.expected, window.in_hand) == ((0, 2), ["interactive"])
    window.in_hand = ["bulk"]
    window.on_change()
    assert (window.expected, window.in_hand) == ((0, 1), [])
    web[1].cancel()
    bulk[2].cancel()
    await asyncio.gather(*web, *bulk, return_exceptions=True)
    assert window.expected == (0, 0)
    assert window.told == ["open", "cancel"]
    web[0].result().release(min_round_trip=0.25, throttled=True)
    bulk[0].result().cancel()
    bulk[1].result().release()
    assert window.told[2:] == ["release 0.25 True", "cancel", "release 0 False"]


async def test_a_quota_out_of_reach_fails_each_waiting_call(limiters: RateLimiter, windows: dict[str, Far]) -> None:
    limiter = limiters.of("DeleteConv")
    window = windows["DeleteConv"]
    calls = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    calls[0].cancel()
    window.error = "no quota"
    window.on_change()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(result) for result in results[1:]] == ["DeleteConv failed: no quota"] * 2
    assert results[1] is not results[2]
    assert (limiter.waiting, window.expected) == (0, (0, 0))


async def test_closing_fails_who_waits_and_a_later_call_opens_anew(
    limiters: RateLimiter, windows: dict[str, Far]
) -> None:
    async with limiters:
        limiter = limiters.of("DeleteConv")
        window = windows["DeleteConv"]
        window.in_hand = ["interactive", "interactive"]
        permit = await limiter.acquire()
        calls = [asyncio.create_task(limiter.acquire("bulk")) for _ in range(3)]
        await asyncio.sleep(0)
        calls[0].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, ClosedError, ClosedError]
    assert (window.told, window.expected, limiter.waiting) == (["open", "close"], (0, 0), 0)
    permit.release()
    (await limiter.acquire()).release()
    assert window.told == ["open", "close", "open", "release 0 False"]


async def test_a_permit_that_its_call_comes_for_late_is_exchanged(
    limiters: RateLimiter, windows: dict[str, Far], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_action, "COME_WITHIN", 0.01)
    limiter = limiters.of("DeleteConv")
    call = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    window = windows["DeleteConv"]
    window.in_hand += ["interactive", "interactive"]
    window.on_change()
    time.sleep(0.02)
    (await call).release()
    assert window.told == ["open", "cancel", "release 0 False"]
    assert limiter.in_flight == 0


async def test_a_call_that_comes_while_its_limiter_is_closing_is_served(
    limiters: RateLimiter, windows: dict[str, Far]
) -> None:
    limiter = limiters.of("DeleteConv")
    (windows["DeleteConv"].in_hand).append("interactive")
    (await limiter.acquire()).release()
    closing = asyncio.create_task(limiters.close())
    calls = [asyncio.create_task(limiter.acquire())]
    await asyncio.sleep(0)
    calls += [asyncio.create_task(limiter.acquire())]
    await closing
    windows["DeleteConv"].in_hand += ["interactive"] * 2
    windows["DeleteConv"].on_change()
    for call in calls[1:]:
        (await call).release()
    calls[0].cancel()
