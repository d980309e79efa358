import os
import threading
from pathlib import Path

import pytest

from ptefoundry.registry.disk import is_locked, lock_file


def lock(path: Path, flags: int = os.O_RDWR, *, wait: bool = False) -> int:
    found = lock_file(path, flags, wait=wait)
    assert found is not None
    return found


def test_only_one_has_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "file"
    held = lock(path, os.O_RDWR | os.O_CREAT)
    assert lock_file(path, os.O_RDWR, wait=False) is None
    assert is_locked(path)
    os.close(held)
    assert not is_locked(path)
    os.close(lock(path))


def test_shared_locks_stand_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    first = lock_file(path, os.O_RDONLY, wait=False, shared=True)
    second = lock_file(path, os.O_RDONLY, wait=False, shared=True)
    assert first is not None
    assert second is not None
    assert lock_file(path, os.O_RDWR, wait=False) is None
    os.close(first)
    os.close(second)


@pytest.mark.parametrize("replaced", [True, False])
def test_who_waited_gets_the_file_that_has_the_name_then(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "file"
    held = lock(path, os.O_RDWR | os.O_CREAT)
    result: list[int | None] = []

    def wait() -> None:
        try:
            result.append(lock(path, wait=True))
        except FileNotFoundError:
            result.append(None)

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.2)
    path.unlink()
    if replaced:
        path.touch()
    os.close(held)
    waiting.join()
    (found,) = result
    assert (found is not None) == replaced
    if found is not None:
        assert os.path.samestat(os.fstat(found), path.stat())
        os.close(found)


def test_nothing_is_locked_where_nothing_is(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "file")
