"""The rows that a bulk job is given: those of all files, one after another, and what was wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..actions import Action
from ..errors import InvalidArgumentError
from ._output import Problems
from ._rows import Format, Problem, RowFile, RowReader


class RowSource:
    """The actions of some files.

    Args:
        files: Their names; ``-`` is standard input.
        reader: What makes actions of their rows.
        skip_bad: Leave out what is no action.

    Attributes:
        format: What the first file holds.
        bad_lines: Lines that hold no action.
        causes: Bad rows by what is wrong.
    """

    def __init__(self, files: tuple[str, ...], reader: RowReader, *, skip_bad: bool) -> None:
        self.format: Format = "csv"
        self.bad_lines: int = 0
        self.causes: Counter[str] = Counter()
        self._files = files
        self._reader = reader
        self._skip_bad = skip_bad
        self._problems = Problems()

    def actions(self) -> Iterator[Action]:
        """Yield the actions.

        Raises:
            InvalidArgumentError: A file can't be read; or, at the end, there were bad rows.
        """
        for number, name in enumerate(self._files):
            with RowFile(name, self._reader) as file:
                if number == 0:
                    self.format = file.format
                yield from file.actions(self._note)
        if self.bad_rows and not self._skip_bad:
            raise InvalidArgumentError(
                f"bad rows: {self.bad_rows}. Nothing was sent. Mend them, or leave them out with --skip-bad"
            )

    @property
    def bad_rows(self) -> int:
        """Rows that are no action."""
        return self._problems.count

    def _note(self, problem: Problem) -> None:
        self.causes[problem.cause] += 1
        self.bad_lines += problem.lines
        self._problems.add(problem.text)
