from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import MakeClient
from tests.support.bulk_jobs import FAST
from zim_async import (
    ZimClient,
)
from zim_async.sandbox import Sandbox


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox(qps=None) as sandbox:
        yield sandbox


@pytest.fixture
def zim(make_client: MakeClient) -> ZimClient:
    return make_client(qps=FAST)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"
