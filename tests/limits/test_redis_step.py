"""The script, step by step, in real Redis servers; the second of the quota lasts 60 ms here."""

import time
import uuid
from dataclasses import dataclass, field

import pytest
import redis

from tests.support.redis_servers import RedisServer
from zim_async.limits._redis_link import SCRIPT

SECOND = 1_000_000  # microseconds, as all that follows
PERIOD, SLOT, HORIZON, LEASE = 60_000, 60_000, 5_000, 120_000


@dataclass
class Reply:
    now: int
    epoch: int
    line: int
    asks_in: int
    waits: list[int]


@dataclass
class Quota:
    """One sorted set with four permits."""

    server: RedisServer
    size: int = 4
    slot: int = SLOT
    key: str = field(default_factory=lambda: f"zim:{{{uuid.uuid4()}}}")

    def settle(self) -> None:
        """Have it known and unused, so that there is no pause on first use."""
        self.server.admin.zadd(self.key, self.server.unused_quota)


@dataclass
class Process:
    """A process that takes part, by its steps."""

    quota: Quota
    name: str
    seen: int = 0
    granted_at: int = 0
    serial: int = 1
    horizon: int = HORIZON

    def step(self, interactive: int = 0, bulk: int = 0, told: list[tuple[str, int, int]] = []) -> Reply:  # noqa: B006
        flat = [part for kind, serial, at in told for part in (kind, f"{self.name}-{serial}", at)]
        size, slot = self.quota.size, self.quota.slot
        arguments = [self.name, self.seen, size, PERIOD, slot, self.horizon, LEASE, self.granted_at]
        arguments += [interactive, bulk, self.serial, *flat]
        now, epoch, line, asks_in, _, *waits = self.quota.server.admin.eval(
            SCRIPT, 1, self.quota.key, *map(str, arguments)
        )
        self.seen = now
        self.serial += interactive + bulk
        if waits:
            self.granted_at = now + max(waits)
        return Reply(now, epoch, line, asks_in, waits)


@pytest.fixture
def quota(any_redis: RedisServer) -> Quota:
    quota = Quota(any_redis)
    quota.settle()
    return quota


@pytest.fixture
def web(quota: Quota) -> Process:
    return Process(quota, "web")


@pytest.fixture
def other(quota: Quota) -> Process:
    return Process(quota, "other")


def test_on_first_use_nothing_is_granted_for_a_second(any_redis: RedisServer) -> None:
    process = Process(Quota(any_redis), "web")
    reply = process.step(interactive=4)
    assert not reply.waits
    assert 0 < reply.asks_in <= PERIOD
    time.sleep(PERIOD / 1e6)
    assert process.step(interactive=4).waits == [0, 0, 0, 0]


def test_no_more_than_the_size_is_granted(web: Process, other: Process) -> None:
    assert web.step(interactive=3).waits == [0, 0, 0]
    assert other.step(interactive=3).waits == [0]
    assert web.step(interactive=1).waits == []


def test_a_permit_is_free_again_when_it_was_told_to_be(web: Process, other: Process) -> None:
    web.step(interactive=4)
    web.step(told=[("back", 1, PERIOD)])
    assert other.step(bulk=1).waits == []
    time.sleep(PERIOD / 1e6)
    assert other.step(bulk=1).waits == [0]
    assert other.step(bulk=1).waits == []


def test_what_is_due_within_the_horizon_is_booked_ahead(web: Process, other: Process) -> None:
    web.step(interactive=4)
    web.step(told=[("back", 1, 20 * SECOND), ("back", 2, 40 * SECOND)])
    other.horizon = 30 * SECOND
    (wait,) = other.step(bulk=2).waits
    assert 15 * SECOND < wait <= 20 * SECOND


def test_one_permit_for_an_interactive_call_is_booked_beyond_the_horizon(web: Process, other: Process) -> None:
    web.step(interactive=4)
    web.step(told=[("back", 1, 95_000), ("back", 2, 100_000)])
    assert other.step(bulk=1).waits == []
    reply = other.step(interactive=2)
    assert len(reply.waits) == 1
    assert reply.waits[0] <= 95_000
    assert reply.asks_in > 0


def test_an_unused_permit_is_free_from_the_time_it_was_booked_for(web: Process, other: Process) -> None:
    web.step(interactive=4)
    web.step(told=[("back", 1, 40 * SECOND)])
    web.horizon = other.horizon = 60 * SECOND
    booked = other.step(interactive=1)
    other.step(told=[("unused", 1, 0)])
    again = web.step(interactive=1)
    assert again.now + again.waits[0] == booked.now + booked.waits[0]


def test_permits_of_a_process_that_died_are_back_when_their_lease_ends(web: Process, other: Process) -> None:
    assert len(web.step(interactive=4).waits) == 4
    web.step(told=[("lease", 1, SECOND)])
    time.sleep(LEASE / 1e6)
    assert other.step(interactive=4).waits == [0, 0, 0]


def test_with_a_smaller_size_the_first_permits_to_come_back_make_good_the_excess(web: Process, other: Process) -> None:
    web.step(interactive=4)
    web.step(told=[("back", serial, 10 * serial * SECOND) for serial in (1, 2, 3, 4)])
    web.quota.size = 2
    other.horizon = 60 * SECOND
    assert [round(wait / 10 / SECOND) for wait in other.step(interactive=2).waits] == [3, 4]


