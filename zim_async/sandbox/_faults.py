"""Faults that a test asks for: what is to happen to the next requests."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from ..errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to happen to the next ``times`` requests that would otherwise be done.

    Attributes:
        times: The number of requests.
        code: The return code of the response.
        status: The HTTP status of the response.
        body: The body of the response, instead of the usual JSON.
        retry_after: The value of a Retry-After header.
        drop: Cut the connection instead of responding.
        acts: Do the action all the same.
        delay: Seconds before the response.
    """

    times: int
    code: int = 0
    status: int = 200
    body: bytes | None = None
    retry_after: str | None = None
    drop: bool = False
    acts: bool = False
    delay: float = 0.0

    def __post_init__(self) -> None:
        if self.times < 1:
            raise InvalidArgumentError(f"times must be at least 1, not {self.times!r}")


NO_FAULT = Fault(1, acts=True)


class Faults:
    """Faults in the order in which they were asked for."""

    def __init__(self) -> None:
        self._coming: deque[Fault] = deque()

    def add(self, fault: Fault) -> None:
        """Append a fault."""
        self._coming.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        self._coming.clear()

    def next(self) -> Fault:
        """Return the fault of a request, ``NO_FAULT`` for most, and count it."""
        if not self._coming:
            return NO_FAULT
        fault = self._coming.popleft()
        if fault.times > 1:
            self._coming.appendleft(replace(fault, times=fault.times - 1))
        return fault
