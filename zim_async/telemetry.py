"""Spans and metrics of calls for OpenTelemetry, by its conventions for RPC clients. Needs the extra ``otel``.

1. A call has one CLIENT span, with all its retries. It is current while the call lasts, so that HTTP spans of aiohttp's
   own instrumentation become its children.
2. Names and attributes are those of the semantic conventions 1.40 to 1.45, in which RPC became stable. What the
   conventions don't know is named ``zim_async.…``.
3. Neither spans nor metrics hold user IDs, the secret or a signature.

| metric | in Prometheus | is |
|---|---|---|
| `rpc.client.call.duration` | `rpc_client_call_duration_seconds` | time of a call, with its waits and retries |
| `zim_async.queue.duration` | `zim_async_queue_duration_seconds` | its time in the queue |
| `zim_async.attempts` | `zim_async_attempts_total` | requests sent, by return code |
| `zim_async.throttled` | `zim_async_throttled_total` | requests refused for their rate |
| `zim_async.calls.in_flight` | `zim_async_calls_in_flight` | calls that hold a permit |
| `zim_async.calls.waiting` | `zim_async_calls_waiting` | calls in the queue |
| `zim_async.permits` | `zim_async_permits` | calls that may be under way in any one second |

A program for Prometheus is among ``zim_async.recipes``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Token
from dataclasses import dataclass
from typing import Final, TypeAlias

from . import __version__
from .events import AttemptEnded, CallEnded, CallStarted, Event
from .limits import ActionLimiter, RateLimiter

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.context import Context
except ImportError:
    raise ImportError("zim_async.telemetry needs OpenTelemetry: pip install 'zim_async[otel]'") from None

__all__ = ["OpenTelemetryObserver"]

Attributes: TypeAlias = dict[str, str | int | float]

SYSTEM: Final = "rpc.system.name"
METHOD: Final = "rpc.method"
STATUS_CODE: Final = "rpc.response.status_code"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.40.0"
# Upper bounds in seconds. Those of a call are the convention's; in the queue of a clean-up it may wait for hours.
CALL_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
QUEUE_BOUNDS: Final = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)


@dataclass(slots=True)
class _Call:
    """A call under way: its span, what its measurements have in common, and what was current before it."""

    span: trace.Span
    attributes: Attributes
    token: Token[Context] | None = None


class OpenTelemetryObserver:
    """Make a span of each call, and measure calls, attempts and the queue. Give it to a client among ``observers``.

    Args:
        limiter: The client's limiter, for gauges of the calls in flight and waiting, and of the permits.
        tracer_provider: Default: the global one.
        meter_provider: Default: the global one.

    Example:
        limiter = RateLimiter()
        observer = OpenTelemetryObserver(limiter)
        async with ZimClient(app_id, server_secret, limiter=limiter, observers=[observer]) as zim:
            await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")
    """

    def __init__(
        self,
        limiter: RateLimiter | None = None,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer("zim_async", __version__, tracer_provider, SCHEMA_URL)
        meter = metrics.get_meter("zim_async", __version__, meter_provider, SCHEMA_URL)
        self._call_seconds = meter.create_histogram(
            "rpc.client.call.duration",
            unit="s",
            description="Time of a call, with its waits and retries.",
            explicit_bucket_boundaries_advisory=CALL_BOUNDS,
        )
        self._queue_seconds = meter.create_histogram(
            "zim_async.queue.duration",
            unit="s",
            description="Time of a call in the queue, all its turns together.",
            explicit_bucket_boundaries_advisory=QUEUE_BOUNDS,
        )
        self._attempts = meter.create_counter("zim_async.attempts", unit="{attempt}", description="Requests sent.")
        self._throttled = meter.create_counter(
            "zim_async.throttled", unit="{attempt}", description="Requests that the server refused for their rate."
        )
        self._key = context.create_key("zim_async.call")
        self._actions: set[str] = set()
        if limiter is not None:
            _create_gauges(meter, limiter, self._actions)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        self._actions.add(event.action)
        call = context.get_value(self._key)
        if isinstance(event, CallStarted):
            self._start(event)
        elif isinstance(event, AttemptEnded):
            self._note_attempt(event, call.span if isinstance(call, _Call) else trace.INVALID_SPAN)
        elif isinstance(event, CallEnded) and isinstance(call, _Call):
            self._end(event, call)

    def _start(self, event: CallStarted) -> None:
        attributes: Attributes = {
            SYSTEM: "zim",
            METHOD: event.action,
            SERVER_ADDRESS: event.host,
            SERVER_PORT: event.port,
        }
        span = self._tracer.start_span(
            event.action, kind=trace.SpanKind.CLIENT, attributes=attributes | {"zim_async.priority": event.priority}
        )
        call = _Call(span, attributes)
        call.token = context.attach(context.set_value(self._key, call, trace.set_span_in_context(span)))

    def _note_attempt(self, event: AttemptEnded, span: trace.Span) -> None:
        self._attempts.add(1, {SYSTEM: "zim", METHOD: event.action, **_outcome(event)})
        if event.throttled:
            self._throttled.add(1, {SYSTEM: "zim", METHOD: event.action})
        if event.request_id:
            span.set_attribute("zim_async.request_id", event.request_id)

    def _end(self, event: CallEnded, call: _Call) -> None:
        outcome = _outcome(event)
        call.span.set_attributes(
            outcome | {"zim_async.attempts": event.attempts, "zim_async.queue_seconds": event.queue_seconds}
        )
        if event.error is not None:
            call.span.set_status(trace.StatusCode.ERROR, event.error)
        # Recorded while the span is current, which makes it the example of its measurement.
        self._call_seconds.record(event.seconds, call.attributes | outcome)
        self._queue_seconds.record(event.queue_seconds, {SYSTEM: "zim", METHOD: event.action})
        call.span.end()
        if call.token is not None:
            context.detach(call.token)


def _outcome(event: AttemptEnded | CallEnded) -> Attributes:
    """Return the attributes that say how an attempt or a call ended."""
    attributes: Attributes = {}
    if event.code is not None:
        attributes[STATUS_CODE] = str(event.code)
    if event.error is not None:
        attributes[ERROR_TYPE] = event.error if event.code is None else str(event.code)
    return attributes


def _create_gauges(meter: metrics.Meter, limiter: RateLimiter, actions: set[str]) -> None:
    """Show the live state of a limiter, for each action that was called."""

    def observe(value: Callable[[ActionLimiter], float]) -> metrics.CallbackT:
        def callback(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            return [
                metrics.Observation(value(limiter.of(action)), {SYSTEM: "zim", METHOD: action})
                for action in sorted(actions)
            ]

        return callback

    for name, unit, description, value in _GAUGES:
        meter.create_observable_gauge(name, [observe(value)], unit=unit, description=description)


_GAUGES: Final[tuple[tuple[str, str, str, Callable[[ActionLimiter], float]], ...]] = (
    ("zim_async.calls.in_flight", "{call}", "Calls that hold a permit.", lambda limiter: limiter.in_flight),
    ("zim_async.calls.waiting", "{call}", "Calls in the queue.", lambda limiter: limiter.waiting),
    (
        "zim_async.permits",
        "{permit}",
        "Calls that may be under way in any one second.",
        lambda limiter: limiter.permits,
    ),
)
