"""Bulk jobs: hundreds of thousands of deletes that survive interruptions."""

from ._job import cleanup, plan
from ._progress import Progress

__all__ = ["Progress", "cleanup", "plan"]
