import copy
import pickle

import pytest

import zim_async
from zim_async import ClockSkewError, TransportError, ZimError

CLASSES = [getattr(zim_async, name) for name in zim_async.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_pickles_and_copies(kind: type[ZimError]) -> None:
    error = kind("what failed", action="DeleteConv")
    error.code, error.message, error.request_id, error.attempts = 7, "slow", "r1", 3
    error.add_note("seen")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == str(error) == "DeleteConv failed after 3 attempts: what failed"
        assert vars(twin) == vars(error)


def test_own_attributes_survive_pickling() -> None:
    skew = pickle.loads(pickle.dumps(ClockSkewError("late", difference=900.0)))
    assert skew.difference == 900.0
    reset = pickle.loads(pickle.dumps(TransportError("reset", maybe_applied=False, retry_after=2.0)))
    assert (reset.maybe_applied, reset.retry_after) == (False, 2.0)


def test_there_is_one_root() -> None:
    assert all(issubclass(kind, ZimError) for kind in CLASSES)
    assert len(CLASSES) == 16
