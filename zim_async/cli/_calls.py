"""The commands that make one call each, made of the actions' own classes."""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import Iterator
from dataclasses import fields
from enum import Enum
from typing import Any, Final

import click

from .._protocol import Response
from ..actions import PACKAGE_ACTIONS, Action
from ._client import env_client
from ._columns import row_name
from ._exit_codes import CALL_CODES, CALL_HELP, CREDENTIALS, DONE, examples, exits_by
from ._output import say

_SAMPLES: Final = {"from_user_id": "alice", "to_user_id": "bob", "conv_id": "g7", "group_id": "g7"}


def call_commands() -> Iterator[click.Command]:
    """Yield a command for each of the package's actions whose fields are IDs and types."""
    for kind in PACKAGE_ACTIONS:
        hints = typing.get_type_hints(kind)
        parameters = [_parameter(field.name, hints[field.name]) for field in fields(kind)]  # type: ignore[arg-type]
        if all(parameter is not None for parameter in parameters):
            yield _command(kind, [parameter for parameter in parameters if parameter is not None])


def _command(kind: type[Action], parameters: list[click.Parameter]) -> click.Command:
    name = row_name(kind).replace("_", "-")
    paragraphs = inspect.cleandoc(kind.__doc__ or "").partition("\n\nArgs:")[0].split("\n\n")
    help_text = "\n\n".join(text for text in paragraphs if "``" not in text)  # without what is for Python's users
    sample = " ".join([f"zim-async {name}", *map(_sample, parameters)])
    return click.Command(
        name,
        params=parameters,
        help=help_text,
        epilog=examples(sample) + CREDENTIALS + CALL_HELP,
        callback=_callback(kind),
    )


def _parameter(field: str, hint: object) -> click.Parameter | None:
    if hint is str:
        return click.Argument([field], metavar=field.upper())
    if isinstance(hint, type) and issubclass(hint, Enum):
        choice = click.Choice([member.name.lower() for member in hint], case_sensitive=False)
        option = f"--{field.rpartition('_')[2]}"
        return click.Option([option, field], type=choice, required=True, help=inspect.getdoc(hint))
    return None


def _sample(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return f"{parameter.opts[0]} group"
    name = parameter.name or ""
    return _SAMPLES.get(name, name.removesuffix("_id"))


def _callback(kind: type[Action]) -> Any:
    hints = typing.get_type_hints(kind)

    @exits_by(CALL_CODES)
    def call(**values: str) -> int:
        typed = {name: value if hints[name] is str else hints[name][value.upper()] for name, value in values.items()}
        response = asyncio.run(_send(kind(**typed)))
        request_id = ascii(response.request_id)[1:-1]
        say(f"{response.action} done (request ID {request_id}, attempts {response.attempts})")
        return DONE

    return call


async def _send(action: Action) -> Response:
    async with env_client() as zim:
        return await zim.send(action)
