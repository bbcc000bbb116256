"""The command ``zim-async`` and its commands."""

from __future__ import annotations

import logging
import traceback

import click

from .. import __version__
from ._calls import call_commands
from ._cleanup import cleanup
from ._conversations import conversations
from ._demo import demo
from ._erase import erase
from ._exit_codes import CALL_HELP, DONE, FAULT, INTERRUPTED, examples
from ._journal import journal
from ._output import say, tell, use_utf8
from ._sandbox import sandbox


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code. Errors take one line, but for those of the program itself."""
    use_utf8()
    logging.getLogger("zim_async").addHandler(logging.NullHandler())  # else warnings would go to standard error
    try:
        result = commands.main(arguments, prog_name="zim-async", standalone_mode=False)
    except click.ClickException as error:
        tell(f"zim-async: {' '.join(error.format_message().split())} (--help says more)")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        tell("interrupted")
        return INTERRUPTED
    except SystemExit:  # what click makes of a reader of --help who left
        return DONE
    except Exception:  # noqa: BLE001, whatever it is
        tell(f"{traceback.format_exc()}zim-async: this is a fault of zim-async. Please report it with the lines above")
        return FAULT
    return result if isinstance(result, int) else DONE


def _start_log(_context: click.Context, _option: click.Parameter, verbose: bool) -> None:
    if verbose:
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
        logging.getLogger("zim_async").setLevel(logging.DEBUG)


def _add_verbose(command: click.Command) -> click.Command:
    option = click.Option(
        ["--verbose"], is_flag=True, expose_value=False, callback=_start_log, help="Log each attempt to standard error."
    )
    command.params.append(option)
    return command


@click.group(
    epilog=examples("zim-async demo", "zim-async cleanup rows.csv --dry-run") + CALL_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(__version__, package_name="zim_async")
@click.pass_context
def commands(context: click.Context) -> None:
    """Call the ZIM server API at its rate of 20 calls a second for each action.

    Try "zim-async demo" first: it needs no account and talks to nothing but this machine.
    """
    if context.invoked_subcommand is None:
        say(context.get_help())


_add_verbose(commands)
for _command in (demo, *call_commands(), conversations, cleanup, erase, journal, sandbox):
    commands.add_command(_add_verbose(_command))
