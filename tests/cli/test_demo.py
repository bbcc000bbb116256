from zim_async import ClearPeerMessage, ConvType, DeleteConv, ZimClient
from zim_async.cli._demo import fill, find_state_errors, run_demo
from zim_async.cli._demo_erase import erase_user, erasure_errors
from zim_async.sandbox import Sandbox


async def test_the_demo_does_what_it_says() -> None:
    steps: list[None] = []
    result = await run_demo(50, lambda: steps.append(None))
    assert result.ok
    assert (result.done, result.failed, result.refused, len(steps)) == (50, 0, 0, 50)
    assert all(count <= 20 for count in result.busiest_second.values())
    assert result.ideal_seconds == 0.25
    assert result.erased == 5


async def test_the_check_of_the_state_can_fail() -> None:
    cleared, left = ClearPeerMessage("user-1", "other-1"), DeleteConv("user-2", "group-2", ConvType.GROUP)
    async with Sandbox() as box, ZimClient(box.app_id, box.server_secret, base_url=box.base_url) as zim:
        fill(box, cleared)
        assert find_state_errors(box, cleared) == ["user-1 still sees other-1"]
        await zim.send(cleared)
        assert find_state_errors(box, cleared) == []
        fill(box, left)
        assert find_state_errors(box, left) == ["user-2 still sees group-2", "user-2's list is wrong on group-2"]
        await zim.send(left)
        await zim.send(DeleteConv("other-2", "group-2", ConvType.GROUP))
        await zim.send(DeleteConv("user-2", "bystander", ConvType.PEER))
        assert find_state_errors(box, left) == ["other-2 lost group-2", "user-2 lost a bystander"]


async def test_the_check_of_an_erasure_can_fail() -> None:
    async with Sandbox() as box, ZimClient(box.app_id, box.server_secret, base_url=box.base_url) as zim:
        assert await erase_user(box, zim) == 5
        assert list(erasure_errors(box)) == []
        box.add_group("club-1", ["leaver"])
        await zim.delete_conv(from_user_id="friend-1", conv_id="leaver", conv_type=ConvType.PEER)
        await zim.delete_conv(from_user_id="friend-2", conv_id="club-2", conv_type=ConvType.GROUP)
        assert list(erasure_errors(box)) == [
            "leaver still lists club-1",
            "friend-1 lost leaver",
            "friend-2 lost club-2",
        ]
