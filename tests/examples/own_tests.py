from zim_async import ZimClient
from zim_async.sandbox import Sandbox


async def test_alice_forgets_bob_but_not_the_reverse() -> None:
    async with Sandbox() as box, ZimClient(box.app_id, box.server_secret, base_url=box.base_url) as zim:
        box.add_message("alice", "bob", "hi")
        box.fail_next(code=1)  # busy: the client tries again
        response = await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")

        assert response.attempts == 2
        assert box.messages("alice", "bob") == []
        assert box.messages("bob", "alice") == ["hi"]
