"""How the names in a file lead to columns: by their spelling, by ``--map``, or by an option that states a value."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import InvalidArgumentError
from ._columns import ACTION, BadRow, Shape, columns_of, key_of
from ._files import excerpt


@dataclass(frozen=True, slots=True)
class Naming:
    """What names of columns mean.

    Attributes:
        columns: The columns that there are, by ``key_of`` their names.
        renamed: Columns by the names that a file has for them.
        fixed: What every row has in a column that the file lacks.
    """

    columns: Mapping[str, str]
    renamed: Mapping[str, str]
    fixed: Mapping[str, str]

    def column(self, name: str) -> str | None:
        """Return the column that a file's name means, or None for another program's."""
        return self.renamed.get(name.strip()) or self.columns.get(key_of(name))

    def doubled(self, names: Iterable[str]) -> str | None:
        """Return what is wrong if several of a file's names mean the same column."""
        found: dict[str, str] = {}
        for name in names:
            if (column := self.column(name)) is None:
                continue
            if column in found:
                both = excerpt(name) if name == found[column] else f"{excerpt(found[column])} and {excerpt(name)}"
                return f"{column} is named twice, by {both}: which one is meant?"
            if column in self.fixed:
                return f"{column} is a column already: leave the option for it out"
            found[column] = name
        return None

    def unfound(self, names: Iterable[str]) -> list[str]:
        """Return the names that ``--map`` has and a file hasn't."""
        return sorted(set(self.renamed) - {name.strip() for name in names})

    def missing(self, names: Iterable[str], shapes: Mapping[str, Shape]) -> list[str]:
        """Return the columns that are missing for the action that comes closest, none if one has them all."""
        given = {self.column(name) for name in names} | set(self.fixed)
        stated = self.fixed.get(ACTION)
        candidates = shapes.values() if stated is None else [shapes[key_of(stated)]]
        lacks = ([column for column in (ACTION, *shape.required) if column not in given] for shape in candidates)
        return min(lacks, key=len)

    def advice(self, missing: Sequence[str], names: Iterable[str]) -> str:
        """Return what options may help where columns are missing, by names that come close."""
        spare = {key_of(name): name.strip() for name in names if self._is_spare(name.strip())}
        wanted = [column for column in missing if column != ACTION]
        close = {column: difflib.get_close_matches(key_of(column), spare, 1) for column in wanted}
        found = {column: spare[keys[0]] for column, keys in close.items() if keys}
        # A name that comes close to two columns tells nothing.
        suggested = [f"{name}={column}" for column, name in found.items() if [*found.values()].count(name) == 1]
        advice = f" Perhaps --map {shlex.quote(','.join(suggested))}." if suggested else ""
        return advice + (" Rows without an action need --action." if ACTION in missing else "")

    def _is_spare(self, name: str) -> bool:
        return bool(name) and name.isprintable() and self.column(name) is None


def make_naming(shapes: Mapping[str, Shape], renames: Iterable[str], fixed: Mapping[str, str]) -> Naming:
    """Check ``--map`` and the options that state a column's value.

    Raises:
        InvalidArgumentError: A name that no action has, a value that doesn't fit, or a name twice.
    """
    known = columns_of(shapes.values())
    columns = {key_of(column): column for column in known}
    renamed: dict[str, str] = {}
    for pair in (pair for text in renames for pair in text.split(",")):
        name, _, wanted = (part.strip() for part in pair.rpartition("="))
        column = columns.get(key_of(wanted))
        if not name or column is None:
            raise InvalidArgumentError(f"--map takes NAME=COLUMN with one of {', '.join(known)}, not {excerpt(pair)}")
        if name in renamed or column in renamed.values() or column in fixed:
            raise InvalidArgumentError(f"--map names {excerpt(name)} or {column} twice")
        renamed[name] = column
    _check_fixed(shapes, fixed)
    return Naming(columns, renamed, fixed)


def _check_fixed(shapes: Mapping[str, Shape], fixed: Mapping[str, str]) -> None:
    action = fixed.get(ACTION)
    shape = None if action is None else shapes.get(key_of(action))
    if action is not None and shape is None:
        names = ", ".join(sorted(shape.name for shape in shapes.values()))
        raise InvalidArgumentError(f"--action must be one of {names}, not {excerpt(action)}")
    for column, value in fixed.items():
        if shape is not None and column != ACTION and column not in shape.readers:
            raise InvalidArgumentError(f"{column} doesn't belong to {shape.name}")
        for read in (shape.readers[column] for shape in shapes.values() if column in shape.readers):
            try:
                read(value)
            except BadRow as error:
                raise InvalidArgumentError(str(error)) from None
