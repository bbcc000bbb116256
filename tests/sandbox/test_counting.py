import pytest

from zim_async.sandbox import COUNTERS, Counting


@pytest.mark.parametrize(
    ("counting", "times", "accepted"),
    [
        ("sliding", [0.5, 0.6, 1.0, 1.5, 1.6], [True, True, False, True, True]),
        ("sliding-all", [0.5, 0.6, 1.0, 1.5, 1.6, 2.1], [True, True, False, False, False, False]),
        ("sliding-all", [0.5, 0.6, 1.0, 2.0], [True, True, False, True]),
        ("clock", [0.8, 0.9, 0.95, 1.0, 1.1, 1.2], [True, True, False, True, True, False]),
        ("bucket", [0.0, 0.0, 0.0, 0.5, 0.5, 9.0, 9.0, 9.0], [True, True, False, True, False, True, True, False]),
    ],
)
def test_each_way_of_counting_two_a_second(counting: Counting, times: list[float], accepted: list[bool]) -> None:
    counter = COUNTERS[counting](2)
    assert [counter.accepts(at) for at in times] == accepted
