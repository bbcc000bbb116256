"""What a process holds and tells, by a clock that stands still unless it is set."""

import pytest

from tests.support.limiters import Clock
from zim_async.limits._redis_permits import LONG_LEASE, NEVER_SEEN, RENEW_AFTER, USE_WITHIN, SharedPermits, Step
from zim_async.limits._remote_clock import DRIFT

MICROSECONDS = 1_000_000
EPOCH, NOW = 1, 10 * MICROSECONDS


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def permits(clock: Clock) -> SharedPermits:
    return SharedPermits(clock)


def reply(permits: SharedPermits, begun: Step, *waits: float, now: float = 100.0, epoch: int = EPOCH) -> None:
    """Have a step replied to with permits to wait for, at a time by the clock of Redis. All in seconds."""
    granted = [round(wait * MICROSECONDS) for wait in waits]
    permits.accept(begun, [round(now * MICROSECONDS), epoch, 1, -1, len(waits), *granted])


def step(permits: SharedPermits, *waits: float, now: float = 100.0, epoch: int = EPOCH) -> Step:
    """Take one step that takes no time. See ``reply``."""
    begun = permits.begin(len(waits), 0)
    reply(permits, begun, *waits, now=now, epoch=epoch)
    return begun


def told(permits: SharedPermits, clock: Clock) -> dict[str, tuple[str, float]]:
    """Return what the next step tells of each permit: its kind, and in how many seconds."""
    begun = permits.begin(0, 0)
    return {name: (kind, round(until - clock.now, 6)) for name, (kind, until) in begun.told.items()}


def test_a_permit_is_taken_once_its_time_has_come(permits: SharedPermits, clock: Clock) -> None:
    step(permits, 0.0, 0.3)
    assert permits.take() is not None
    assert permits.take() is None
    clock.now += 0.3
    assert permits.take() is not None
    assert len(permits.in_use) == 2


def test_a_permit_that_nobody_used_in_time_goes_back(permits: SharedPermits, clock: Clock) -> None:
    step(permits, 0.0)
    clock.now += USE_WITHIN
    assert permits.take() is None
    assert list(told(permits, clock).values()) == [("back", -USE_WITHIN)]
    assert permits.is_empty


def test_half_of_the_least_round_trip_is_taken_off_at_either_end(permits: SharedPermits, clock: Clock) -> None:
    step(permits, 0.0)
    booking = permits.take()
    assert booking is not None
    permits.end(booking, 0.0, 0.04)
    ((kind, seconds),) = told(permits, clock).values()
    assert kind == "back"
    assert seconds == pytest.approx(permits.period - 0.02)
    step(permits, 1.0)
    assert permits.hand[0].usable_at == pytest.approx(clock.now + 0.98)
    assert permits.hand[0].due_at == pytest.approx(clock.now + 1.0)


def test_a_slow_reply_does_not_make_a_permit_late(permits: SharedPermits, clock: Clock) -> None:
    step(permits, now=5000.0)
    begun = permits.begin(1, 0)
    clock.now += 0.080
    reply(permits, begun, 1.0, now=5000.030)  # 50 ms on its way
    assert permits.hand[0].due_at == pytest.approx(101.030, abs=0.0001)


def test_another_server_has_another_clock(permits: SharedPermits, clock: Clock) -> None:
    step(permits, now=5000.0)
    step(permits, 2.0, now=50.0, epoch=EPOCH + 1)
    assert permits.hand[0].due_at == pytest.approx(clock.now + 2.0)


@pytest.mark.parametrize("seconds", [-0.5, -0.02, 0.02, 3600.0])
def test_after_the_clock_of_redis_was_set_its_permits_are_dropped_and_a_new_epoch_asked_for(
    permits: SharedPermits, clock: Clock, seconds: float
) -> None:
    step(permits, 0.0, 0.3, now=5000.0)
    clock.now += 0.2
    assert permits.take() is not None
    step(permits, 0.0, now=5000.2 + seconds)
    assert permits.hand == []
    assert permits.tell_at <= clock.now
    begun = permits.begin(1, 0)
    assert permits.arguments(begun, 20, 0.05)[1] == NEVER_SEEN
    reply(permits, begun, now=5000.2 + seconds, epoch=EPOCH + 1)
    assert [kind for kind, _ in told(permits, clock).values()] == ["lease"]  # of the one in use


