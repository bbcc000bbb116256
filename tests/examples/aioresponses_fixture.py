import inspect
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses, core


class MockedResponse(aiohttp.ClientResponse):
    # Version 0.7.9 doesn't give aiohttp 3.14 the writer that it asks for. Remove this when it does.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:
            kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    monkeypatch.setattr(core, "ClientResponse", MockedResponse)
    with aioresponses() as mock:  # mock.post(re.compile("^https://zim-api.zego.im/"), payload={"Code": 0, ...})
        yield mock
