"""The demo: real calls over real HTTP against a sandbox, with the sandbox's state checked afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from ..actions import ClearPeerMessage, ConvType, DeleteConv
from ..client import ZimClient
from ..errors import ZimError
from ..limits.limiter import DEFAULT_QPS
from ..sandbox import Sandbox
from ._demo_erase import erase_user, erasure_errors
from ._display import is_animated
from ._exit_codes import CALL_CODES, CALL_HELP, DONE, REFUSED, examples, exits_by
from ._output import say, show

MOST_ERRORS_SHOWN: Final = 10
_KINDS: Final = (ClearPeerMessage, DeleteConv)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the calls came to and what the server saw.

    Attributes:
        ideal_seconds: What a first burst and then the quota's own pace would have taken.
        erased: Conversations of the user who was erased at the end.
    """

    done: int
    failed: int
    retried: int
    refused: int
    busiest_second: dict[str, int]
    seconds: float
    ideal_seconds: float
    erased: int
    state_errors: list[str]

    @property
    def ok(self) -> bool:
        """Whether every call was done and the server's state is what it should be."""
        return not self.failed and not self.state_errors


@click.command(epilog=examples("zim-async demo --ops 50") + CALL_HELP)
@click.option("--ops", default=200, show_default=True, type=click.IntRange(1, 100_000), help="Calls to make in all.")
@exits_by(CALL_CODES)
def demo(ops: int) -> int:
    """Clear and delete conversations of a sandbox on this machine, both actions at once. Then erase a user.

    Shows what the calls came to and what the server saw, and checks that what should be gone is gone
    and what should stay stayed.
    """
    with _progress(Console(), ops) as on_done:
        return print_result(asyncio.run(run_demo(ops, on_done)))


def print_result(result: DemoResult) -> int:
    """Print what a demo came to, and return the exit code."""
    show(_table(result))
    for error in result.state_errors[:MOST_ERRORS_SHOWN]:
        say(f"wrong: {error}")
    return DONE if result.ok else REFUSED


async def run_demo(operations: int, on_done: Callable[[], None]) -> DemoResult:
    """Clear and delete conversations of a sandbox, erase a user at the end, and check what is left of all."""
    actions = [_action(number) for number in range(operations)]
    async with Sandbox() as box:
        for action in actions:
            fill(box, action)
        started_at = time.monotonic()
        async with ZimClient(box.app_id, box.server_secret, base_url=box.base_url) as zim:
            attempts = await asyncio.gather(*(_send(zim, action, on_done) for action in actions))
            seconds = time.monotonic() - started_at
            erased = await erase_user(box, zim)
        done = [count for count in attempts if count]
        largest_share = max(sum(type(action) is kind for action in actions) for kind in _KINDS)
        return DemoResult(
            done=len(done),
            failed=operations - len(done),
            retried=sum(done) - len(done),
            refused=box.refused,
            busiest_second={name: box.busiest_second(name) for name in (kind.name for kind in _KINDS)},
            seconds=seconds,
            ideal_seconds=max(0.0, largest_share / DEFAULT_QPS - 1.0),
            erased=erased,
            state_errors=[error for action in actions for error in find_state_errors(box, action)]
            + list(erasure_errors(box)),
        )


async def _send(zim: ZimClient, action: ClearPeerMessage | DeleteConv, on_done: Callable[[], None]) -> int:
    """Return the attempts it took, 0 for a failure."""
    try:
        return (await zim.send(action)).attempts
    except ZimError:
        return 0
    finally:
        on_done()


def _action(number: int) -> ClearPeerMessage | DeleteConv:
    user, other = f"user-{number}", f"other-{number}"
    if number % 2:
        return ClearPeerMessage(user, other)
    if number % 4:
        return DeleteConv(user, f"group-{number}", ConvType.GROUP)
    return DeleteConv(user, other, ConvType.PEER)


def fill(box: Sandbox, action: ClearPeerMessage | DeleteConv) -> None:
    """Give the action something to remove, the other side the same to keep, and its user a bystander."""
    user, conv_id, other = _conversation(action)
    if isinstance(action, DeleteConv) and action.conv_type is ConvType.GROUP:
        box.add_group(conv_id, [user, other])
    else:
        box.add_message(user, other)
    box.add_message(user, "bystander")


def find_state_errors(box: Sandbox, action: ClearPeerMessage | DeleteConv) -> list[str]:
    user, conv_id, other = _conversation(action)
    conv_type = action.conv_type if isinstance(action, DeleteConv) else ConvType.PEER
    others_id = conv_id if conv_type is ConvType.GROUP else user
    checks = {
        f"{user} still sees {conv_id}": not box.messages(user, conv_id, conv_type),
        f"{user}'s list is wrong on {conv_id}": (box.messages(user, conv_id, conv_type) is None)
        is isinstance(action, DeleteConv),
        f"{other} lost {others_id}": box.messages(other, others_id, conv_type) == ["hello"],
        f"{user} lost a bystander": box.messages(user, "bystander") == ["hello"],
    }
    return [what for what, right in checks.items() if not right]


def _conversation(action: ClearPeerMessage | DeleteConv) -> tuple[str, str, str]:
    """Return the user, the conversation's ID, and the one on its other side."""
    conv_id = action.to_user_id if isinstance(action, ClearPeerMessage) else action.conv_id
    return action.from_user_id, conv_id, action.from_user_id.replace("user", "other")


@contextlib.contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar, or a plain line every second where nobody could see one. Yields what to call for each step."""
    if is_animated(console):
        columns = (TextColumn("calls"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bars(*columns, console=console) as bars:
            task = bars.add_task("calls", total=total)
            yield lambda: bars.advance(task)
        return
    done, next_line_at = 0, 0.0

    def advance() -> None:
        nonlocal done, next_line_at
        done += 1
        if done == total or time.monotonic() >= next_line_at:
            next_line_at = time.monotonic() + 1.0
            say(f"{done} of {total} calls")

    yield advance


def _table(result: DemoResult) -> Table:
    table = Table(title="zim-async demo", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    share = f"{min(1.0, result.ideal_seconds / result.seconds):.1%}" if result.ideal_seconds else "one burst"
    rows = {
        "done": result.done,
        "failed": result.failed,
        "retried": result.retried,
        "refused by the server": result.refused,
        **{f"most {name} in any second": count for name, count in result.busiest_second.items()},
        "seconds": f"{result.seconds:.2f}",
        "share of the ideal schedule": share,
        "conversations of a user who was erased": result.erased,
        "state": "wrong" if result.state_errors else "verified",
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table
