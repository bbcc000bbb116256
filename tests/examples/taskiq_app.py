from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from taskiq_tasks import broker, leave_group
from zim_async import ConvType, ZimClient, ZimError
from zim_http import http_answer


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await broker.startup()
    async with ZimClient.from_env(deadline=10) as zim:
        app.state.zim = zim
        yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


@app.exception_handler(ZimError)
async def answer_error(request: Request, error: ZimError) -> JSONResponse:
    status, text, headers = http_answer(error)
    return JSONResponse({"detail": text}, status, headers)


@app.delete("/users/{user_id}/chats/{other_id}", status_code=204)
async def delete_chat(user_id: str, other_id: str, request: Request) -> None:
    zim: ZimClient = request.app.state.zim  # its calls go before the tasks', whichever process they are in
    await zim.delete_conv(from_user_id=user_id, conv_id=other_id, conv_type=ConvType.PEER)


@app.delete("/users/{user_id}/groups", status_code=202)
async def leave_groups(user_id: str, group_ids: list[str]) -> None:
    for group_id in group_ids:
        await leave_group.kiq(user_id, group_id)
