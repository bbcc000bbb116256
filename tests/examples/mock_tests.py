from unittest.mock import create_autospec

import pytest

from zim_async import NotFoundError, Response, ZimClient


@pytest.mark.zim(strict=True, faults=[7])  # a refusal for the rate first, then refusals of what isn't known
async def test_nobody_forgets_bob(zim_client: ZimClient) -> None:
    with pytest.raises(NotFoundError):
        await zim_client.clear_peer_message(from_user_id="nobody", to_user_id="bob")


async def test_without_a_server() -> None:
    zim = create_autospec(ZimClient, instance=True)
    zim.delete_conv.return_value = Response(action="DeleteConv")
    zim.clear_peer_message.side_effect = NotFoundError("gone", code=660800002)
    with pytest.raises(NotFoundError):
        await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")
