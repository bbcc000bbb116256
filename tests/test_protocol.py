import copy
import json
import pickle
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zim_async import (
    ApiError,
    ConfigError,
    ConvType,
    DeleteConv,
    ProtocolError,
    Response,
    TransportError,
    ZimError,
)
from zim_async._protocol import (
    Credentials,
    RawResponse,
    decode,
    parse_date,
    parse_retry_after,
    sign,
    signed_query,
)

# The vendor's own example.
DELETE = DeleteConv("a", "b", ConvType.PEER)
VECTOR = Credentials(12345, "9193cc662a4c0ec135ec71fb57194b38")
NONCE, TIMESTAMP, SIGNATURE = "4fd24687296dd9f3", 1615186943, "43e5cfcca828314675f91b001390566a"


def test_signature_is_the_vendors_example() -> None:
    assert sign(VECTOR, NONCE, TIMESTAMP) == SIGNATURE


def test_credentials_never_leave_the_process() -> None:
    for leak in pickle.dumps, copy.copy, copy.deepcopy:
        with pytest.raises(TypeError, match="secret"):
            leak(VECTOR)


def test_query_holds_the_six_public_parameters() -> None:
    query = signed_query(VECTOR, "DeleteConv", NONCE, TIMESTAMP)
    assert parse_qs(query, strict_parsing=True) == {
        "Action": ["DeleteConv"],
        "AppId": ["12345"],
        "SignatureNonce": [NONCE],
        "Timestamp": [str(TIMESTAMP)],
        "Signature": [SIGNATURE],
        "SignatureVersion": ["2.0"],
    }


def test_parameters_of_a_get_follow_those_that_sign_it() -> None:
    signed = signed_query(VECTOR, "DeleteConv", NONCE, TIMESTAMP)
    assert signed_query(VECTOR, "DeleteConv", NONCE, TIMESTAMP, "UserId%5B%5D=a") == f"{signed}&UserId%5B%5D=a"


@pytest.mark.parametrize("app_id", [0, -1, 2**32, True, "12345", 1.0, None])
def test_bad_app_ids_are_refused_without_showing_the_secret(app_id: object) -> None:
    with pytest.raises(ConfigError, match="app_id") as caught:
        Credentials(app_id, "hush-hush")  # type: ignore[arg-type]
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("secret", ["", None, 5, b"hush-hush", "hush\ud800"])
def test_bad_secrets_are_refused_unshown(secret: object) -> None:
    with pytest.raises(ConfigError, match="server_secret") as caught:
        Credentials(1, secret)  # type: ignore[arg-type]
    assert "hush" not in str(caught.value)


def test_credentials_never_show_the_secret() -> None:
    assert "9193" not in repr(VECTOR)


def test_success_is_a_response() -> None:
    response = decode(DELETE, RawResponse(200, b'{"Code":0,"Message":"success","RequestId":"r1"}'), 3)
    assert response == Response(0, "success", "r1", "DeleteConv", 3, {})
    assert pickle.loads(pickle.dumps(response)) == response


def test_what_else_a_response_holds_is_its_data() -> None:
    body = b'{"Code":0,"MsgId":9007199254740993,"Huge":%d,"ErrorList":[{"UserId":"eve"}],"RequestId":"r1"}' % 10**40
    response = decode(DELETE, RawResponse(200, body))
    assert isinstance(response, Response)
    assert response.data == {"MsgId": 2**53 + 1, "Huge": 10**40, "ErrorList": [{"UserId": "eve"}]}
    assert json.loads(json.dumps(response.data)) == response.data
    assert pickle.loads(pickle.dumps(response)) == response


def test_a_response_is_made_in_one_line_for_mocks() -> None:
    assert Response(action="DeleteConv") == Response(0, "success", "", "DeleteConv", 1, {})
    assert Response(data={"TotalCount": 0}).data["TotalCount"] == 0


