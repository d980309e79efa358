import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptefoundry.errors import FoundryError
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.fetch import fetch_blobs
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.workers import Patience
from support.blobs import make_bytes, put_blob
from support.faulty_store import Fault, FaultyStore

CHUNK = 64 << 10
PATIENCE = Patience(stall_s=0.05, free_stalls=1, delays_s=(0.0, 0.0))
DATA = [make_bytes(10 * CHUNK + 17, seed=1), make_bytes(4 * CHUNK, seed=2), b"", b"small" * 100]

faults = st.lists(st.one_of(st.none(), st.sampled_from(Fault)), max_size=40)


@pytest.fixture(autouse=True, scope="module")
def _chunks_are_small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ptefoundry.registry.chunks.CHUNKED_FROM", 4 * CHUNK)
        yield


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=faults, second=faults, threads=st.sampled_from([1, 3]))
def test_result_is_the_right_bytes_or_an_error(
    first: list[Fault | None], second: list[Fault | None], threads: int
) -> None:
    store = FaultyStore(MemoryStore())
    blobs = [put_blob(store, data, chunk_size=CHUNK) for data in DATA]
    with tempfile.TemporaryDirectory() as folder:
        cache = BlobCache(Path(folder))
        for sequence in (first, second, []):
            store.requests.clear()
            store.choose = lambda number, _request, faults=sequence: (
                faults[number] if number < len(faults) else None
            )
            try:
                fetch_blobs(store, blobs, cache, threads=threads, patience=PATIENCE)
                complete = True
            except FoundryError:
                complete = False
            for blob, data in zip(blobs, DATA, strict=True):
                assert cache.read(blob.digest, blob.size) in ([data] if complete else [data, None])
        assert complete
        store.release()
