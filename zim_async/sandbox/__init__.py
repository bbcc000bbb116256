"""A ZIM server on loopback for tests and trials."""

from ._server import Arrival, Sandbox

__all__ = ["Arrival", "Sandbox"]
