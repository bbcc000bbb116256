import logging
import math

from zim_async import errors


def http_answer(error: errors.ZimError) -> tuple[int, str, dict[str, str]]:
    """Return status, text and headers. What only the operator can mend is logged as an error, for an alert."""
    match error:
        case errors.InvalidArgumentError() | errors.InvalidParameterError():
            return 422, str(error), {}
        case errors.NotFoundError():
            return 404, "no such user, group or conversation", {}
        case errors.QueueTimeoutError(estimated_wait=seconds):
            return 503, "busy", {"Retry-After": str(max(1, math.ceil(seconds)))}
        case (
            errors.RateLimitedError() | errors.ServerBusyError() | errors.QuotaUnavailableError() | errors.ClosedError()
        ):
            return 503, "busy", {"Retry-After": "5"}
        case errors.TransportError(untrusted=False) | errors.ProtocolError():
            return 502, "the chat server gave no usable response", {}
    logging.getLogger(__name__).error("the chat client needs its operator: %s", error)
    return 403 if isinstance(error, errors.NotPermittedError) else 500, "not possible at the moment", {}
