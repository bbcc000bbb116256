"""JSON as a text holds it, with true words for what can't be taken. A key that stands twice can't."""

from __future__ import annotations

import json
import sys
from typing import Any

from ._files import excerpt


class JsonError(Exception):
    """A value that can't be taken.

    Attributes:
        cause: What is wrong, alike for all values of which that is wrong.
        detail: What else there is to say.
        at: Where in the text it is wrong, if it is no JSON.
        unfinished: Whether the text ends before the value does.
        end: Where the value ends, if it is JSON and can be passed over.
    """

    def __init__(
        self, cause: str, detail: str = "", *, at: int | None = None, unfinished: bool = False, end: int | None = None
    ) -> None:
        super().__init__(f"{cause}{detail}")
        self.cause = cause
        self.detail = detail
        self.at = at
        self.unfinished = unfinished
        self.end = end


class JsonDecoder:
    """Decodes values. One is enough for a file."""

    def __init__(self) -> None:
        self._doubled: str | None = None
        self._raw_decode = json.JSONDecoder(object_pairs_hook=self._to_object).raw_decode

    def decode(self, text: str, at: int = 0) -> tuple[Any, int]:
        """Return the value that begins at a place of a text, and where it ends.

        Raises:
            JsonError: It can't be taken.
        """
        self._doubled = None
        try:
            value, end = self._raw_decode(text, at)
        except json.JSONDecodeError as error:
            unfinished = error.pos >= len(text) or error.msg.startswith("Unterminated")
            raise JsonError("no JSON", f" ({error.msg})", at=error.pos, unfinished=unfinished) from None
        except RecursionError:
            raise JsonError("JSON that is nested too deep") from None
        except ValueError:  # Python converts no longer ones
            raise JsonError(f"a number of more than {sys.get_int_max_str_digits()} digits") from None
        if self._doubled is not None:
            raise JsonError("a key that stands in an object twice", f", {excerpt(self._doubled)}", end=end)
        return value, end

    def _to_object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            self._doubled = next(key for key in keys if keys.count(key) > 1)
        return found
