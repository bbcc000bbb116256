"""The demo's last act: a user with peers and groups is erased, and the others keep theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..actions import ConvType
from ..client import ZimClient
from ..erase import erase_users
from ..sandbox import Sandbox

USER: Final = "leaver"
PEERS: Final = ("friend-1", "friend-2", "friend-3")
GROUPS: Final = ("club-1", "club-2")


async def erase_user(box: Sandbox, zim: ZimClient) -> int:
    """Have a user of a sandbox erased, and return how many conversations were deleted."""
    for peer in PEERS:
        box.add_message(USER, peer)
    for group in GROUPS:
        box.add_group(group, [USER, *PEERS])
    progress = await erase_users(zim, [USER])
    return progress.done // 2  # each was cleared and deleted


def erasure_errors(box: Sandbox) -> Iterator[str]:
    """Yield what is left of the user, and what the others lost."""
    conversations = [(peer, ConvType.PEER) for peer in PEERS] + [(group, ConvType.GROUP) for group in GROUPS]
    for conv_id, conv_type in conversations:
        if box.messages(USER, conv_id, conv_type) is not None:
            yield f"{USER} still lists {conv_id}"
    for peer in PEERS:
        if box.messages(peer, USER) != ["hello"]:
            yield f"{peer} lost {USER}"
        for group in GROUPS:
            if box.messages(peer, group, ConvType.GROUP) != ["hello"]:
                yield f"{peer} lost {group}"
