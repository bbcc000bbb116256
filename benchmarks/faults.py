"""What may go wrong with a call, at random."""

import random
from collections.abc import Callable, Iterable

from zim_async.sandbox import Sandbox

PASSING = (1, 660600015)  # codes of what may be repeated


def inject_faults(box: Sandbox, generator: random.Random, codes: Iterable[int] = PASSING) -> int:
    """Have up to four of the next calls fail, by these codes or without one, and return how many."""
    faults: list[Callable[[], None]] = [
        *(lambda code=code: box.fail_next(code=code) for code in codes),
        lambda: box.answer_next(status=503),
        lambda: box.answer_next(body=b"<html>"),
        lambda: box.drop_next(),
        lambda: box.drop_next(after_acting=True),
    ]
    chosen = generator.choices(faults, k=generator.randrange(5))
    for fault in chosen:
        fault()
    return len(chosen)