def test_clocks_may_drift_apart(permits: SharedPermits, clock: Clock) -> None:
    for seconds in range(1_000):
        clock.now = 100.0 + seconds
        step(permits, now=5000.0 + seconds * (1 + 0.9 * DRIFT))
        assert permits.arguments(permits.begin(0, 0), 20, 0.05)[1] != NEVER_SEEN


def test_a_permit_that_was_not_sent_serves_the_next_call(permits: SharedPermits) -> None:
    step(permits, 0.0)
    booking = permits.take()
    assert booking is not None
    permits.put_back(booking)
    assert permits.take() == booking


def test_a_long_call_is_told_of_before_its_lease_ends(permits: SharedPermits, clock: Clock) -> None:
    step(permits, 0.0)
    permits.take()
    assert told(permits, clock) == {}
    for _ in range(3):
        clock.now = next(iter(permits.in_use.values()))
        assert list(told(permits, clock).values()) == [("lease", LONG_LEASE + permits.period)]
    assert clock.now > 100.0 + RENEW_AFTER + LONG_LEASE


def test_a_step_that_failed_is_told_again_with_what_it_may_have_granted(permits: SharedPermits, clock: Clock) -> None:
    step(permits, 0.0)
    booking = permits.take()
    assert booking is not None
    permits.end(booking, 0.0, 0.0)
    permits.take_back(permits.begin(2, 1))
    kinds = [kind for kind, _ in told(permits, clock).values()]
    assert kinds == ["back", "unused", "unused", "unused"]


def test_the_end_of_a_call_with_a_long_lease_is_told_after_an_outage(permits: SharedPermits, clock: Clock) -> None:
    step(permits, 0.0)
    booking = permits.take()
    assert booking is not None
    clock.now += RENEW_AFTER
    step(permits)  # which renews it for long
    permits.end(booking, 0.0, 0.0)
    begun = permits.begin(0, 0)
    clock.now += 5.0
    permits.take_back(begun)
    assert [kind for kind, _ in told(permits, clock).values()] == ["back"]


def test_a_permit_taken_without_redis_is_told_with_the_next_step(permits: SharedPermits, clock: Clock) -> None:
    assert not permits.used_lately
    permits.take_unbooked()
    assert permits.used_lately
    assert [kind for kind, _ in told(permits, clock).values()] == ["lease"]


def test_what_no_longer_matters_is_not_kept_through_an_outage(permits: SharedPermits, clock: Clock) -> None:
    step(permits, 0.0)
    booking = permits.take()
    assert booking is not None
    permits.end(booking, 0.0, 0.0)
    begun = permits.begin(1, 0)
    clock.now += 60.0
    permits.take_back(begun)
    clock.now += 60.0
    permits.take_back(permits.begin(0, 0))
    assert permits.is_empty


def test_all_that_is_held_is_told_to_a_new_quota(permits: SharedPermits, clock: Clock) -> None:
    step(permits, 0.0, 0.5)
    permits.take()
    step(permits, epoch=EPOCH + 1)
    assert permits.tell_at == clock.now
    assert {kind for kind, _ in told(permits, clock).values()} == {"lease"}


def test_an_interactive_call_is_not_bound_by_what_was_told_for_bulk_calls(permits: SharedPermits, clock: Clock) -> None:
    begun = permits.begin(0, 5)
    permits.accept(begun, [NOW, EPOCH, 3, MICROSECONDS, 0])
    assert permits.asks_at(0) > clock.now
    assert permits.asks_at(1) < clock.now


def test_a_process_that_waits_asks_soon_enough_to_notice_an_outage(permits: SharedPermits, clock: Clock) -> None:
    permits.accept(permits.begin(5, 0), [NOW, EPOCH, 3, 9 * MICROSECONDS, 0])
    assert permits.asks_at(5) <= clock.now + 0.4


@pytest.mark.parametrize(
    ("interactive", "bulk", "wanted"),
    [
        (0, 0, (0, 0)),
        (1, 0, (0, 0)),
        (0, 1, (0, 0)),
        (3, 0, (1, 0)),
        (2, 2, (0, 2)),
        (50, 50, (18, 0)),
        (0, 50, (0, 18)),
    ],
)
def test_what_lies_in_hand_is_not_wanted_again(
    permits: SharedPermits, interactive: int, bulk: int, wanted: tuple[int, int]
) -> None:
    step(permits, 0.0, 0.0)
    assert permits.wanted(interactive, bulk, 20 - len(permits.hand)) == wanted
