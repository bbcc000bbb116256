import asyncio
from collections.abc import Callable

import pytest

from zim_async.limits._queue import INTERACTIVE_IN_A_ROW, Queue, WaitingCall
from zim_async.limits.window import Priority

Join = Callable[..., WaitingCall]


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def join(queue: Queue) -> Join:
    def join(priority: Priority = "bulk", owner: object = None, *, again: bool = False) -> WaitingCall:
        call = WaitingCall(priority, owner, asyncio.get_running_loop())
        queue.append(call, again=again)
        return call

    return join


async def test_calls_that_left_are_never_met_whoever_is_told_first(queue: Queue, join: Join) -> None:
    calls = [join() for _ in range(8)]
    for call in calls[:5]:
        call.cancel()
    assert queue.pop("bulk") is calls[5]  # it meets those cancelled before they are noted
    for call in calls[:5]:
        queue.note_left(call)
    assert len(queue) == queue.bulk == 2
    assert [queue.pop("bulk") for _ in range(3)] == [*calls[6:], None]
    assert len(queue) == 0


async def test_who_comes_again_goes_first(queue: Queue, join: Join) -> None:
    first, second, returned = join(), join(), join(again=True)
    assert [queue.pop("bulk") for _ in range(3)] == [returned, first, second]


async def test_those_who_left_are_swept_out(queue: Queue, join: Join) -> None:
    join("interactive")
    for again in (False, True):
        for call in [join(again=again) for _ in range(1_000)]:
            call.cancel()
            queue.note_left(call)
    assert (queue.interactive, queue.bulk, queue.pop("bulk")) == (1, 0, None)


async def test_an_owners_calls_are_popped_some_at_a_time(queue: Queue, join: Join) -> None:
    mine, yours = [join(owner="me") for _ in range(5)], join(owner="you")
    assert queue.pop("bulk") is mine[0]
    mine[1].cancel()
    queue.note_left(mine[1])
    popped = queue.pop_owned("me", 2) + queue.pop_owned("me", 2)
    assert set(popped) == set(mine[2:])
    assert queue.pop_owned("me", 2) == []
    assert queue.pop_owned("you", 2) == [yours]


async def test_every_tenth_call_is_a_bulk_one_while_both_wait(queue: Queue, join: Join) -> None:
    for _ in range(20):
        join("interactive")
    for _ in range(3):
        join("bulk")
    order = []
    while queue:
        order.append(queue.next_priority)
        queue.pop(order[-1])
    nine: list[Priority] = ["interactive"] * INTERACTIVE_IN_A_ROW
    assert order == [*nine, "bulk", *nine, "bulk", *["interactive"] * 2, "bulk"]


async def test_a_newcomer_counts_those_who_go_before_it(queue: Queue, join: Join) -> None:
    for _ in range(20):
        join("interactive")
    assert queue.ahead_of("interactive") == queue.ahead_of("bulk") == 20
    for _ in range(5):
        join("bulk")
    assert queue.ahead_of("interactive") == 20 + 2
    assert queue.ahead_of("bulk") == 25
    join(again=True)
    join("interactive", again=True)
    assert queue.ahead_of("interactive", again=True) == 1
    assert queue.ahead_of("bulk", again=True) == 21 + 1
