import asyncio
import gc
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import Any

import pytest

from tests.support import virtual_clock
from tests.support.limiters import action_limiter, dice, most_in_any_second, rate_limiter
from tests.support.shared_quota import share_quota
from zim_async import ClosedError, ConfigError, QueueTimeoutError, RateLimiter
from zim_async.actions import Action
from zim_async.limits import ActionLimiter, Priority
from zim_async.limits._adaptation import PAUSE
from zim_async.limits._queue import INTERACTIVE_IN_A_ROW
from zim_async.sandbox import COUNTERS, Counting


async def call(
    limiter: ActionLimiter, trip: Callable[[], float], arrivals: list[float], priority: Priority = "interactive"
) -> None:
    """One call over a network: a trip there, an arrival, a trip back."""
    permit = await limiter.acquire(priority)
    try:
        await asyncio.sleep(trip())
        arrivals.append(asyncio.get_running_loop().time())
        await asyncio.sleep(trip())
    finally:
        permit.release()


async def call_many(limiter: ActionLimiter, count: int, trip: Callable[[], float] = lambda: 0.0) -> list[float]:
    arrivals: list[float] = []
    await asyncio.gather(*(call(limiter, trip, arrivals) for _ in range(count)))
    return arrivals


@pytest.mark.parametrize("qps", [1, 2, 3.7, 20, 100])
@pytest.mark.parametrize("seed", range(5))
def test_no_jitter_crowds_too_many_arrivals_into_a_second(qps: float, seed: int) -> None:
    chance = random.Random(seed)
    arrivals = virtual_clock.run(
        call_many(action_limiter(qps, chance.random), int(qps * 10) + 3, lambda: 0.02 + chance.expovariate(1 / 0.05))
    )
    assert most_in_any_second(arrivals) <= qps


def test_a_burst_goes_at_once_and_the_rest_at_the_quotas_pace() -> None:
    arrivals = virtual_clock.run(call_many(action_limiter(20), 400))
    assert arrivals[19] == arrivals[0]
    assert arrivals[-1] - arrivals[0] == pytest.approx(19.0, abs=0.001)


def test_rates_below_one_a_second_space_calls_out() -> None:
    arrivals = virtual_clock.run(call_many(action_limiter(0.2), 4))
    assert [round(at - arrivals[0], 3) for at in arrivals] == [0, 5, 10, 15]


def test_calls_go_first_come_first_served() -> None:
    async def main() -> list[int]:
        limiter, order = action_limiter(5), []

        async def numbered(number: int) -> None:
            permit = await limiter.acquire()
            order.append(number)
            permit.release()

        await asyncio.gather(*(numbered(number) for number in range(40)))
        return order

    assert virtual_clock.run(main()) == list(range(40))


def test_a_slow_answer_holds_its_permit_until_a_second_after_it() -> None:
    async def main() -> float:
        limiter, loop = action_limiter(1), asyncio.get_running_loop()
        start = loop.time()
        permit = await limiter.acquire()
        loop.call_later(30.0, permit.release)
        (await limiter.acquire()).release()
        return loop.time() - start

    assert virtual_clock.run(main()) == pytest.approx(31.0)


def test_a_refusal_pauses_the_action_for_all_its_callers() -> None:
    async def main() -> float:
        limiter, loop = action_limiter(20), asyncio.get_running_loop()
        start = loop.time()
        permit = await limiter.acquire()
        permit.release(throttled=True)
        permit = await limiter.acquire()
        permit.release()
        return loop.time() - start

    assert virtual_clock.run(main()) == pytest.approx(PAUSE)


def test_cancelled_waiters_leave_at_once_and_cost_nothing() -> None:
    async def main() -> None:
        limiter, loop = action_limiter(2), asyncio.get_running_loop()
        tasks = [asyncio.create_task(call_many(limiter, 1)) for _ in range(100)]
        await asyncio.sleep(0.5)
        assert limiter.waiting == 98
        start = loop.time()
        for task in tasks[2:]:
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert limiter.waiting == 0
        await call_many(limiter, 2)
        assert loop.time() - start == pytest.approx(0.5)
        await asyncio.gather(*tasks, return_exceptions=True)

    virtual_clock.run(main())


