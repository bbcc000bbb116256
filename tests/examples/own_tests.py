import pytest

from zim_async import ZimClient
from zim_async.sandbox import Sandbox


@pytest.mark.asyncio  # or anyio's mark, or pytest-asyncio's auto mode
async def test_alice_forgets_bob_but_not_the_reverse(zim_client: ZimClient, zim_sandbox: Sandbox) -> None:
    zim_sandbox.add_message("alice", "bob", "hi")
    zim_sandbox.fail_next(code=1)  # busy: the client tries again
    response = await zim_client.clear_peer_message(from_user_id="alice", to_user_id="bob")

    assert response.attempts == 2
    assert zim_sandbox.messages("alice", "bob") == []
    assert zim_sandbox.messages("bob", "alice") == ["hi"]
