import math
import random

import pytest

from zim_async.limits._local import CUT, DEEPEST_CUT, PAUSE, LocalWindow

pytestmark = pytest.mark.usefixtures("no_dither")


def lateness(window: LocalWindow, now: float) -> float:
    """Let one call come and go, and return by how much its permit will come back late."""
    window._in_order.clear()
    window._returning.clear()
    window.take(now)
    window.end(now)
    return window._in_order[0] - now - 1.0


def refuse(window: LocalWindow, now: float) -> None:
    window.take(now)
    window.end(now, refused=True)


def test_a_permit_comes_back_one_second_after_the_answer_less_the_floor() -> None:
    window = LocalWindow(1)
    window.take(0.0)
    assert window.opens_at(0.1) == math.inf
    window.end(0.3, floor=0.2)
    assert window.opens_at(0.4) == pytest.approx(1.1)


def test_permits_come_back_late_by_more_the_more_of_a_shared_quota_they_are() -> None:
    random.seed(1)
    window = LocalWindow(20)
    refuse(window, 10.0)
    much = max(lateness(window, 10.0) for _ in range(50))
    for second in range(11, 100):
        refuse(window, float(second))
    little = max(lateness(window, 100.0) for _ in range(50))
    assert 0.0 < little < 0.02 < 0.08 < much < 0.12


def test_one_permit_in_many_comes_back_late_while_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zim_async.limits._local.DITHER_ALONE", 0.05)
    random.seed(1)
    window = LocalWindow(20)
    late = [lateness(window, 0.0) for _ in range(5_000)]
    assert 150 < sum(seconds > 0 for seconds in late) < 350
    assert 0.045 < max(late) < 0.05
    assert sum(late) / len(late) == pytest.approx(0.00125, rel=0.3)


def test_a_pause_only_moves_later() -> None:
    window = LocalWindow(20)
    refuse(window, 10.0)
    refuse(window, 9.9)  # answers may be told of late
    assert window.opens_at(10.0) == 10.0 + PAUSE


def test_permits_shrink_at_most_once_a_second_and_less_the_fewer_they_are() -> None:
    window = LocalWindow(20)
    for _ in range(5):
        refuse(window, 10.0)
    assert window.permits == 20 * (1 - DEEPEST_CUT)
    for second in range(11, 20):
        refuse(window, float(second))
    before = window.permits
    assert before < 10
    refuse(window, 20.0)
    assert window.permits == pytest.approx(before * (1 - CUT * before / 20))


def test_permits_grow_back_ever_faster() -> None:
    window = LocalWindow(20)
    for second in range(100):
        refuse(window, float(second))
    few = window.permits
    assert few < 3
    grown = []
    for second in range(100, 400):
        window.opens_at(float(second))
        grown.append(window.permits - few)
    assert grown[0] == 0
    assert 0 < grown[3] < 1
    assert grown[60] < 6 < 15 < grown[150]
    assert grown[-1] == 20 - few


def test_one_permit_is_always_left() -> None:
    window = LocalWindow(2)
    for second in range(100):
        refuse(window, float(second))
    assert window.permits == 1


def test_a_refused_permit_looks_for_another_phase() -> None:
    random.seed(1)
    phases = []
    for _ in range(20):
        window = LocalWindow(2)
        refuse(window, 0.0)
        phases.append(window.opens_at(0.0))
    assert 1.0 <= min(phases) < 1.3
    assert 1.7 < max(phases) < 3.0


def test_the_wait_counts_free_permits_those_coming_back_and_their_rounds() -> None:
    window = LocalWindow(2)
    assert window.wait(0, 0.0) == window.wait(1, 0.0) == 0.0
    assert window.wait(2, 0.0) == 1.0
    window.take(0.0)
    window.end(0.1)
    window.take(0.0)
    # One permit comes back at 1.1, the other one's answer is out: it is expected to take as long.
    assert window.wait(0, 0.6) == pytest.approx(0.5)
    assert window.wait(1, 0.6) == pytest.approx(0.5)
    assert window.wait(2, 0.6) == pytest.approx(0.5 + 1.1)
    window.resize(1)
    assert window.wait(0, 0.6) == pytest.approx(0.5)
    assert window.wait(1, 0.6) == pytest.approx(0.5 + 1.1)
