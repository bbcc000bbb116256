"""The command line ``zim-async``. It needs the extra ``cli``."""

from ._main import main

__all__ = ["main"]
