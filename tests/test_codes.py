import pytest

from zim_async import (
    ApiError,
    AuthenticationError,
    ClockSkewError,
    ConfigError,
    ConvType,
    DeleteConv,
    InvalidParameterError,
    NotFoundError,
    NotPermittedError,
    ProtocolError,
    RateLimitedError,
    ServerBusyError,
    TransportError,
    ZimError,
)
from zim_async._codes import FAIL, FIX_CLOCK, RETRY, RULES, SLOW_DOWN, STOP, Verdict, verdict_of
from zim_async._protocol import RawResponse, decode

# The vendor's page once more, by class, so that a slip in the table shows.
DOCUMENTED: dict[tuple[type[ApiError], Verdict], list[int]] = {
    (ServerBusyError, RETRY): [1, 105001, 660600015, 660000001, 660000003, 100000012, 100000015, 660800053],
    (RateLimitedError, SLOW_DOWN): [
        7,
        660300005,
        660300006,
        660500003,
        660600004,
        660600005,
        660600007,
        660600010,
        660700001,
    ],
    (ClockSkewError, FIX_CLOCK): [100000004],
    (AuthenticationError, FIX_CLOCK): [100000005],
    (AuthenticationError, STOP): [3, 100000001, 100000010, 100000011],
    (ApiError, STOP): [
        100000002,
        100000003,
        100000008,
        100000009,
        100000013,
        100000014,
        100000000,
        100000006,
        100000007,
    ],
    (NotPermittedError, STOP): [100000016, 100000017, 660000028],
    (NotPermittedError, FAIL): [660600032],
    (InvalidParameterError, FAIL): [2, 660000002, 660000011, 660000012],
    (NotFoundError, FAIL): [
        51102,
        660200001,
        660500002,
        660700012,
        660700015,
        660800001,
        660600001,
        660600009,
        660600024,
        660800002,
    ],
}
DELETE = DeleteConv("a", "b", ConvType.PEER)
ROWS = [(code, error, verdict) for (error, verdict), codes in DOCUMENTED.items() for code in codes]


@pytest.mark.parametrize(("code", "error", "verdict"), ROWS)
def test_each_code_has_its_class_and_verdict(code: int, error: type[ApiError], verdict: Verdict) -> None:
    answer = RawResponse(200, b'{"Code": %d, "Message": "no", "RequestId": "r1"}' % code)
    outcome = decode(DELETE, answer)
    assert type(outcome) is error
    assert verdict_of(outcome) is verdict
    assert (outcome.code, outcome.message, outcome.request_id) == (code, "no", "r1")
    for part in (str(code), '"no"', "r1", RULES[code].what_to_do):
        assert part in str(outcome)


def test_the_table_holds_nothing_else() -> None:
    assert sorted(RULES) == sorted(code for code, _, _ in ROWS)


@pytest.mark.parametrize("code", [-1, 8, 42, 660000000, 10**18])
def test_undocumented_codes_are_surfaced_whole_and_not_repeated(code: int) -> None:
    outcome = decode(DELETE, RawResponse(200, b'{"Code": %d, "Message": "odd", "RequestId": "r1"}' % code))
    assert type(outcome) is ApiError
    assert verdict_of(outcome) is FAIL
    assert (outcome.code, outcome.message, outcome.request_id) == (code, "odd", "r1")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (100000002, "Timestamp missing"),
        (100000003, "Timestamp malformed"),
        (100000008, "SignatureNonce missing"),
        (100000009, "Signature missing"),
        (100000013, "SignatureVersion missing"),
        (100000014, "SignatureVersion not supported"),
    ],
)
def test_each_flaw_of_a_public_parameter_has_its_meaning(code: int, says: str) -> None:
    assert RULES[code].meaning == says


@pytest.mark.parametrize("code", [51102, 660200001, 660500002])
def test_a_user_not_found_may_be_logged_out(code: int) -> None:
    assert "logged out" in RULES[code].what_to_do
    assert "before you count the call as done" in RULES[code].what_to_do


def outcome_of(code: int) -> ZimError:
    outcome = decode(DELETE, RawResponse(200, b'{"Code": %d}' % code))
    assert isinstance(outcome, ZimError)
    return outcome


@pytest.mark.parametrize("code", [1, 7, 660300005, 660300006, 660600004, 660700001, 100000004, 100000012, 100000015])
def test_what_was_turned_away_surely_wasnt_done(code: int) -> None:
    assert not outcome_of(code).maybe_applied


@pytest.mark.parametrize("code", [105001, 660600015, 660000001, 660000003, 660800053])
def test_a_fault_within_the_server_leaves_open_whether_it_acted(code: int) -> None:
    assert outcome_of(code).maybe_applied
    assert "The server may have acted" in str(outcome_of(code))


def test_no_answer_may_be_repeated_and_bad_input_may_not() -> None:
    assert verdict_of(TransportError("reset")) is RETRY
    assert verdict_of(ProtocolError("garbage")) is RETRY
    assert verdict_of(TransportError("HTTP 429", status=429)) is SLOW_DOWN
    assert verdict_of(ConfigError("bad")) is FAIL
    assert verdict_of(ZimError("closed")) is FAIL