def test_a_waiter_cancelled_as_its_turn_comes_gives_the_permit_back() -> None:
    async def main() -> None:
        limiter = action_limiter(1)
        await call_many(limiter, 1)
        first = asyncio.create_task(limiter.acquire())
        second = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        limiter.qps = 2  # a second permit, at once
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (limiter.waiting, limiter.in_flight) == (1, 1)  # the first is let through, but not yet resumed
        first.cancel()
        permit = await asyncio.wait_for(second, 0.5)
        assert first.cancelled()
        assert limiter.in_flight == 1
        permit.release()

    virtual_clock.run(main())


def test_a_waiter_cancelled_before_its_turn_gets_no_permit() -> None:
    async def main() -> None:
        limiter = action_limiter(1)
        await call_many(limiter, 1)
        waiters = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0.5)
        waiters[0].cancel()
        waiters[1].cancel()
        permit = await waiters[2]
        assert limiter.in_flight == 1
        permit.release()

    virtual_clock.run(main())


def test_newcomers_after_everyone_left_are_served() -> None:
    async def main() -> None:
        limiter = action_limiter(1)
        await call_many(limiter, 1)
        gone = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0.5)
        gone.cancel()
        await asyncio.sleep(0)  # it leaves, and its server with it
        await asyncio.wait_for(call_many(limiter, 1), 2)

    virtual_clock.run(main())


def test_the_rate_can_be_changed_while_calls_wait() -> None:
    async def main() -> float:
        limiter, loop = action_limiter(0.001), asyncio.get_running_loop()
        start = loop.time()
        waiting = asyncio.create_task(call_many(limiter, 10))
        await asyncio.sleep(1.5)
        limiter.qps = 20
        limiter.qps = 20.0
        await waiting
        return loop.time() - start

    # The first call's permit was promised for 1000 s, but the other 19 are free at once.
    assert virtual_clock.run(main()) == pytest.approx(1.5)


def test_a_lowered_rate_counts_the_permits_in_use() -> None:
    async def main() -> list[float]:
        limiter = action_limiter(20)
        arrivals = await call_many(limiter, 20)
        limiter.qps = 5
        return arrivals + await call_many(limiter, 6)

    arrivals = virtual_clock.run(main())
    assert arrivals[20] - arrivals[0] >= 1.0
    assert most_in_any_second(arrivals[20:]) == 5


def test_interactive_calls_go_ahead_but_never_starve_bulk_ones() -> None:
    async def main() -> list[str]:
        limiter = action_limiter(2)
        order: list[str] = []

        async def named(priority: Priority) -> None:
            permit = await limiter.acquire(priority)
            order.append(priority)
            permit.release()

        await asyncio.gather(*(named("bulk") for _ in range(10)), *(named("interactive") for _ in range(30)))
        return order

    order = virtual_clock.run(main())
    assert order[0] == "bulk"  # it came first, to a free permit
    assert order[1:11] == ["interactive"] * INTERACTIVE_IN_A_ROW + ["bulk"]
    assert order[11:21] == ["interactive"] * INTERACTIVE_IN_A_ROW + ["bulk"]
    assert order[-6:] == ["bulk"] * 6


def test_an_interactive_call_waits_no_longer_for_ten_thousand_bulk_ones() -> None:
    chance = random.Random(1)

    async def main() -> list[float]:
        limiter, loop = action_limiter(20), asyncio.get_running_loop()
        bulk = [asyncio.create_task(call(limiter, lambda: 0.02, [], "bulk")) for _ in range(10_000)]
        waits = []
        for _ in range(200):
            await asyncio.sleep(chance.random())
            start = loop.time()
            permit = await limiter.acquire()
            waits.append(loop.time() - start)
            permit.release()
        for task in bulk:
            task.cancel()
        await asyncio.gather(*bulk, return_exceptions=True)
        return sorted(waits)

    assert virtual_clock.run(main())[197] <= 1.2


def test_calls_that_come_again_go_first_in_their_order() -> None:
    async def main() -> list[int]:
        limiter, order = action_limiter(1), []
        await call_many(limiter, 1)

        async def numbered(number: int, again: bool) -> None:
            permit = await limiter.acquire(again=again)
            order.append(number)
            permit.release()

        await asyncio.gather(*(numbered(number, number >= 3) for number in range(5)))
        return order

    assert virtual_clock.run(main()) == [3, 4, 0, 1, 2]