def test_permits_are_dealt_to_the_line_in_turn(web: Process, other: Process) -> None:
    assert len(other.step(interactive=4).waits) == 4
    assert web.step(interactive=9).waits == []  # without a grant so far: it stands first
    other.step(told=[("back", serial, 10 * serial * SECOND) for serial in (1, 2, 3, 4)])
    web.horizon = other.horizon = 60 * SECOND
    assert [round(wait / 10 / SECOND) for wait in other.step(interactive=9).waits] == [2, 4]
    assert [round(wait / 10 / SECOND) for wait in web.step(interactive=9).waits] == [1, 3]


def test_interactive_calls_go_ahead_of_bulk_ones_that_waited_for_longer(web: Process, other: Process) -> None:
    web.quota.slot = 20 * SECOND
    web.step(interactive=4)
    web.step(bulk=1)
    web.quota.server.admin.zadd(web.quota.key, {"pace": web.seen})  # a bulk call had its turn
    assert other.step(bulk=5).waits == []
    assert web.step(interactive=2, told=[("back", 1, 50 * SECOND), ("back", 2, 55 * SECOND)]).waits == []
    other.horizon = 60 * SECOND
    assert other.step(bulk=5).waits == []
    web.step()
    assert other.step(bulk=5).waits


def test_every_tenth_permit_goes_to_a_bulk_call_first(web: Process, other: Process) -> None:
    web.quota.slot = 20 * SECOND
    web.step(interactive=4)
    web.step(interactive=9, told=[("back", serial, serial * 50 * SECOND) for serial in (1, 2, 3)])
    other.horizon = web.horizon = 200 * SECOND
    assert len(other.step(bulk=9).waits) == 1
    assert len(web.step(interactive=9).waits) == 2


def test_a_free_permit_is_not_kept_for_a_process_that_was_told_to_ask_later(web: Process, other: Process) -> None:
    assert len(other.step(interactive=3).waits) == 3
    assert len(other.step(interactive=1).waits) == 1
    assert web.step(interactive=1).waits == []  # stands first, and is told to ask later
    other.step(told=[("back", 1, 0)])
    assert other.step(interactive=1).waits == [0]


def test_a_process_that_does_not_ask_as_told_leaves_the_line(web: Process, other: Process) -> None:
    web.step(interactive=4)
    web.step(told=[("lease", serial, SECOND) for serial in (1, 2, 3, 4)])
    reply = other.step(interactive=1)
    assert web.step(interactive=1).line == 2
    time.sleep(reply.asks_in / 1e6 + 0.11)
    assert web.step(interactive=1).line == 1


def test_bulk_permits_are_spaced_whoever_takes_them(web: Process, other: Process) -> None:
    assert web.step(bulk=2).waits == [0]
    reply = other.step(bulk=2)
    assert reply.waits == []
    assert 0 < reply.asks_in <= 0.95 * SLOT
    assert other.step(interactive=1).waits == [0]


@pytest.mark.parametrize("loss", ["deleted", "set back", "clock set back", "of another run"])
def test_after_a_loss_nothing_is_granted_for_a_second(web: Process, other: Process, loss: str) -> None:
    web.step(interactive=4)
    admin, key = web.quota.server.admin, web.quota.key
    if loss == "deleted":
        admin.delete(key)
    elif loss == "of another run":
        admin.zrem(key, *web.quota.server.unused_quota)
        admin.zadd(key, {"mark": web.seen})
        admin.zadd(key, {"epoch:0123456789abcdef": 1})
    elif loss == "set back":
        admin.zadd(key, {"mark": web.seen - 1})
    else:
        admin.zadd(key, {"mark": web.seen + 10_000_000})
    reply = web.step(interactive=1)
    assert reply.waits == []
    assert reply.asks_in > PERIOD - HORIZON
    assert reply.epoch == reply.now


def test_what_is_told_after_a_loss_counts(web: Process, other: Process) -> None:
    web.step(interactive=4)
    web.quota.server.admin.delete(web.quota.key)
    web.step(told=[("lease", 1, SECOND), ("back", 2, SECOND)])
    time.sleep(PERIOD / 1e6)
    assert len(other.step(interactive=4).waits) == 2


def test_a_quota_that_nobody_uses_expires(any_redis: RedisServer) -> None:
    process = Process(Quota(any_redis), "web")
    for _ in range(2):
        process.step(interactive=1)
        assert any_redis.admin.ttl(process.quota.key) > 3_600


def test_a_key_of_another_type_is_left_as_it_is(quota: Quota, web: Process) -> None:
    quota.server.admin.set(quota.key, "mine")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        web.step(interactive=1)
    assert quota.server.admin.ttl(quota.key) == -1


def test_a_quota_with_a_thousand_permits_takes_one_step(quota: Quota, web: Process) -> None:
    quota.size = 1000
    assert len(web.step(interactive=1000).waits) == 1000
    assert quota.server.admin.zcard(quota.key) == 1002
    web.step(told=[("back", serial, 0) for serial in range(1, 1001)])
    assert quota.server.admin.zcard(quota.key) == 2
