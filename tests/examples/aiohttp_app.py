from collections.abc import AsyncIterator

from aiohttp import web

from zim_async import ZimClient

ZIM = web.AppKey("ZIM", ZimClient)


async def zim_client(app: web.Application) -> AsyncIterator[None]:
    async with ZimClient.from_env() as app[ZIM]:
        yield


async def clear_chat(request: web.Request) -> web.Response:
    user, other = request.match_info["user"], request.match_info["other"]
    await request.app[ZIM].clear_peer_message(from_user_id=user, to_user_id=other)
    return web.Response(status=204)


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(zim_client)
    app.router.add_delete("/users/{user}/messages/{other}", clear_chat)
    return app