@pytest.mark.parametrize("trip", [0.0, 0.02, 0.1])
def test_the_estimated_wait_is_near_the_truth(trip: float) -> None:
    async def main() -> list[tuple[float, float]]:
        limiter, loop = action_limiter(20), asyncio.get_running_loop()
        pairs = []

        async def watched() -> None:
            estimate, start = limiter.estimated_wait("bulk"), loop.time()
            permit = await limiter.acquire("bulk")
            pairs.append((estimate, loop.time() - start))
            await asyncio.sleep(2 * trip)
            permit.release()

        await call_many(limiter, 40, lambda: trip)
        await asyncio.gather(*(watched() for _ in range(500)))
        return pairs

    for estimate, truth in virtual_clock.run(main()):
        assert estimate == pytest.approx(truth, rel=0.2, abs=0.2)


def test_a_wait_likely_to_be_too_long_is_refused_at_once_with_its_estimate() -> None:
    async def main() -> None:
        limiter, loop = action_limiter(1), asyncio.get_running_loop()
        waiting = [asyncio.create_task(call_many(limiter, 1)) for _ in range(11)]
        await asyncio.sleep(0.001)
        start = loop.time()
        with pytest.raises(QueueTimeoutError, match="nothing was sent") as caught:
            await limiter.acquire(max_wait=5)
        assert loop.time() == start
        assert caught.value.estimated_wait == pytest.approx(11, rel=0.2)
        permit = await limiter.acquire(max_wait=13)
        permit.release()
        await asyncio.gather(*waiting)

    virtual_clock.run(main())


def test_the_live_state_can_be_read() -> None:
    async def main() -> None:
        limiter = action_limiter(2)
        assert limiter.last_throttled is None
        permit = await limiter.acquire()
        permit.release(throttled=True)
        assert limiter.last_throttled is not None
        assert 1 < limiter.permits < 2
        assert repr(limiter) == "<ActionLimiter qps=2 permits=1.8 in_flight=0 waiting=0>"

    virtual_clock.run(main())


def test_an_owner_can_abandon_its_waiting_calls() -> None:
    async def main() -> list[object]:
        limiters, mine, yours = rate_limiter(1), object(), object()
        limiter = limiters.of("DeleteConv")
        await call_many(limiter, 1)

        async def one(owner: object) -> None:
            permit = await limiter.acquire(owner=owner)
            permit.release()

        calls = [asyncio.create_task(one(owner)) for owner in (mine, yours, mine)]
        await asyncio.sleep(0)
        await limiters.abandon(mine, "closed")
        return await asyncio.gather(*calls, return_exceptions=True)

    results = virtual_clock.run(main())
    assert [str(result) for result in results] == ["DeleteConv failed: closed", "None", "DeleteConv failed: closed"]


def test_abandoning_many_leaves_the_loop_free() -> None:
    async def main() -> None:
        limiters, owner = rate_limiter(1), object()
        limiter = limiters.of("DeleteConv")
        await call_many(limiter, 1)
        waiting = [asyncio.create_task(limiter.acquire(owner=owner)) for _ in range(2_000)]
        other = asyncio.create_task(call_many(limiter, 1))
        await asyncio.sleep(0)
        abandoning = asyncio.create_task(limiters.abandon(owner, "closed"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 0 < sum(task.done() for task in waiting) < 1_000
        await abandoning
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, ClosedError) for result in results)
        await other

    virtual_clock.run(main())


def test_a_cancelled_permit_returns_its_token_too() -> None:
    async def main() -> None:
        limiter, loop = action_limiter(0.2), asyncio.get_running_loop()
        for _ in range(10):
            (await limiter.acquire()).cancel()
        permit = await asyncio.wait_for(limiter.acquire(), 0.1)
        start = loop.time()
        leaving = asyncio.create_task(limiter.acquire())
        permit.release()
        await asyncio.sleep(2)
        leaving.cancel()
        permit = await limiter.acquire()
        assert loop.time() - start == pytest.approx(5.0, abs=0.01)
        permit.release()

    virtual_clock.run(main())


def test_permits_that_grow_back_are_used_while_a_slow_call_is_under_way() -> None:
    async def main() -> float:
        limiter, loop = action_limiter(3), asyncio.get_running_loop()
        for _ in range(40):
            permit = await limiter.acquire()
            permit.release(throttled=True)
        await limiter.acquire()
        start = loop.time()
        await limiter.acquire()
        return loop.time() - start

    assert virtual_clock.run(main()) < 150


