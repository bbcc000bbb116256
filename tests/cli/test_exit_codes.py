import pytest

from zim_async import (
    AuthenticationError,
    ConfigError,
    InvalidArgumentError,
    JournalError,
    NotFoundError,
    ProtocolError,
    TransportError,
)
from zim_async.cli._exit_codes import CALL_CODES, JOB_CODES, Codes, exits_by


@pytest.mark.parametrize(
    ("codes", "error", "code"),
    [
        (CALL_CODES, ConfigError("no"), 2),
        (CALL_CODES, InvalidArgumentError("no"), 2),
        (CALL_CODES, OSError("no"), 2),
        (CALL_CODES, NotFoundError("no"), 1),
        (CALL_CODES, AuthenticationError("no"), 1),
        (CALL_CODES, TransportError("no"), 3),
        (CALL_CODES, ProtocolError("no"), 3),
        (JOB_CODES, InvalidArgumentError("no"), 2),
        (JOB_CODES, ConfigError("no"), 5),
        (JOB_CODES, AuthenticationError("no"), 5),
        (JOB_CODES, JournalError("no"), 5),
        (JOB_CODES, OSError("no"), 5),
    ],
)
def test_an_error_is_one_line_and_a_code(
    codes: Codes, error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @exits_by(codes)
    def command() -> int:
        raise error

    assert command() == code
    assert capsys.readouterr().err == f"zim-async: {error}\n"


def test_other_errors_are_bugs() -> None:
    @exits_by(CALL_CODES)
    def command() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command()
