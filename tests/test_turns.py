import asyncio

import pytest

from benchmarks import virtual_time
from zim_async import ZimError
from zim_async.turns import Turn, Turns


def test_turns_given_up_are_never_met_and_are_swept_out() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        turns, all_turns = Turns(), [Turn(None, loop) for _ in range(100)]
        for turn in all_turns:
            turns.join(turn, "bulk", again=False)
        for turn in all_turns[:60]:
            turn.cancel()
            turns.leave("bulk")
        assert len(turns) == turns.ahead_of("bulk") == 40
        assert len(turns._lines["bulk"]._turns) < 60
        assert [turns.next() for _ in range(41)] == [*all_turns[60:], None]
        assert len(turns) == 0

    virtual_time.run(main())


def test_an_owner_gives_up_only_its_own() -> None:
    async def main() -> None:
        loop, mine = asyncio.get_running_loop(), object()
        turns, own, other = Turns(), Turn(mine, loop), Turn(None, loop)
        turns.join(own, "bulk", again=False)
        turns.join(other, "interactive", again=False)
        turns.give_up(mine, "closed")
        with pytest.raises(ZimError, match="closed"):
            await own
        assert not other.done()

    virtual_time.run(main())


def test_a_newcomer_counts_those_who_go_before_it() -> None:
    async def main() -> None:
        loop, turns = asyncio.get_running_loop(), Turns()
        for _ in range(20):
            turns.join(Turn(None, loop), "interactive", again=False)
        assert turns.ahead_of("interactive") == turns.ahead_of("bulk") == 20
        for _ in range(5):
            turns.join(Turn(None, loop), "bulk", again=False)
        assert turns.ahead_of("interactive") == 20 + 2
        assert turns.ahead_of("bulk") == 25

    virtual_time.run(main())
