import asyncio
import logging

import pytest

from tests.support import virtual_clock
from tests.support.limiters import action_limiter


def test_refusals_are_summed_up_one_line_a_second_at_most(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        limiter = action_limiter(20)
        for permit in [await limiter.acquire() for _ in range(11)]:
            permit.release(throttled=True)
        await asyncio.sleep(3)
        (await limiter.acquire()).release(throttled=True)
        await asyncio.sleep(3)

    caplog.set_level(logging.WARNING, "zim_async")
    virtual_clock.run(main())
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" refused")[0] for line in lines] == ["DeleteConv: 1", "DeleteConv: 10", "DeleteConv: 1"]
    assert "17.6 of 20 calls a second" in lines[0]


def test_a_refusal_told_where_no_loop_runs_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    limiter = action_limiter(20)
    permit = virtual_clock.run(limiter.acquire())
    permit.release(throttled=True)
    assert "DeleteConv: 1 refused" in caplog.text
