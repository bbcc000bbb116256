import time

import pytest

from zim_async.clock import ServerClock


def test_an_unknown_difference_is_none() -> None:
    assert abs(ServerClock().now() - time.time()) <= 1


@pytest.mark.parametrize("difference", [900, -86_400, 61])
def test_minutes_are_learned_and_unlearned(difference: float) -> None:
    clock = ServerClock()
    clock.learn(time.time() + difference)
    assert clock.offset == pytest.approx(difference, abs=1)
    assert clock.now() == pytest.approx(time.time() + difference, abs=2)
    clock.learn(time.time())
    assert clock.offset == 0


def test_seconds_are_left_alone() -> None:
    clock = ServerClock()
    clock.learn(time.time() + 30)
    assert clock.offset == 0