def test_the_rate_can_be_changed_between_two_loops() -> None:
    limiter = action_limiter(1)
    loop = virtual_clock.VirtualLoop()
    loop.run_until_complete(call_many(limiter, 1))
    waiting = loop.create_task(limiter.acquire())
    loop.run_until_complete(asyncio.sleep(0))
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
    loop.close()
    limiter.qps = 5
    virtual_clock.run(call_many(limiter, 1))


@pytest.mark.parametrize("trip", [0.001, 0.02])
@pytest.mark.parametrize("counting", COUNTERS)
def test_four_uncoordinated_programs_share_a_quota(counting: Counting, trip: float) -> None:
    outcomes = [
        virtual_clock.run(share_quota(counting, clients=4, trip=trip, jitter=trip / 8, seed=seed)) for seed in range(4)
    ]
    assert mean(outcome.used for outcome in outcomes) >= 0.93
    assert mean(outcome.refused for outcome in outcomes) <= 0.04
    assert mean(outcome.largest_to_smallest for outcome in outcomes) <= 2.0


def test_rates_by_action() -> None:
    limiter = RateLimiter({"DeleteConv": 50})
    assert limiter.of("DeleteConv").qps == 50
    assert limiter.of("ClearPeerMessage").qps == 20
    limiter.qps = {"ClearPeerMessage": 9}
    assert limiter.qps.items() >= {"ClearPeerMessage": 9, "DeleteConv": 50, "QueryConversationList": 20}.items()
    limiter.qps = 7
    assert set(limiter.qps.values()) == {7}
    assert limiter.of("DeleteConv").qps == limiter.of("QueryUserInfos").qps == 7
    assert "DeleteConv=<ActionLimiter qps=7 permits=7.0 in_flight=0 waiting=0>" in repr(limiter)


@pytest.mark.parametrize(
    "qps", [0, -1, float("inf"), float("nan"), True, "20", {"DeleteConv": 0}, [20], 5e-324, 1e300, 10**400]
)
def test_bad_rates_are_refused(qps: float) -> None:
    with pytest.raises(ConfigError, match="qps"):
        RateLimiter(qps)


@dataclass(frozen=True)
class Slow(Action):
    name = "QuerySlowThings"
    qps = 1.5
    idempotent = True


def test_any_action_has_a_limiter_at_the_rate_its_class_states() -> None:
    limiter = RateLimiter()
    assert limiter.of("SendPeerMessage") is limiter.of("SendPeerMessage")
    assert limiter.of("SendPeerMessage").qps == 20
    assert limiter.of(Slow) is limiter.of("QuerySlowThings")
    assert limiter.of(Slow).qps == 1.5
    limiter.qps = {Slow: 3, "SendGroupMessage": 10}
    assert (limiter.of(Slow).qps, limiter.of("SendGroupMessage").qps) == (3, 10)


def test_one_number_sets_the_rate_of_limiters_made_later_too() -> None:
    limiter = RateLimiter({Slow: 3})
    limiter.qps = 5
    assert limiter.of(Slow).qps == limiter.of("SendPeerMessage").qps == 5
    limiter.qps = {"DeleteConv": 9}
    assert (limiter.of("DeleteConv").qps, limiter.of("QueryUserInfos").qps) == (9, 5)


SLIPS = [
    "Delete",
    "deleteconv",
    "DeletConv",
    "DeleteConvs",
    "DeleteConversation",
    "CLEARPEERMESSAGE",
    "ClearPerrMessage",
]
MALFORMED: list[object] = ["", "Delete Conv", "Delete-Conv", "Lösche", 7, None, int, Action]


@pytest.mark.parametrize("name", [*SLIPS, *MALFORMED])
def test_a_slip_in_a_name_is_refused_with_the_known_names(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"ClearPeerMessage.*DeleteConv"):
        RateLimiter().of(name)
    with pytest.raises(ConfigError, match=r"ClearPeerMessage.*DeleteConv"):
        RateLimiter({name: 5})


@pytest.mark.parametrize("name", ["SendPeerMessage", "QueryPeerMessage", "ClearGroupMessage", "DeleteFriends", "Ping2"])
def test_other_actions_are_no_slips(name: str) -> None:
    assert RateLimiter({name: 5}).of(name).qps == 5


