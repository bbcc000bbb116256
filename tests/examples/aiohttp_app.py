from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from zim_async import ZimClient, ZimError
from zim_http import http_answer

ZIM = web.AppKey("ZIM", ZimClient)


async def zim_client(app: web.Application) -> AsyncIterator[None]:
    async with ZimClient.from_env(deadline=10, max_wait=2) as app[ZIM]:
        yield


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ZimError as error:
        status, text, headers = http_answer(error)
        return web.Response(status=status, text=text, headers=headers)


async def clear_chat(request: web.Request) -> web.Response:
    user, other = request.match_info["user"], request.match_info["other"]
    await request.app[ZIM].clear_peer_message(from_user_id=user, to_user_id=other)
    return web.Response(status=204)


def make_app() -> web.Application:
    app = web.Application(middlewares=[answer_errors])
    app.cleanup_ctx.append(zim_client)
    app.router.add_delete("/users/{user}/messages/{other}", clear_chat)
    return app
