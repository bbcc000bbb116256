from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request

from several_workers.tasks import broker, leave_group
from zim_async import ConvType, NotFoundError, QuotaUnavailableError, ZimClient


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await broker.startup()
    async with ZimClient.from_env(deadline=10) as zim:
        app.state.zim = zim
        yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


@app.delete("/users/{user_id}/chats/{other_id}", status_code=204)
async def delete_chat(user_id: str, other_id: str, request: Request) -> None:
    zim: ZimClient = request.app.state.zim
    try:  # goes before the tasks' calls, whichever process they are in
        await zim.delete_conv(from_user_id=user_id, conv_id=other_id, conv_type=ConvType.PEER)
    except NotFoundError:
        raise HTTPException(404, "no such chat") from None
    except QuotaUnavailableError:  # Redis is down
        raise HTTPException(503, "try again later") from None


@app.delete("/users/{user_id}/groups", status_code=202)
async def leave_groups(user_id: str, group_ids: list[str]) -> None:
    for group_id in group_ids:
        await leave_group.kiq(user_id, group_id)
