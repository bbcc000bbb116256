import asyncio

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server

from zim_async import RateLimiter, ZimClient
from zim_async.telemetry import OpenTelemetryObserver


async def main(port: int = 9464) -> None:
    start_http_server(port)  # for Prometheus to scrape
    limiter = RateLimiter()  # given to both, for the gauges
    observer = OpenTelemetryObserver(limiter, meter_provider=MeterProvider([PrometheusMetricReader()]))
    async with ZimClient.from_env(limiter=limiter, observers=[observer]) as zim:
        await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")


if __name__ == "__main__":
    asyncio.run(main())
