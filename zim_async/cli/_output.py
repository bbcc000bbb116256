"""What the commands write: in UTF-8 wherever it goes. That nobody reads it any more is no error."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Final, TextIO

from rich.console import Console, RenderableType

MOST_PROBLEMS_TOLD: Final = 100


def use_utf8() -> None:
    """Have standard output and standard error written in UTF-8, whatever the locale."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


@contextlib.contextmanager
def output() -> Iterator[TextIO]:
    """Have standard output to write to. A reader that leaves ends the writing, and nothing else.

    Raises:
        OSError: It can't be written, as on a full disk.
    """
    stream = sys.stdout or io.StringIO()
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        _silence(stream)
    except OSError as error:
        _silence(stream)
        raise OSError(f"standard output can't be written: {error.strerror}") from None


def say(text: str) -> None:
    """Write a line to standard output."""
    with output() as stream:
        stream.write(f"{text}\n")


def show(*renderables: RenderableType) -> None:
    """Write tables and the like to standard output, with colours if it is a terminal."""
    console = Console()
    with output() as stream:
        with console.capture() as capture:
            for renderable in renderables:
                console.print(renderable)
        stream.write(capture.get())


def tell(text: str) -> None:
    """Write a line to standard error, if anybody can read it."""
    stream = sys.stderr or io.StringIO()
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except OSError:
        _silence(stream)


class Problems:
    """Tells the first hundred of an input's problems, and counts them all.

    Attributes:
        count: How many there were.
    """

    def __init__(self) -> None:
        self.count: int = 0

    def add(self, text: str) -> None:
        """Tell one, or count it only."""
        self.count += 1
        if self.count <= MOST_PROBLEMS_TOLD:
            tell(text)
        elif self.count == MOST_PROBLEMS_TOLD + 1:
            tell("further problems are counted only")


def _silence(stream: TextIO) -> None:
    """Send what is still unwritten nowhere: else Python would try again at its exit, and fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
