import asyncio
from collections.abc import AsyncIterable

from zim_async import ConvType, DeleteConv, ZimClient, cleanup


async def leave_groups(zim: ZimClient, members: AsyncIterable[tuple[str, str]]) -> int:
    """Take groups off their members' lists; run it again after any interruption, and it goes on where it was."""
    actions = (DeleteConv(user_id, group_id, ConvType.GROUP) async for user_id, group_id in members)
    report = await cleanup(
        zim,
        actions,
        journal="leave-groups.journal",
        on_progress=lambda progress: print(progress.done, "done,", progress.remaining, "to go"),
    )
    return report.done + report.not_found


async def leave_some_groups(zim: ZimClient, seconds: float, members: AsyncIterable[tuple[str, str]]) -> None:
    """The same for a while: what is in flight at the end of that time is awaited."""
    actions = (DeleteConv(user_id, group_id, ConvType.GROUP) async for user_id, group_id in members)
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    await cleanup(zim, actions, journal="leave-groups.journal", stop=stop)
