"""Values and a server's texts made fit for a message."""

from __future__ import annotations

import re
from typing import Final

MAX_SHOWN_CHARACTERS: Final = 200
# In a message, any such number may be a signature.
_SIGNATURE: Final = re.compile("(?:Signature=)?[0-9A-Fa-f]{32}")


def show_value(value: object) -> str:
    """Return a value's type and the start of its text in ASCII, fit for a message.

    Args:
        value: Anything.
    """
    try:
        text = ascii(value)
    except Exception:  # noqa: BLE001, a value's own repr may raise anything, and that of a huge int does
        text = "that can't be shown"
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"


def show_text(text: str) -> str:
    """Make a server's text fit to show: it may echo the signed request, forge a log line, or flood one."""
    return escape_text(_SIGNATURE.sub("[signature]", text))


def escape_text(text: str) -> str:
    """Return the start of a text on one line, with what doesn't print escaped."""
    shown = text[:MAX_SHOWN_CHARACTERS]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return shown if len(text) <= MAX_SHOWN_CHARACTERS else shown + "..."
