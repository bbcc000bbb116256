import copy
import pickle

import pytest

import zim_async
from zim_async import ClockSkewError, TransportError, ZimError

CLASSES = [getattr(zim_async, name) for name in zim_async.__all__ if name.endswith("Error")]


@pytest.mark.parametrize(
    ("idempotent", "advice"), [(True, "repeating is safe"), (False, "before you repeat"), (None, "")]
)
def test_what_may_have_been_done_says_whether_to_repeat(idempotent: bool | None, advice: str) -> None:
    error = TransportError("reset")
    error.idempotent = idempotent
    assert advice in str(error)
    assert "may have acted" in str(error)
    assert "safe" not in str(error) or idempotent


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_pickles_and_copies(kind: type[ZimError]) -> None:
    error = kind("what failed", action="DeleteConv")
    error.code, error.message, error.request_id, error.attempts = 7, "slow", "r1", 3
    error.add_note("seen")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert str(twin).startswith("DeleteConv failed after 3 attempts: what failed")
        assert vars(twin) == vars(error)


def test_own_attributes_survive_pickling() -> None:
    skew = pickle.loads(pickle.dumps(ClockSkewError("late", difference=900.0)))
    assert skew.difference == 900.0
    reset = pickle.loads(pickle.dumps(TransportError("reset", maybe_applied=False, retry_after=2.0)))
    assert (reset.maybe_applied, reset.retry_after) == (False, 2.0)


def test_there_is_one_root() -> None:
    assert all(issubclass(kind, ZimError) for kind in CLASSES)
    assert len(CLASSES) == 17