def test_a_program_may_define_what_would_be_a_slip() -> None:
    @dataclass(frozen=True)
    class DeleteConvs(Action):
        name = "DeleteConvs"

    limiter = RateLimiter()
    assert limiter.of(DeleteConvs) is limiter.of("DeleteConvs")
    del DeleteConvs
    gc.collect()


def test_of_two_ends_of_a_permit_the_first_counts() -> None:
    async def main() -> None:
        limiter = action_limiter(2)
        permit, other = await limiter.acquire(), await limiter.acquire()
        permit.cancel()
        permit.cancel()
        permit.release()
        assert limiter.in_flight == 1
        other.release()
        other.cancel()
        assert limiter.in_flight == 0
        await limiter.acquire()
        assert limiter.estimated_wait() > 0.9

    virtual_clock.run(main())


def test_a_wait_that_turns_out_too_long_ends_when_max_wait_is_over() -> None:
    async def main() -> None:
        limiter = action_limiter(1)
        slow = await limiter.acquire()
        start = virtual_clock.now()
        with pytest.raises(QueueTimeoutError, match="after max_wait=2 s; nothing was sent") as caught:
            await limiter.acquire(max_wait=2)
        assert virtual_clock.now() - start == pytest.approx(2.0)
        assert caught.value.action == "DeleteConv"
        assert caught.value.estimated_wait > 0
        assert limiter.waiting == 0
        slow.release()
        assert (await limiter.acquire(max_wait=2)) is not slow
        await asyncio.sleep(5)  # the time that was set for it has no more to say

    virtual_clock.run(main())


def test_whatever_ends_a_waiting_call_its_place_comes_back() -> None:
    async def main() -> None:
        limiter = action_limiter(1)
        await call_many(limiter, 1)
        closed, thrown = limiter.acquire(), limiter.acquire("bulk")
        for coroutine in (closed, thrown):
            coroutine.send(None)
        assert limiter.waiting == 2
        closed.close()
        with pytest.raises(KeyboardInterrupt):
            thrown.throw(KeyboardInterrupt())
        assert (limiter.waiting, limiter.in_flight) == (0, 0)
        await asyncio.wait_for(call_many(limiter, 1), 1.1)

    virtual_clock.run(main())


def test_a_call_that_waits_for_a_token_and_is_cancelled_keeps_neither_permit_nor_token() -> None:
    async def main() -> float:
        limiter = action_limiter(2)
        for _ in range(4):  # more than a second's tokens: as the network had led the window astray
            (await limiter.acquire()).release(min_round_trip=1.0)
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0.1)
        assert (limiter.waiting, limiter.in_flight) == (0, 1)
        waiting.cancel()
        await asyncio.sleep(0)
        assert limiter.in_flight == 0
        start = virtual_clock.now()
        (await limiter.acquire()).release()
        return virtual_clock.now() - start

    assert virtual_clock.run(main()) == pytest.approx(0.4, abs=0.01)


def test_abandoning_touches_nobody_elses_calls() -> None:
    async def main() -> None:
        limiters = rate_limiter(1)
        limiter = limiters.of("DeleteConv")
        await call_many(limiter, 1)
        owners = [object() for _ in range(16_000)]
        calls = [asyncio.create_task(limiter.acquire(owner=owner)) for owner in owners]
        await asyncio.sleep(0)
        start = time.process_time()
        for owner in owners:
            await limiters.abandon(owner, "closed")
        assert time.process_time() - start < 4  # it takes 0.5 s; a look at everybody each time would take minutes
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, ClosedError) for result in results)

    virtual_clock.run(main())


