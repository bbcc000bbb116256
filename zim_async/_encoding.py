"""The parameters of a request as bytes: a body in JSON, or the query of a GET."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote as percent_encode

from ._text import show_value
from .errors import InvalidArgumentError

MAX_REQUEST_BYTES: Final = 8 * 2**20
PUBLIC_PARAMETERS: Final = frozenset(
    {"Action", "AppId", "SignatureNonce", "Timestamp", "Signature", "SignatureVersion"}
)


def encode_body(values: Mapping[str, Any]) -> bytes:
    """Return a request body, JSON in UTF-8.

    Args:
        values: The request's parameters in the vendor's spelling.

    Raises:
        InvalidArgumentError: JSON can't say it, or it is longer than 8 MiB.
    """
    problem = None
    try:
        _check_keys(values)
        body = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:  # a lone surrogate is a ValueError
        problem = f"the body can't be written as JSON: {ascii(str(error))[1:-1]:.200}"
    else:
        if len(body) > MAX_REQUEST_BYTES:
            problem = f"the body has {len(body)} bytes; at most {MAX_REQUEST_BYTES} are sent"
    if problem:
        raise InvalidArgumentError(problem)
    return body


def encode_query(parameters: Mapping[str, Any]) -> str:
    """Return the parameters of a GET as a query string. A list becomes ``UserId[]=a&UserId[]=b``, percent-encoded.

    Args:
        parameters: The request's parameters in the vendor's spelling.

    Raises:
        InvalidArgumentError: A key isn't a str, is empty, or is one of the six that sign a request. Or a value is
            neither a str, an int, a finite float, nor a list of these.
    """
    pairs: list[str] = []
    for key, value in parameters.items():
        if not isinstance(key, str) or not key or key in PUBLIC_PARAMETERS:
            raise InvalidArgumentError(f"a parameter of a GET can't be called {show_value(key)}")
        if isinstance(value, list | tuple):
            name = _query_text(key, key.removesuffix("[]") + "[]")
            pairs += [f"{name}={_query_text(key, item)}" for item in value]
        else:
            pairs.append(f"{_query_text(key, key)}={_query_text(key, value)}")
    return "&".join(pairs)


def _query_text(key: str, value: object) -> str:
    try:
        if isinstance(value, str):
            return percent_encode(value, safe="")
        if isinstance(value, int) and not isinstance(value, bool):
            return str(int(value))
        if isinstance(value, float) and math.isfinite(value):
            return percent_encode(float.__repr__(value))
    except ValueError:  # a lone surrogate, or thousands of digits
        pass
    raise InvalidArgumentError(f"the parameter {show_value(key)} of a GET can't hold {show_value(value)}")


def _check_keys(value: object) -> None:
    """JSON turns other keys into text silently. A request should hold what its caller wrote."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key must be a str, not {show_value(key)}")
            _check_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_keys(inner)
