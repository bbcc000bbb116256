import asyncio

from tests.support import virtual_clock
from zim_async.limits._queue import Turn, Turns


def test_turns_given_up_are_never_met_and_are_swept_out() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        turns, all_turns = Turns(), [Turn("bulk", None, loop) for _ in range(100)]
        for turn in all_turns:
            turns.join(turn, again=False)
        for turn in all_turns[:60]:
            turn.cancel()
            turns.leave(turn)
        assert len(turns) == turns.ahead_of("bulk") == 40
        assert len(turns._bulk._turns) < 60
        assert [turns.next() for _ in range(41)] == [*all_turns[60:], None]
        assert len(turns) == 0

    virtual_clock.run(main())


def test_an_owner_finds_its_own() -> None:
    async def main() -> None:
        loop, mine = asyncio.get_running_loop(), object()
        turns, own, other = Turns(), Turn("bulk", mine, loop), Turn("interactive", None, loop)
        turns.join(own, again=False)
        turns.join(other, again=False)
        assert turns.owned_by(mine) == [own]
        own.cancel()
        assert turns.owned_by(mine) == []

    virtual_clock.run(main())


def test_turns_that_end_together_are_counted_right_whoever_is_told_first() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        turns, all_turns = Turns(), [Turn("bulk", None, loop) for _ in range(8)]
        for turn in all_turns:
            turns.join(turn, again=False)
        for turn in all_turns[:5]:
            turn.cancel()
        assert turns.next() is all_turns[5]  # it meets those cancelled before they leave
        for turn in all_turns[:5]:
            turns.leave(turn)
        assert len(turns) == 2
        assert [turns.next(), turns.next(), turns.next()] == [*all_turns[6:], None]
        assert len(turns) == 0

    virtual_clock.run(main())


def test_a_newcomer_counts_those_who_go_before_it() -> None:
    async def main() -> None:
        loop, turns = asyncio.get_running_loop(), Turns()
        for _ in range(20):
            turns.join(Turn("interactive", None, loop), again=False)
        assert turns.ahead_of("interactive") == turns.ahead_of("bulk") == 20
        for _ in range(5):
            turns.join(Turn("bulk", None, loop), again=False)
        assert turns.ahead_of("interactive") == 20 + 2
        assert turns.ahead_of("bulk") == 25

    virtual_clock.run(main())
