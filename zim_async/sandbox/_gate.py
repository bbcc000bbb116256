"""The six public parameters of a request, checked as the vendor's gateway does."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Final, NamedTuple

from multidict import MultiMapping

MAX_CLOCK_DIFFERENCE: Final = 600
PUBLIC_PARAMETERS: Final = ("Action", "AppId", "SignatureNonce", "Timestamp", "SignatureVersion", "Signature")


class _Check(NamedTuple):
    """The form of a public parameter, and the codes for one that is missing or has another form."""

    name: str
    form: str
    missing: int
    malformed: int


_CHECKS: Final = (
    _Check("AppId", r"[1-9][0-9]{0,9}", missing=100000001, malformed=100000001),
    _Check("Timestamp", r"[0-9]{1,12}", missing=100000002, malformed=100000003),
    _Check("SignatureNonce", r"[0-9a-fA-F]{16}", missing=100000008, malformed=100000008),
    _Check("SignatureVersion", r"2\.0", missing=100000013, malformed=100000014),
    _Check("Signature", r"[0-9a-f]{32}", missing=100000009, malformed=100000005),
)


class Gate:
    """Lets requests of an application pass, each nonce once."""

    def __init__(self) -> None:
        self._nonces: dict[str, float] = {}

    def check(self, query: MultiMapping[str], app_id: int, server_secret: str, now: float) -> int:
        """Return the code that a request is refused with, or 0.

        Args:
            query: The request's.
            app_id: The application's ID.
            server_secret: Its secret.
            now: The server's clock, in Unix seconds.
        """
        for name, form, missing, malformed in _CHECKS:
            values = query.getall(name, [])
            if not any(values):
                return missing
            if len(values) > 1 or not re.fullmatch(form, values[0]):
                return malformed
        if query["AppId"] != str(app_id):
            return 100000011
        if abs(int(query["Timestamp"]) - now) > MAX_CLOCK_DIFFERENCE:
            return 100000004
        nonce = query["SignatureNonce"]
        text = f"{app_id}{nonce}{server_secret}{query['Timestamp']}"
        signature = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        if query["Signature"] != signature or nonce in self._nonces:
            return 100000005
        self._remember(nonce)
        return 0

    def _remember(self, nonce: str) -> None:
        now = time.monotonic()
        self._nonces[nonce] = now
        oldest = next(iter(self._nonces))
        if now - self._nonces[oldest] > 2 * MAX_CLOCK_DIFFERENCE:  # its timestamp is too old by now
            del self._nonces[oldest]
