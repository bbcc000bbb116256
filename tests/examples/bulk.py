import asyncio
from collections.abc import Iterable

from zim_async import ApiError, ConvType, DeleteConv, ZimClient


async def leave_groups(zim: ZimClient, user_id: str, group_ids: Iterable[str]) -> list[str]:
    """Take groups off a user's list, at the quota's pace; return the IDs the server refused."""
    refused = []

    async def leave(group_id: str) -> None:
        try:
            await zim.send(DeleteConv(user_id, group_id, ConvType.GROUP))
        except ApiError:
            refused.append(group_id)

    async with asyncio.TaskGroup() as tasks:
        for group_id in group_ids:
            tasks.create_task(leave(group_id))
    return refused
