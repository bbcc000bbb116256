import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request

from zim_async import ConvType, NotFoundError, QueueTimeoutError, ServerBusyError, TransportError, ZimClient


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with ZimClient.from_env(deadline=10, max_wait=2) as zim:
        app.state.zim = zim
        yield


app = FastAPI(lifespan=lifespan)


@app.delete("/users/{user_id}/chats/{other_id}", status_code=204)
async def delete_chat(user_id: str, other_id: str, request: Request) -> None:
    zim: ZimClient = request.app.state.zim
    try:
        await zim.delete_conv(from_user_id=user_id, conv_id=other_id, conv_type=ConvType.PEER)
    except NotFoundError:
        raise HTTPException(404, "no such chat") from None
    except QueueTimeoutError as error:  # at once, when the queue is longer than two seconds
        headers = {"Retry-After": str(math.ceil(error.estimated_wait))}
        raise HTTPException(503, "busy", headers) from None
    except (ServerBusyError, TransportError):  # after retries, or at the deadline
        raise HTTPException(502, "the chat server doesn't answer") from None
