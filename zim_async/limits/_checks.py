"""What a limiter takes: rates, and names of actions that aren't slips in the name of a known one."""

from __future__ import annotations

from typing import Final

from .._text import show_value
from ..actions import PACKAGE_ACTIONS, Action, find_action_class, is_action_name
from ..errors import ConfigError

PACKAGE_NAMES: Final = tuple(kind.name for kind in PACKAGE_ACTIONS)
# How alike a slip is, as difflib has it: "DeletConv" .95, "CleerPeerMessage" .94. Other actions of the vendor
# stay well below: "QueryPeerMessage" is like "ClearPeerMessage" by .75.
SLIP: Final = 0.88
SLOWEST: Final = 1e-9  # calls a second: one in thirty years
FASTEST: Final = 1e9


def action_name(action: object) -> str:
    """Return the name of an action, given as a name or a class.

    Raises:
        ConfigError: It isn't well-formed, or looks like a slip in the name of one of the package's actions.
    """
    if isinstance(action, type) and issubclass(action, Action):
        action = getattr(action, "name", None)
    if not isinstance(action, str) or not is_action_name(action):
        raise ConfigError(f"qps and limiters go by the names of actions; {show_value(action)} isn't one. {_known()}")
    if find_action_class(action) is None and (meant := _name_meant_by(action)) is not None:
        raise ConfigError(f"there is no action {action!r}; is {meant!r} meant? {_known()}")
    return action


def check_rate(rate: object) -> float:
    """Return a rate in calls a second.

    Raises:
        ConfigError: It isn't a finite number above 0, or too small or large to reckon with.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not SLOWEST <= rate <= FASTEST:
        raise ConfigError(
            f"qps must be a number of calls a second above 0, from {SLOWEST:g} to {FASTEST:g}, not {show_value(rate)}"
        )
    return float(rate)


def _name_meant_by(name: str) -> str | None:
    import difflib  # for slips alone: importing this library would take a tenth longer

    lower = name.lower()
    for known in PACKAGE_NAMES:
        if known.lower().startswith(lower) or lower.startswith(known.lower()):
            return known
    alike = difflib.get_close_matches(lower, [known.lower() for known in PACKAGE_NAMES], n=1, cutoff=SLIP)
    return next((known for known in PACKAGE_NAMES if known.lower() in alike), None)


def _known() -> str:
    return f"This package knows {', '.join(PACKAGE_NAMES)}; any other name goes in the vendor's spelling"
