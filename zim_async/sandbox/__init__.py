"""A ZIM server on loopback for tests and trials, and the ways in which a server may count calls."""

from ._counting import COUNTERS, Counter, Counting
from ._handlers import Handler
from ._server import Arrival, Sandbox

__all__ = ["COUNTERS", "Arrival", "Counter", "Counting", "Handler", "Sandbox"]
