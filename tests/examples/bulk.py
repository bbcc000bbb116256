import asyncio
from collections.abc import Iterable

from zim_async import ConvType, DeleteConv, ZimClient, ZimError


async def leave_groups(zim: ZimClient, user_id: str, group_ids: Iterable[str]) -> dict[str, ZimError]:
    """Take groups off a user's list, at the quota's pace and behind interactive calls; return what failed."""
    failed: dict[str, ZimError] = {}

    async def leave(group_id: str) -> None:
        try:
            await zim.send(DeleteConv(user_id, group_id, ConvType.GROUP), priority="bulk")
        except ZimError as error:
            failed[group_id] = error

    async with asyncio.TaskGroup() as tasks:
        for group_id in group_ids:
            tasks.create_task(leave(group_id))
    return failed
