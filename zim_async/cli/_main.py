"""The command line: ``zim-async demo``, the two actions, bulk jobs, and a sandbox for other programs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .. import __version__
from .._protocol import Response
from ..actions import ClearPeerMessage, ConvType, DeleteConv
from ..client import ZimClient
from ..errors import ApiError, ConfigError, InvalidArgumentError, ZimError
from ..sandbox import Sandbox
from ._cleanup import cleanup, journal
from ._demo import DemoResult, run_demo
from ._exit_codes import CREDENTIALS, DONE, HELP, INTERRUPTED, REFUSED, TRANSPORT, USAGE


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code; errors print one line."""
    try:
        result = commands.main(arguments, prog_name="zim-async", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"zim-async: {' '.join(error.format_message().split())} (--help says more)", err=True)
        return error.exit_code
    except BrokenPipeError:  # whoever reads has read enough; what is left unwritten must not fail at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except ZimError as error:
        click.echo(f"zim-async: {error}", err=True)
        return _exit_code(error)
    return result if isinstance(result, int) else DONE


def _exit_code(error: ZimError) -> int:
    if isinstance(error, ConfigError | InvalidArgumentError):
        return USAGE
    return REFUSED if isinstance(error, ApiError) else TRANSPORT


def _start_log(_context: click.Context, _option: click.Parameter, verbose: bool) -> None:
    if verbose:
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
        logging.getLogger("zim_async").setLevel(logging.DEBUG)


_verbose = click.option(
    "--verbose", is_flag=True, expose_value=False, callback=_start_log, help="Log each attempt to standard error."
)


@click.group(epilog=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="zim_async")
@_verbose
def commands() -> None:
    """Call the ZIM server API at its rate of 20 calls a second for each action.

    Try "zim-async demo" first: it needs no account and talks to nothing but this machine.
    """


commands.add_command(cleanup)
commands.add_command(journal)


@commands.command(epilog=HELP)
@click.option("--ops", default=200, show_default=True, type=click.IntRange(1, 100_000), help="Calls to make in all.")
@_verbose
def demo(ops: int) -> int:
    """Clear and delete conversations of a sandbox on this machine, both actions at once.

    Shows what the calls came to and what the server saw, and checks that what should be gone is gone
    and what should stay stayed.
    """
    console = Console()
    with _progress(console, ops) as on_done:
        result = asyncio.run(run_demo(ops, on_done))
    console.print(_table(result))
    for error in result.state_errors[:10]:
        console.print(f"wrong: {error}", style="red")
    return DONE if result.ok else REFUSED


@commands.command(epilog=CREDENTIALS + HELP)
@click.argument("from_user_id", metavar="FROM")
@click.argument("to_user_id", metavar="TO")
@_verbose
def clear_peer_message(from_user_id: str, to_user_id: str) -> int:
    """Remove every message between FROM and TO from the view of FROM; TO keeps them."""
    return _send(ClearPeerMessage(from_user_id, to_user_id))


@commands.command(epilog=CREDENTIALS + HELP)
@click.argument("from_user_id", metavar="FROM")
@click.argument("conv_id", metavar="CONV")
@click.option("--type", "kind", required=True, type=click.Choice(["peer", "group"]), help="What CONV names.")
@_verbose
def delete_conv(from_user_id: str, conv_id: str, kind: str) -> int:
    """Remove the conversation CONV (the other user's ID, or a group's) from the list of FROM."""
    return _send(DeleteConv(from_user_id, conv_id, ConvType[kind.upper()]))


@commands.command(epilog=HELP)
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port on 127.0.0.1; a free one by default.")
@_verbose
def sandbox(port: int) -> None:
    """Run a ZIM server on this machine until interrupted.

    Prints lines that a shell can take up, for this library or a client in any other language.
    """
    try:
        asyncio.run(_serve(port))
    except OSError as error:
        raise click.UsageError(f"can't listen on port {port}: {error.strerror}") from None


def _send(action: ClearPeerMessage | DeleteConv) -> int:
    async def send() -> Response:
        async with ZimClient.from_env() as zim:
            return await zim.send(action)

    response = asyncio.run(send())
    click.echo(f"{response.action} done (request ID {ascii(response.request_id)[1:-1]}, attempts {response.attempts})")
    return DONE


async def _serve(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # where there are no signals, Ctrl-C still interrupts
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Sandbox(port=port) as box:
        click.echo(f"export ZIM_BASE_URL={box.base_url}")
        click.echo(f"export ZIM_APP_ID={box.app_id}")
        click.echo(f"export ZIM_SERVER_SECRET={box.server_secret}")
        click.echo("# serving until interrupted", err=True)
        await stop.wait()


@contextlib.contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar, or a plain line every second where nobody could see one; yields what to call for each step."""
    if console.is_terminal:
        columns = (TextColumn("calls"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("calls", total=total)
            yield lambda: progress.advance(task)
        return
    done, next_line_at = 0, 0.0

    def advance() -> None:
        nonlocal done, next_line_at
        done += 1
        if done == total or time.monotonic() >= next_line_at:
            next_line_at = time.monotonic() + 1.0
            click.echo(f"{done} of {total} calls")

    yield advance


def _table(result: DemoResult) -> Table:
    table = Table(title="zim-async demo", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    rows: dict[str, Any] = {
        "done": result.done,
        "failed": result.failed,
        "retried": result.retried,
        "refused by the server": result.refused,
        **{f"most {name} in any second": count for name, count in result.busiest_second.items()},
        "seconds": f"{result.seconds:.2f}",
        "share of the ideal schedule": f"{min(1.0, result.ideal_seconds / result.seconds):.1%}"
        if result.ideal_seconds
        else "one burst",
        "state": "wrong" if result.state_errors else "verified",
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table
