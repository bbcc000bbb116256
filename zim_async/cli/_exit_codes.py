"""The exit codes of the commands: what errors make of them, and what help says of them and of credentials."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, ParamSpec, TypeAlias

from ..errors import ApiError, ConfigError, InvalidArgumentError, ZimError
from ._output import tell

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
TRANSPORT: Final = 3
RESUMABLE: Final = 4
STOPPED: Final = 5
FAULT: Final = 70  # as sysexits.h has it; Python itself would exit with 1, which means something else here
INTERRUPTED: Final = 130
RESUME: Final = "interrupted; run the same again to resume"

Codes: TypeAlias = tuple[tuple[type[Exception], int], ...]  # the first that fits
CALL_CODES: Final[Codes] = (
    (ConfigError, USAGE),
    (InvalidArgumentError, USAGE),
    (ApiError, REFUSED),
    (ZimError, TRANSPORT),
    (OSError, USAGE),
)
JOB_CODES: Final[Codes] = ((InvalidArgumentError, USAGE), (ZimError, STOPPED), (OSError, STOPPED))

CALL_HELP: Final = """
\b
Exit codes:
  0  done
  1  the server refused, or the demo found its state wrong
  2  usage or configuration
  3  no usable answer from the server
  70  a fault of zim-async; please report it
  130  interrupted
"""
JOB_HELP: Final = """
\b
Exit codes:
  0  all done
  1  all sent, some not found or refused
  2  usage: options, or rows that are no actions
  4  interrupted; run the same again to resume
  5  stopped by configuration: credentials, clock, plan or journal
  70  a fault of zim-async; please report it. The journal keeps what was done
  130  interrupted twice, left immediately; run the same again to resume
"""
CREDENTIALS: Final = """
Credentials come from the environment: ZIM_APP_ID, ZIM_SERVER_SECRET, and ZIM_REGION (auto, sha, hkg,
fra, lax, bom, sgp) or ZIM_BASE_URL. The secret is never an argument, which other users could read.
"""

P = ParamSpec("P")


def exits_by(codes: Codes) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Have a command's errors told in one line, and turned into its exit code."""

    def decorate(command: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                return command(*args, **kwargs)
            except tuple(kind for kind, _ in codes) as error:
                tell(f"zim-async: {error}")
                return next(code for kind, code in codes if isinstance(error, kind))

        return run

    return decorate


def examples(*lines: str) -> str:
    """Return examples for the end of a command's help."""
    return "\n\b\nExamples:\n" + "".join(f"  {line}\n" for line in lines)
