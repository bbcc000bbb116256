import random

import pytest

from zim_async._round_trip import GENERATION, LOOP_LAG, MIN_SAMPLES, SHRINK, RoundTrips


def learned(*samples: float) -> float:
    trips = RoundTrips()
    for seconds in samples:
        trips.add(seconds)
    return trips.minimum


def test_nothing_is_credited_before_enough_is_known() -> None:
    assert learned() == 0.0
    assert learned(*[0.2] * (MIN_SAMPLES - 1)) == 0.0
    assert learned(*[0.2] * MIN_SAMPLES) == pytest.approx(SHRINK * 0.2 - LOOP_LAG)


def test_short_trips_and_wild_ones_earn_nothing() -> None:
    assert learned(*[0.005] * 50) == 0.0
    assert learned(*[0.02, 2.0] * 50) == 0.0


def test_a_faster_answer_counts_at_once() -> None:
    assert learned(*[0.2] * 100, 0.04) < 0.03


def test_a_call_that_opened_its_connection_can_only_lower_the_floor() -> None:
    trips = RoundTrips()
    for _ in range(MIN_SAMPLES):
        trips.add(0.1, connected=True)
    assert trips.minimum == 0.0
    for _ in range(MIN_SAMPLES):
        trips.add(0.2)
    learned = trips.minimum
    trips.add(0.5, connected=True)
    assert trips.minimum == learned
    trips.add(0.05, connected=True)
    assert trips.minimum < 0.05


def test_a_slower_route_is_believed_after_two_generations() -> None:
    assert learned(*[0.05] * 30, *[0.2] * GENERATION) < 0.05
    assert learned(*[0.05] * 30, *[0.2] * 2 * GENERATION) == pytest.approx(SHRINK * 0.2 - LOOP_LAG)


@pytest.mark.parametrize("seed", range(20))
def test_the_floor_stays_below_what_the_network_takes_at_least(seed: int) -> None:
    dice = random.Random(seed)
    for least, jitter in ((0.04, 0.005), (0.2, 0.03), (0.01, 0.1)):
        trips = RoundTrips()
        for _ in range(3 * GENERATION):
            trips.add(least + dice.expovariate(1 / jitter) + dice.expovariate(1 / jitter))
            assert trips.minimum <= least + jitter / 20
