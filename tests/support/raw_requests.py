"""Requests to a sandbox without the client: signed once more by hand, so that each part can be changed."""

import hashlib
import io
import itertools
import json
import time
from typing import Any

import aiohttp

from zim_async.sandbox import Sandbox

PEER_BODY = {"FromUserId": "alice", "ToUserId": "bob"}
CONV_BODY = {"FromUserId": "alice", "ConvId": "bob", "ConvType": 0}
_nonces = itertools.count()


def public_parameters(box: Sandbox, **changes: Any) -> dict[str, str]:
    """The six parameters with a fresh nonce; a change of None leaves one out, ``secret`` signs with another."""
    nonce = changes.get("SignatureNonce") or f"{next(_nonces):016x}"
    timestamp = changes.get("Timestamp") or str(int(time.time()))
    secret = changes.pop("secret", box.server_secret)
    text = f"{box.app_id}{nonce}{secret}{timestamp}"
    parameters = {
        "Action": "ClearPeerMessage",
        "AppId": str(box.app_id),
        "SignatureNonce": nonce,
        "Timestamp": timestamp,
        "SignatureVersion": "2.0",
        "Signature": hashlib.md5(text.encode()).hexdigest(),
    }
    return {name: value for name, value in (parameters | changes).items() if value is not None}


async def post(box: Sandbox, body: Any = PEER_BODY, **changes: Any) -> dict[str, Any]:
    """Post a body, JSON or bytes, and return the content of the response."""
    data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
    async with (
        aiohttp.ClientSession() as session,
        session.post(box.base_url, params=public_parameters(box, **changes), data=data) as response,
    ):
        assert response.status == 200
        content: dict[str, Any] = await response.json()
        return content


async def post_for_code(box: Sandbox, body: Any = PEER_BODY, **changes: Any) -> int:
    """Post a body and return the code of the response."""
    return int((await post(box, body, **changes))["Code"])
