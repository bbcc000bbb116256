import asyncio
from collections.abc import Callable

import pytest

from tests.support import virtual_clock
from tests.support.limiters import Clock, dice, never
from zim_async.limits import LocalWindow, Permit
from zim_async.limits._adaptation import LATENESS_ALONE, PAUSE


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def make_window(clock: Clock) -> Callable[..., LocalWindow]:
    return lambda qps, chance=never: LocalWindow("DeleteConv", qps, clock=clock, chance=chance)


def take(window: LocalWindow) -> Permit:
    permit = window.try_take("interactive")
    assert permit is not None
    return permit


def test_a_permit_comes_back_a_second_after_the_response_less_the_shortest_round_trip(
    make_window: Callable[..., LocalWindow], clock: Clock
) -> None:
    window = make_window(1)
    permit = take(window)
    clock.now = 0.3
    assert window.try_take("interactive") is None
    permit.release(min_round_trip=0.2)
    clock.now = 1.0999
    assert window.try_take("interactive") is None
    clock.now = 1.1001
    assert window.try_take("interactive") is not None


def test_a_cancelled_permit_is_free_immediately(make_window: Callable[..., LocalWindow]) -> None:
    window = make_window(1)
    take(window).cancel()
    take(window).release()
    assert window.try_take("interactive") is None


def test_a_thousand_permits_are_kept_apart(make_window: Callable[..., LocalWindow], clock: Clock) -> None:
    window = make_window(1000)
    for _ in range(10):
        for permit in [take(window) for _ in range(1000)]:
            permit.release()
        assert window.try_take("interactive") is None
        clock.now += 1.001


def test_bulk_calls_go_a_slot_apart_with_a_little_bank(make_window: Callable[..., LocalWindow], clock: Clock) -> None:
    window = make_window(20)
    taken = []
    for millisecond in range(1000):
        clock.now = 100.0 + millisecond / 1000
        while window.try_take("bulk") is not None:
            taken.append(millisecond)
    assert taken[:4] == [0, 30, 80, 130]  # the second one a little early, from the bank
    assert len(taken) == 20
    late = [permit for permit in (window.try_take("bulk") for _ in range(20)) if permit is not None]
    assert late == []


def test_an_interactive_call_needs_no_pace(make_window: Callable[..., LocalWindow]) -> None:
    window = make_window(20)
    while window.try_take("bulk") is not None:
        pass
    assert window.try_take("interactive") is not None


def test_one_permit_in_many_comes_back_late_while_alone(make_window: Callable[..., LocalWindow], clock: Clock) -> None:
    late = 0
    window = make_window(1, dice(1))
    for _ in range(2_000):
        take(window).release()
        clock.now += 1.000001
        if window.try_take("interactive") is None:
            late += 1
            clock.now += LATENESS_ALONE
        else:
            clock.now += 0.0
        window = make_window(1, dice(late + int(clock.now)))
    assert 50 < late < 160


def test_a_refusal_pauses_and_a_pause_only_moves_later(make_window: Callable[..., LocalWindow], clock: Clock) -> None:
    window = make_window(20)
    first, second = take(window), take(window)
    clock.now = 10.0
    first.release(throttled=True)
    clock.now = 10.0 + 0.9 * PAUSE
    assert window.try_take("interactive") is None
    second.release(throttled=True)
    clock.now = 10.0 + 1.5 * PAUSE
    assert window.try_take("interactive") is None
    clock.now = 10.0 + 2.0 * PAUSE
    assert window.try_take("interactive") is not None


def test_a_refused_permit_looks_for_another_phase(make_window: Callable[..., LocalWindow], clock: Clock) -> None:
    phases = []
    for seed in range(20):
        window = make_window(1, dice(seed))
        clock.now = 0.0
        take(window).release(throttled=True)
        while window.try_take("interactive") is None:
            clock.now += 0.01
        phases.append(clock.now)
    assert 1.0 <= min(phases) < 1.3
    assert 1.7 < max(phases) < 2.1


def test_the_wait_counts_free_permits_those_coming_back_and_their_rounds(
    make_window: Callable[..., LocalWindow], clock: Clock
) -> None:
    window = make_window(2)
    assert window.estimated_wait("interactive", 0) == window.estimated_wait("interactive", 1) == 0.0
    assert window.estimated_wait("interactive", 2) == pytest.approx(1.0)
    first = take(window)
    clock.now = 0.1
    first.release()
    clock.now = 0.0
    take(window)
    clock.now = 0.6
    # One permit comes back at 1.1. The other one's response is out: it comes back a second from now at the soonest.
    assert window.estimated_wait("interactive", 0) == pytest.approx(0.5)
    assert window.estimated_wait("interactive", 1) == pytest.approx(1.0)
    assert window.estimated_wait("interactive", 2) == pytest.approx(0.5 + 1.1)
    window.resize(1)
    assert window.estimated_wait("interactive", 0) == pytest.approx(1.0)
    assert window.estimated_wait("interactive", 1) == pytest.approx(1.0 + 1.1)


def test_a_window_is_idle_when_nothing_is_lost_with_it(make_window: Callable[..., LocalWindow], clock: Clock) -> None:
    window = make_window(2)
    assert window.idle
    permit = take(window)
    assert not window.idle
    permit.release()
    assert not window.idle
    clock.now = 1.01
    assert window.idle
    take(window).release(throttled=True)
    clock.now = 10.0
    assert not window.idle  # it remembers that others use the quota
    clock.now = 1000.0
    assert window.idle


def test_who_waits_is_told_when_asking_again_is_worth_it() -> None:
    async def main() -> list[float]:
        window = LocalWindow("DeleteConv", 1, clock=virtual_clock.now, chance=never)
        told: list[float] = []
        start = virtual_clock.now()

        def on_change() -> None:
            told.append(round(virtual_clock.now() - start, 3))
            window.expect(0, 0 if window.try_take("bulk") else 1)

        window.open(on_change)
        permit = take(window)
        window.expect(0, 1)
        await asyncio.sleep(2.5)
        permit.release()
        await asyncio.sleep(5.0)
        return told

    assert virtual_clock.run(main()) == [1.0, 2.0, 3.0, 3.5]