@pytest.mark.parametrize("trip", [0.0, 0.02, 0.1])
def test_an_interactive_call_beside_endless_bulk_ones_waits_a_slot_or_two(trip: float) -> None:
    async def main() -> tuple[list[float], float]:
        limiter, chance = action_limiter(20, dice(1)), random.Random(2)
        done, waits, ends = 0, [], virtual_clock.now() + 200.0

        async def one(priority: Priority) -> float:
            nonlocal done
            start = virtual_clock.now()
            permit = await limiter.acquire(priority)
            waited = virtual_clock.now() - start
            await asyncio.sleep(2 * trip + chance.expovariate(1000))
            permit.release(min_round_trip=2 * trip)
            done += 1
            return waited

        async def clean_up() -> None:
            while virtual_clock.now() < ends:
                await one("bulk")

        bulk = [asyncio.create_task(clean_up()) for _ in range(50)]
        while virtual_clock.now() < ends:
            await asyncio.sleep(chance.uniform(0.8, 1.2))
            waits.append(await one("interactive"))
        used = done / 200.0 / 20
        await asyncio.gather(*bulk)
        return sorted(waits), used

    waits, used = virtual_clock.run(main())
    assert used >= 0.96
    assert waits[len(waits) // 2] <= 0.04
    assert waits[int(0.95 * len(waits))] <= 0.08
    assert waits[-1] <= 0.15


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
def test_the_estimated_wait_is_near_the_truth_before_and_after_refusals(priority: Priority) -> None:
    async def main() -> list[tuple[float, float, float]]:
        limiter = action_limiter(20, dice(1))
        start, waits = virtual_clock.now(), []
        places = asyncio.Semaphore(40)

        async def watched() -> None:
            at, estimate = virtual_clock.now(), limiter.estimated_wait(priority)
            permit = await limiter.acquire(priority)
            now = virtual_clock.now()
            waits.append((at - start, estimate, now - at))
            await asyncio.sleep(0.04)
            permit.release(min_round_trip=0.03, throttled=20.0 <= now - start < 20.3)
            places.release()

        async with asyncio.TaskGroup() as calls:
            while virtual_clock.now() < start + 60.0:
                await places.acquire()
                calls.create_task(watched())
        return waits

    waits = [wait for wait in virtual_clock.run(main()) if wait[2] > 0.5]
    for begin, end in ((0.0, 17.0), (17.0, 24.0), (24.0, 60.0)):
        ratios = [estimate / truth for at, estimate, truth in waits if begin <= at < end]
        assert 0.9 <= mean(ratios) <= 1.1
    assert all(0.8 <= estimate / truth <= 1.2 for at, estimate, truth in waits if not 17.0 <= at < 21.0)


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
@pytest.mark.parametrize("round_trip", [0.0, 0.04])
def test_the_estimated_wait_is_near_the_truth_while_one_call_in_ten_is_refused(
    priority: Priority, round_trip: float
) -> None:
    async def main(seed: int) -> list[tuple[float, float, float]]:
        chance = dice(seed)
        limiter, start = action_limiter(20, chance), virtual_clock.now()
        waits, places = [], asyncio.Semaphore(100)

        async def watched() -> None:
            at, estimate, again = virtual_clock.now(), limiter.estimated_wait(priority), False
            while True:
                permit = await limiter.acquire(priority, again=again)
                now = virtual_clock.now()
                if not again:
                    waits.append((at - start, estimate, now - at))
                    places.release()
                await asyncio.sleep(round_trip)
                again = 20.0 <= now - start < 40.0 and chance() < 0.1
                permit.release(min_round_trip=round_trip, throttled=again)
                if not again:
                    return

        async with asyncio.TaskGroup() as calls:
            while virtual_clock.now() < start + 60.0:
                await places.acquire()
                calls.create_task(watched())
        return waits

    waits = [wait for seed in range(3) for wait in virtual_clock.run(main(seed)) if wait[2] > 0.5]
    for begin, end in ((0.0, 20.0), (20.0, 40.0), (40.0, 60.0)):
        assert 0.8 <= mean(estimate / truth for at, estimate, truth in waits if begin <= at < end) <= 1.2


@pytest.mark.parametrize("qps", [1e-9, 0.999, 1.5, 10**9])
def test_rates_of_every_size_work(qps: float) -> None:
    async def main() -> None:
        limiter = RateLimiter(qps).of("DeleteConv")
        (await limiter.acquire("bulk")).release(throttled=True)
        assert 0 < limiter.estimated_wait() <= 3 * max(1.0, 1.0 / qps) + PAUSE
        assert repr(limiter)
        with pytest.raises(QueueTimeoutError):
            await limiter.acquire(max_wait=0.001)

    asyncio.run(main())


def test_a_call_that_comes_again_expects_no_more_than_its_place_at_the_front() -> None:
    async def main() -> None:
        limiter = action_limiter(1)
        waiting = [asyncio.create_task(call_many(limiter, 1)) for _ in range(11)]
        await asyncio.sleep(0.001)
        (await limiter.acquire(max_wait=2, again=True)).release()
        await asyncio.gather(*waiting)

    virtual_clock.run(main())
