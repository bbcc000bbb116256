import random

import pytest

from tests.support.limiters import never
from zim_async.limits._adaptation import (
    CUT,
    DEEPEST_CUT,
    LATENESS,
    LATENESS_ALONE,
    MANY,
    ONE_IN,
    PAUSE,
    Adaptation,
)


def refused_each_second(adaptation: Adaptation, start: int, end: int) -> None:
    for second in range(start, end):
        adaptation.refuse(float(second))


def test_permits_shrink_at_most_once_a_second_and_less_the_fewer_they_are() -> None:
    adaptation = Adaptation(20, never)
    for _ in range(5):
        adaptation.refuse(10.0)
    assert adaptation.permits == 20 * (1 - DEEPEST_CUT)
    refused_each_second(adaptation, 11, 20)
    before = adaptation.permits
    assert before < 10
    adaptation.refuse(20.0)
    assert adaptation.permits == pytest.approx(before * (1 - CUT * before / 20))


def test_permits_grow_back_ever_faster() -> None:
    adaptation = Adaptation(20, never)
    refused_each_second(adaptation, 0, 100)
    few = adaptation.permits
    assert few < 3
    grown = []
    for second in range(100, 400):
        adaptation.grow(float(second))
        grown.append(adaptation.permits - few)
    assert grown[0] == 0
    assert 0 < grown[3] < 1
    assert grown[60] < 6 < 15 < grown[150]
    assert grown[-1] == 20 - few


def test_one_permit_is_always_left() -> None:
    adaptation = Adaptation(2, never)
    refused_each_second(adaptation, 0, 100)
    assert adaptation.permits == 1


def test_a_new_rate_forgets_what_was_learned_about_the_old_one() -> None:
    adaptation = Adaptation(20, never)
    adaptation.refuse(1.0)
    adaptation.resize(30)
    assert (adaptation.permits, adaptation.pause_ends) == (30, 1.0 + PAUSE)


def test_permits_come_back_later_the_more_of_a_shared_quota_they_are() -> None:
    adaptation = Adaptation(20, random.Random(1).random)
    adaptation.refuse(10.0)
    much = max(adaptation.lateness() for _ in range(100))
    refused_each_second(adaptation, 11, 100)
    little = max(adaptation.lateness() for _ in range(100))
    assert 0.0 < little < 0.02 < 0.08 < much < LATENESS


def test_one_permit_in_many_comes_back_late_while_alone() -> None:
    adaptation = Adaptation(20, random.Random(1).random)
    late = [adaptation.lateness() for _ in range(5_000)]
    assert sum(seconds > 0 for seconds in late) == pytest.approx(5_000 / ONE_IN, rel=0.3)
    assert max(late) == pytest.approx(LATENESS_ALONE, rel=0.1)


def test_none_of_many_permits_comes_back_late_while_alone() -> None:
    adaptation = Adaptation(MANY + 1, random.Random(1).random)
    assert not any(adaptation.lateness() for _ in range(1_000))


def test_waits_are_expected_to_grow_while_refusals_go_on() -> None:
    adaptation = Adaptation(20, never)
    assert adaptation.slowed(4.0, 10.0) == 4.0
    adaptation.refuse(10.0)
    once = adaptation.slowed(4.0, 10.0)
    refused_each_second(adaptation, 11, 16)
    often = adaptation.slowed(4.0, 16.0)
    assert 4.0 < once < 4.8 < often < 6.5
    assert adaptation.slowed(4.0, 40.0) == pytest.approx(4.0, rel=0.01)
    assert adaptation.slowed(400.0, 16.0) < 800.0


def test_calls_that_go_on_being_refused_count_again() -> None:
    adaptation = Adaptation(20, never)
    assert adaptation.counted(100, 1.0, 10.0) == 100
    for _ in range(50):
        adaptation.refuse(10.0)
    assert adaptation.counted(100, 1.0, 10.0) == 100  # one burst, which may be over
    refused_each_second(adaptation, 11, 15)
    assert 110 < adaptation.counted(100, 1.0, 15.0) <= 150
    assert adaptation.counted(100, 1.0, 25.0) == 100
