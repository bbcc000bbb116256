"""The command ``zim-async sandbox``: a server to rehearse with, for programs in any language."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from typing import Final

import click

from ..sandbox import Sandbox
from ._exit_codes import CALL_CODES, CALL_HELP, DONE, USAGE, examples, exits_by
from ._output import say, tell

SECRET: Final = "ZIM_SERVER_SECRET"  # noqa: S105, a name


def _parse_faults(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return the return codes, and how many requests are to meet each."""
    faults = []
    for value in values:
        code, _, times = value.partition(":")
        if not (code.isdecimal() and (times or "1").isdecimal() and int(times or 1)):
            raise click.BadParameter(f"{value!a} is no return code such as 7, nor 7:3 for three requests")
        faults.append((int(code), int(times or 1)))
    return faults


@click.command(
    epilog=examples(
        "zim-async sandbox --port 8080 --app-id 1 --server-secret made-up",
        "zim-async sandbox --strict --delay 0.2 --fail 660600015:5",
    )
    + CALL_HELP
)
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port on 127.0.0.1; a free one by default.")
@click.option("--app-id", type=click.IntRange(1, 2**32 - 1), help="AppId, instead of a new one each time.")
@click.option("--server-secret", help=f"A made-up secret. With --app-id, {SECRET} of the environment is taken.")
@click.option("--strict", is_flag=True, help="Refuse unknown users and conversations as not found.")
@click.option("--qps", default=20, show_default=True, type=click.IntRange(0), help="Accepted calls a second; 0: all.")
@click.option("--delay", default=0.0, type=click.FloatRange(0, 3600), help="Seconds before each answer.")
@click.option(
    "--fail",
    "faults",
    metavar="CODE[:N]",
    multiple=True,
    callback=_parse_faults,
    help="Answer the first N calls with CODE, without acting.",
)
@exits_by(CALL_CODES)
def sandbox(
    port: int,
    app_id: int | None,
    server_secret: str | None,
    strict: bool,
    qps: int,
    delay: float,
    faults: list[tuple[int, int]],
) -> int:
    """Run a ZIM server on this machine until interrupted.

    Prints lines that a shell can take up, for this library or a client in any other language. A secret
    of the environment isn't among them.
    """
    secret = server_secret or (os.environ.get(SECRET) if app_id else None)
    box = Sandbox(app_id=app_id, server_secret=secret, port=port, qps=qps or None, strict=strict)
    box.delay = delay
    for code, times in faults:
        box.fail_next(code=code, times=times)
    try:
        asyncio.run(_serve(box, tell_secret=secret is None or secret == server_secret))
    except OSError as error:
        tell(f"zim-async: can't listen on port {port}: {error.strerror}")
        return USAGE
    return DONE


async def _serve(box: Sandbox, *, tell_secret: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # where there are no signals, Ctrl-C still interrupts
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with box:
        say(f"export ZIM_BASE_URL={box.base_url}")
        say(f"export ZIM_APP_ID={box.app_id}")
        if tell_secret:
            say(f"export {SECRET}={shlex.quote(box.server_secret)}")
        tell("# serving until interrupted")
        await stop.wait()
