from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from zim_async import ConvType, ZimClient, ZimError
from zim_http import http_answer


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with ZimClient.from_env(deadline=10, max_wait=2) as zim:
        app.state.zim = zim
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(ZimError)
async def answer_error(request: Request, error: ZimError) -> JSONResponse:
    status, text, headers = http_answer(error)
    return JSONResponse({"detail": text}, status, headers)


@app.delete("/users/{user_id}/chats/{other_id}", status_code=204)
async def delete_chat(user_id: str, other_id: str, request: Request) -> None:
    zim: ZimClient = request.app.state.zim
    await zim.delete_conv(from_user_id=user_id, conv_id=other_id, conv_type=ConvType.PEER)


@app.get("/health")
async def health(request: Request) -> dict[str, float]:
    limiter = request.app.state.zim.limiter.of("DeleteConv")  # spends no call
    return {"waiting": limiter.waiting, "permits": limiter.permits, "estimated_wait": limiter.estimated_wait()}
