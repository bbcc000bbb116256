"""Whatever happens in whatever order: no permit is lost or doubled, and no second sees too many arrivals."""

import asyncio
import contextlib
import random
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.limiters import rate_limiter
from tests.support.virtual_clock import VirtualLoop
from zim_async import ClosedError
from zim_async.limits import Permit, Priority

PRIORITIES: list[Priority] = ["interactive", "bulk"]


class Limiting(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.limiters = rate_limiter(3, random.Random(0).random)
        self.limiter = self.limiters.of("DeleteConv")
        self.waiting: list[asyncio.Task[None]] = []
        self.sent: list[tuple[float, Permit]] = []  # when each call in flight was sent
        self.arrivals: list[float] = []
        self.limits = [(self.loop.time(), 3)]  # the largest rate there was, from each moment on

    def turn(self, seconds: float = 0.0) -> None:
        async def pass_time() -> None:
            await asyncio.sleep(seconds)
            for _ in range(4):  # let whoever was woken act
                await asyncio.sleep(0)

        self.loop.run_until_complete(pass_time())
        for task in [task for task in self.waiting if task.done()]:
            self.waiting.remove(task)

    async def call(self, priority: Priority, owner: object = None) -> None:
        with contextlib.suppress(ClosedError):
            permit = await self.limiter.acquire(priority, owner=owner)
            self.sent.append((self.loop.time(), permit))

    @rule(priority=st.sampled_from(PRIORITIES), count=st.integers(1, 8), owner=st.sampled_from("ab"))
    def acquire(self, priority: Priority, count: int, owner: str) -> None:
        self.waiting += [self.loop.create_task(self.call(priority, owner)) for _ in range(count)]
        self.turn()

    @precondition(lambda self: self.waiting)
    @rule(choose=st.randoms(use_true_random=False), share=st.floats(0, 1))
    def cancel(self, choose: random.Random, share: float) -> None:
        tasks = choose.sample(self.waiting, max(1, int(share * len(self.waiting))))
        for task in tasks:
            task.cancel()
        self.turn()

    @rule(owner=st.sampled_from("ab"))
    def abandon(self, owner: str) -> None:
        self.loop.run_until_complete(self.limiters.abandon(owner, "closed"))
        self.turn()

    @precondition(lambda self: self.waiting)
    @rule(choose=st.randoms(use_true_random=False))
    def cancel_as_a_permit_comes(self, choose: random.Random) -> None:
        task = choose.choice(self.waiting)
        self.loop.call_later(0.5, task.cancel)
        self.turn(0.5)

    @precondition(lambda self: self.sent)
    @rule(choose=st.randoms(use_true_random=False), refused=st.booleans())
    def answer(self, choose: random.Random, refused: bool) -> None:
        # Every draw comes before any change: hypothesis may break off at a draw.
        index, way = choose.randrange(len(self.sent)), choose.choice([0.0, 1.0, choose.random()])
        sent_at, permit = self.sent.pop(index)
        self.arrivals.append(sent_at + way * (self.loop.time() - sent_at))
        self.loop.call_soon(partial(permit.release, throttled=refused))
        self.turn()

    @precondition(lambda self: self.sent)
    @rule()
    def never_send(self) -> None:
        self.loop.call_soon(self.sent.pop()[1].cancel)
        self.turn()

    @rule(qps=st.integers(1, 6))
    def change_rate(self, qps: int) -> None:
        self.limits.append((self.loop.time(), qps))
        self.limiter.qps = qps
        self.turn()

    @rule(seconds=st.sampled_from([0.001, 0.1, 0.5, 0.999, 1.0, 1.001, 3.0]))
    def pass_time(self, seconds: float) -> None:
        self.turn(seconds)

    @invariant()
    def every_permit_is_accounted_for(self) -> None:
        assert self.limiter.in_flight == len(self.sent)
        assert self.limiter.waiting == len(self.waiting)

    @invariant()
    def no_second_saw_too_many_arrivals(self) -> None:
        times = sorted(self.arrivals)
        for first in times:
            seen = sum(first <= at < first + 1.0 for at in times)
            assert seen <= self.most_allowed(first, first + 1.0)

    def most_allowed(self, start: float, end: float) -> int:
        in_force = [qps for at, qps in self.limits if at < end]
        before = [at for at, _ in self.limits if at <= start - 60]  # calls may be under way for long
        return max(in_force[max(0, len(before) - 1) :])

    def teardown(self) -> None:
        try:
            self.let_everyone_through()
            self.every_permit_is_there_after_a_rest()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.turn()
            self.loop.close()

    def let_everyone_through(self) -> None:
        for _ in range(10_000):
            while self.sent:
                self.loop.call_soon(self.sent.pop()[1].release)
            if not self.waiting:
                return
            self.turn(0.1)
        raise AssertionError("a waiting call is never let through")

    def every_permit_is_there_after_a_rest(self) -> None:
        self.turn(1001.0)
        permits = int(self.limiter.qps)
        self.waiting = [self.loop.create_task(self.call("interactive")) for _ in range(permits + 1)]
        self.turn()
        assert len(self.sent) == permits
        for task in self.waiting:
            task.cancel()
        self.turn()
        assert self.limiter.waiting == 0


Limiting.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLimiting = Limiting.TestCase
