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
        skip_bad: Leave out what is no action. What has nothing else is refused all the same.
        dry_run: Refuse nothing; ``objection`` says what would be.

    Attributes:
        format: What the first file holds.
        bad_lines: Lines that hold no action.
        causes: Bad rows by what is wrong.
    """

    def __init__(self, files: tuple[str, ...], reader: RowReader, *, skip_bad: bool, dry_run: bool) -> None:
        self.format: Format = "csv"
        self.bad_lines: int = 0
        self.causes: Counter[str] = Counter()
        self._files = files
        self._reader = reader
        self._skip_bad = skip_bad
        self._dry_run = dry_run
        self._has_rows = False
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
                actions = file.actions(self._note)
                for first in actions:  # and the rest of them: there are no steps here for each of a million
                    self._has_rows = True
                    yield first
                    yield from actions
        if self.objection and not self._dry_run:
            raise InvalidArgumentError(self.objection)

    @property
    def objection(self) -> str | None:
        """Why the rows that were read aren't sent, if they aren't."""
        if not self.bad_rows or (self._skip_bad and self._has_rows):
            return None
        causes = ", ".join(f"{count} x {cause}" for cause, count in self.causes.most_common())
        others = "" if self._has_rows else ", and there are no others"
        advice = ", or leave them out with --skip-bad" if self._has_rows else ""
        return f"bad rows: {self.bad_rows} ({causes}){others}. Nothing was sent. Mend them{advice}"

    @property
    def bad_rows(self) -> int:
        """Rows that are no action."""
        return self._problems.count

    def _note(self, problem: Problem) -> None:
        self.causes[problem.cause] += 1
        self.bad_lines += problem.lines
        self._problems.add(problem.text)
