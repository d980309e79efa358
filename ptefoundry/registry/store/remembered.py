"""Small objects that were read lately, for asking whether they are still the same."""

import threading

_OBJECT_BYTES = 256 << 10
_TOTAL_BYTES = 8 << 20


class Remembered:
    """A few objects by key, the oldest given up first; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, str]] = {}
        self._bytes = 0

    def get(self, key: str) -> tuple[bytes, str] | None:
        """An object's bytes and token as they were."""
        return self._objects.get(key)

    def put(self, key: str, data: bytes, token: str) -> None:
        """Remember an object, unless it is large or its content has no name."""
        with self._lock:
            self._bytes -= len(self._objects.pop(key, (b"", ""))[0])
            if not token or len(data) > _OBJECT_BYTES:
                return
            self._objects[key] = (data, token)
            self._bytes += len(data)
            while self._bytes > _TOTAL_BYTES:
                oldest = next(iter(self._objects))
                self._bytes -= len(self._objects.pop(oldest)[0])
