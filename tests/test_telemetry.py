"""Spans and metrics, read back with the SDK's in-memory exporters."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.conftest import MakeClient
from zim_async import ClearPeerMessage, NotFoundError, QueueTimeoutError, RateLimiter, TransportError
from zim_async.events import AttemptEnded, Event
from zim_async.sandbox import Sandbox
from zim_async.telemetry import OpenTelemetryObserver

ACTION = ClearPeerMessage("alice", "bob")


class Exported:
    """An observer, and what it exports."""

    def __init__(self, limiter: RateLimiter | None = None) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        meters = MeterProvider([self._metrics], shutdown_on_exit=False)
        self.observer = OpenTelemetryObserver(limiter, tracer_provider=self.tracers, meter_provider=meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def points(self, name: str) -> list[Any]:
        """The data points of a metric."""
        data = self._metrics.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def values(self, name: str, attribute: str) -> Mapping[Any, float]:
        """The values of a metric by one of its attributes."""
        return {point.attributes.get(attribute): point.value for point in self.points(name)}

    def text(self) -> str:
        """Everything that was exported, as text."""
        data = self._metrics.get_metrics_data()
        return "".join(span.to_json() for span in self.spans) + (data.to_json() if data else "")


@pytest.fixture
def exported() -> Exported:
    return Exported()


async def test_a_call_is_one_client_span(box: Sandbox, make_client: MakeClient, exported: Exported) -> None:
    await make_client(observers=[exported.observer]).send(ACTION, priority="bulk")
    (span,) = exported.spans
    port = int(box.base_url.rsplit(":", 1)[1].strip("/"))
    assert (span.name, span.kind) == ("ClearPeerMessage", trace.SpanKind.CLIENT)
    assert span.status.is_unset
    attributes = dict(span.attributes or {})
    assert attributes.pop("zim_async.request_id")
    assert attributes.pop("zim_async.queue_seconds") == pytest.approx(0.0, abs=0.5)
    assert attributes == {
        "rpc.system.name": "zim",
        "rpc.method": "ClearPeerMessage",
        "rpc.response.status_code": "0",
        "server.address": "127.0.0.1",
        "server.port": port,
        "zim_async.attempts": 1,
        "zim_async.priority": "bulk",
    }


async def test_the_duration_of_a_call_is_that_of_its_span(make_client: MakeClient, exported: Exported) -> None:
    await make_client(observers=[exported.observer]).send(ACTION)
    (span,) = exported.spans
    (point,) = exported.points("rpc.client.call.duration")
    assert span.start_time is not None
    assert span.end_time is not None
    assert (point.count, point.sum) == (1, pytest.approx((span.end_time - span.start_time) / 1e9, abs=0.05))
    assert point.explicit_bounds[0] == 0.005
    assert set(point.attributes) == {
        "rpc.system.name",
        "rpc.method",
        "rpc.response.status_code",
        "server.address",
        "server.port",
    }
    (queued,) = exported.points("zim_async.queue.duration")
    assert queued.count == 1


async def test_retries_belong_to_the_span_of_their_call(
    box: Sandbox, make_client: MakeClient, exported: Exported
) -> None:
    box.fail_next(code=1)
    box.fail_next(code=7)
    await make_client(observers=[exported.observer]).send(ACTION)
    (span,) = exported.spans
    assert (span.attributes or {})["zim_async.attempts"] == 3
    assert "error.type" not in (span.attributes or {})
    assert exported.values("zim_async.attempts", "rpc.response.status_code") == {"1": 1, "7": 1, "0": 1}
    assert exported.values("zim_async.attempts", "error.type") == {"1": 1, "7": 1, None: 1}
    assert exported.values("zim_async.throttled", "rpc.method") == {"ClearPeerMessage": 1}


async def test_a_return_code_is_the_type_of_its_error(
    box: Sandbox, make_client: MakeClient, exported: Exported
) -> None:
    box.fail_next(NotFoundError)
    with pytest.raises(NotFoundError):
        await make_client(observers=[exported.observer]).send(ACTION)
    (span,) = exported.spans
    attributes = span.attributes or {}
    assert (attributes["error.type"], attributes["rpc.response.status_code"]) == ("51102", "51102")
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "NotFoundError")
    (point,) = exported.points("rpc.client.call.duration")
    assert point.attributes["error.type"] == "51102"


async def test_without_a_code_the_class_is_the_type_of_an_error(
    box: Sandbox, make_client: MakeClient, exported: Exported
) -> None:
    box.drop_next(times=5)
    zim = make_client(observers=[exported.observer])
    with pytest.raises(TransportError):
        await zim.send(ACTION)
    box.delay = 5
    waiting = asyncio.create_task(zim.send(ACTION))
    while not box.arrivals or box.arrivals[-1].code:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    types = [(span.attributes or {})["error.type"] for span in exported.spans]
    assert types == ["TransportError", "CancelledError"]
    assert all("rpc.response.status_code" not in (span.attributes or {}) for span in exported.spans)


async def test_a_call_that_never_left_the_queue_has_a_span_too(make_client: MakeClient, exported: Exported) -> None:
    zim = make_client(observers=[exported.observer], limiter=RateLimiter(1))
    await zim.send(ACTION)
    with pytest.raises(QueueTimeoutError):
        await zim.send(ACTION, max_wait=0.01)
    assert [(span.attributes or {}).get("error.type") for span in exported.spans] == [None, "QueueTimeoutError"]
    assert (exported.spans[1].attributes or {})["zim_async.attempts"] == 0


async def test_the_span_is_current_while_the_call_lasts(make_client: MakeClient, exported: Exported) -> None:
    seen: list[trace.Span] = []

    def look(event: Event) -> None:
        if isinstance(event, AttemptEnded):
            seen.append(trace.get_current_span())

    zim = make_client(observers=[exported.observer, look])
    with exported.tracers.get_tracer("test").start_as_current_span("request") as outer:
        await asyncio.gather(*(zim.send(ACTION) for _ in range(3)))
        assert trace.get_current_span() is outer
        await zim.send(ACTION)
        assert trace.get_current_span() is outer
    *calls, last = exported.spans
    assert last.name == "request"
    assert {span.get_span_context().span_id for span in seen} == {
        call.context.span_id for call in calls if call.context
    }
    assert len({span.get_span_context().span_id for span in seen}) == 4
    assert {call.parent.span_id for call in calls if call.parent} == {outer.get_span_context().span_id}


async def test_a_limiters_live_state_is_shown_in_gauges(box: Sandbox, make_client: MakeClient) -> None:
    limiter = RateLimiter(2)
    exported = Exported(limiter)
    zim = make_client(observers=[exported.observer], limiter=limiter)
    box.delay = 0.3
    calls = [asyncio.create_task(zim.send(ACTION)) for _ in range(5)]
    while len(box.arrivals) < 2:
        await asyncio.sleep(0.01)
    assert exported.values("zim_async.calls.in_flight", "rpc.method") == {"ClearPeerMessage": 2}
    assert exported.values("zim_async.calls.waiting", "rpc.method") == {"ClearPeerMessage": 3}
    assert exported.values("zim_async.permits", "rpc.method") == {"ClearPeerMessage": 2.0}
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_neither_user_ids_nor_secrets_are_exported(
    box: Sandbox, make_client: MakeClient, exported: Exported
) -> None:
    zim = make_client(observers=[exported.observer])
    box.fail_next(code=1)
    box.drop_next()
    await zim.send(ACTION)
    box.fail_next(NotFoundError)
    with pytest.raises(NotFoundError):
        await zim.send(ACTION)
    text = exported.text()
    assert "ClearPeerMessage" in text
    for hidden in ("alice", "bob", box.server_secret, "Signature", str(box.app_id)):
        assert hidden not in text


async def test_without_an_sdk_calls_go_on_unobserved(make_client: MakeClient) -> None:
    assert (await make_client(observers=[OpenTelemetryObserver()]).send(ACTION)).code == 0


def test_without_open_telemetry_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import zim_async.telemetry"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'zim_async[otel]'" in run.stderr
    code = "import sys, zim_async; print('opentelemetry' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "False"
