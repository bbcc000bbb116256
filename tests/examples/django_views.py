from functools import cache

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.deprecation import MiddlewareMixin

from zim_async import ZimClient, ZimError
from zim_http import http_answer
from zim_sync import run


class AnswerErrors(MiddlewareMixin):  # for MIDDLEWARE in the settings
    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, ZimError):
            return None
        status, text, headers = http_answer(error)
        return HttpResponse(text, status=status, headers=headers)


@cache
def client() -> ZimClient:  # one for each process under ASGI
    return ZimClient.from_env(deadline=10, max_wait=2)


async def clear_chat(request: HttpRequest, user: str, other: str) -> HttpResponse:
    await client().clear_peer_message(from_user_id=user, to_user_id=other)
    return HttpResponse(status=204)


def clear_chat_sync(request: HttpRequest, user: str, other: str) -> HttpResponse:  # under WSGI
    run(lambda zim: zim.clear_peer_message(from_user_id=user, to_user_id=other, max_wait=2))
    return HttpResponse(status=204)


urlpatterns = [
    path("users/<user>/messages/<other>", clear_chat),
    path("sync/users/<user>/messages/<other>", clear_chat_sync),
]
