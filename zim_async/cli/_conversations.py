"""The command ``zim-async conversations``."""

from __future__ import annotations

import asyncio
import json

import click
from rich.table import Table
from rich.text import Text

from ..actions import Conversation
from ._client import env_client
from ._exit_codes import CALL_CODES, CALL_HELP, CREDENTIALS, DONE, examples, exits_by
from ._output import say, show


@click.command(
    epilog=examples(
        "zim-async conversations alice",
        "zim-async conversations alice --json | zim-async cleanup - --action delete_conv",
    )
    + CREDENTIALS
    + CALL_HELP
)
@click.argument("user_id")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines, as cleanup reads them.")
@exits_by(CALL_CODES)
def conversations(user_id: str, as_json: bool) -> int:
    """List the conversations of USER_ID, the latest 1,000 at most, oldest first."""
    found = asyncio.run(_list(user_id))
    if as_json:
        for conversation in found:
            say(json.dumps(_values(user_id, conversation), ensure_ascii=False))
    else:
        show(_table(user_id, found))
    return DONE


async def _list(user_id: str) -> list[Conversation]:
    async with env_client() as zim:
        return [conversation async for conversation in zim.conversations(user_id)]


def _values(user_id: str, conversation: Conversation) -> dict[str, str]:
    return {
        "from_user_id": user_id,
        "conv_id": conversation.conv_id,
        "conv_type": conversation.conv_type.name.lower(),
        "updated_at": conversation.updated_at.isoformat(),
    }


def _table(user_id: str, found: list[Conversation]) -> Table:
    table = Table(title=Text(f"{len(found)} conversations of {user_id}"))
    for column in ("conversation", "type", "updated"):
        table.add_column(column)
    for conversation in found:
        updated = conversation.updated_at.isoformat(" ", "seconds")
        # As it is: an ID may look like markup.
        table.add_row(Text(conversation.conv_id), conversation.conv_type.name.lower(), updated)
    return table
