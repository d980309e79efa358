import pytest

from ptefoundry.base.sources.retry import TransientError, with_retries
from ptefoundry.errors import SourceError
from ptefoundry.retry import RETRY_DELAYS_S


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def failing(*errors: SourceError) -> "Failing":
    return Failing(list(errors))


class Failing:
    """Raises each error once, then succeeds; every try receives `progress` bytes."""

    def __init__(self, errors: list[SourceError]) -> None:
        self.errors = errors
        self.tries = 0
        self.position = 0
        self.progress = 0

    def __call__(self) -> None:
        self.tries += 1
        self.position += self.progress
        if self.errors:
            raise self.errors.pop(0)


def test_passing_failures_are_waited_out_longer_each_time(slept: list[float]) -> None:
    attempt = failing(*[TransientError("busy")] * 4)

    with_retries(attempt, position=lambda: 0)

    assert attempt.tries == 5
    assert slept == list(RETRY_DELAYS_S)


def test_lasting_failure_is_final(slept: list[float]) -> None:
    attempt = failing(SourceError("no such file"))

    with pytest.raises(SourceError, match="no such file"):
        with_retries(attempt, position=lambda: 0)

    assert attempt.tries == 1


def test_tries_end(slept: list[float]) -> None:
    attempt = failing(*[TransientError("busy")] * 50)

    with pytest.raises(TransientError):
        with_retries(attempt, position=lambda: 0)

    assert attempt.tries == 1 + len(RETRY_DELAYS_S)


def test_progress_renews_the_tries(slept: list[float]) -> None:
    attempt = failing(*[TransientError("cut")] * 50)
    attempt.progress = 10

    with_retries(attempt, position=lambda: attempt.position)

    assert attempt.tries == 51


def test_server_may_ask_for_a_longer_wait_within_limits(slept: list[float]) -> None:
    attempt = failing(TransientError("busy", wait_s=7), TransientError("busy", wait_s=7000))

    with_retries(attempt, position=lambda: 0)

    assert slept == [7.0, 30.0]