@pytest.mark.parametrize(
    ("body", "message", "request_id"),
    [
        (b'{"Code":0}', "", ""),
        (b'{"Code":0,"Message":null,"RequestId":17}', "", "17"),
        (b'\xef\xbb\xbf{"Code":0}', "", ""),
    ],
)
def test_missing_texts_are_tolerated(body: bytes, message: str, request_id: str) -> None:
    assert decode(DELETE, RawResponse(200, body)) == Response(0, message, request_id, "DeleteConv", 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"0",
        b"[]",
        b"{}",
        b'{"code":0}',
        b'{"Code":false}',
        b'{"Code":0.0}',
        b'{"Code":"0"}',
        b'{"Code":null}',
        b'{"Code":[0]}',
        b'{"Code":NaN}',
        b'{"Code":0',
        b"<html>",
        b"\xff\xfe\xfa",
        b"[" * 60_000,
        b'{"Code":' + b"9" * 5_000 + b"}",
        b'{"Code":' + b"9" * 4_000 + b"}",
        b'{"Code":0,"Message":"' + b"x" * DELETE.max_response_bytes + b'"}',
    ],
)
def test_anything_but_the_documented_json_is_no_success(body: bytes) -> None:
    outcome = decode(DELETE, RawResponse(200, body))
    assert type(outcome) is ProtocolError
    assert len(str(outcome)) < 600


@pytest.mark.parametrize("status", [201, 204, 307, 400, 404])
def test_success_counts_only_with_http_200(status: int) -> None:
    assert type(decode(DELETE, RawResponse(status, b'{"Code":0}'))) is ProtocolError
    refusal = decode(DELETE, RawResponse(status, b'{"Code":2}'))
    assert isinstance(refusal, ApiError)
    assert refusal.code == 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
def test_http_failures_say_nothing_about_the_outcome(status: int) -> None:
    outcome = decode(DELETE, RawResponse(status, b'{"Code":0}', {"Retry-After": "7"}))
    assert isinstance(outcome, TransportError)
    assert outcome.maybe_applied is (status != 429)
    assert outcome.retry_after == 7.0
    assert str(status) in str(outcome)


@given(st.binary(max_size=200) | st.text(max_size=50).map(lambda t: b'{"Code":' + t.encode("utf-8", "ignore") + b"}"))
def test_decode_never_raises(body: bytes) -> None:
    assert isinstance(decode(DELETE, RawResponse(200, body)), Response | ZimError)


def test_server_text_is_escaped_bounded_and_rid_of_signatures() -> None:
    text = f"\\u001b[31m\\nforged line {SIGNATURE} " + "x" * 1_000
    body = f'{{"Code":2,"Message":"{text}","RequestId":"\\n{"9" * 1_000}"}}'.encode()
    error = decode(DELETE, RawResponse(200, body))
    assert isinstance(error, ApiError)
    shown = f"{error} {error.message} {error.request_id}"
    assert shown.isprintable()
    assert SIGNATURE not in shown
    assert "[signature]" in shown
    assert len(str(error)) < 700
    echo = decode(DELETE, RawResponse(200, f'{{"Code":2,"RequestId":"/?Signature={SIGNATURE}"}}'.encode()))
    assert SIGNATURE not in str(echo)
    garbage = decode(DELETE, RawResponse(200, f"<a href='?Signature={SIGNATURE}'>".encode()))
    assert SIGNATURE not in str(garbage)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("2", 2.0), ("1.5", 1.5), (None, None), ("", None), ("-1", None), ("nan", None), ("soon", None)],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value) == seconds


def test_retry_after_by_date_is_counted_by_the_servers_clock() -> None:
    at, now = "Mon, 08 Mar 2021 07:02:23 GMT", "Mon, 08 Mar 2021 07:02:13 GMT"
    assert parse_retry_after(at, now) == 10.0
    assert parse_retry_after(now, at) is None
    assert parse_retry_after(at) is None


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("Mon, 08 Mar 2021 07:02:23 GMT", 1615186943.0),
        ("Mon, 08 Mar 2021 07:02:23 -0000", 1615186943.0),
        (None, None),
        ("", None),
        ("yesterday", None),
        ("Mon, 08 Mar 99999 07:02:23 GMT", None),
    ],
)
def test_dates(value: str | None, moment: float | None) -> None:
    assert parse_date(value) == moment
