"""docs/format.md names what the code writes, and nothing that it does not."""

import re
from pathlib import Path

import pytest

from ptefoundry.registry.chunks import CHUNK_SIZE, CHUNKED_FROM
from ptefoundry.registry.facts import PREFIX, Facts
from ptefoundry.registry.modelpack import (
    BUNDLE_TYPE,
    CHUNKS_DIGEST,
    CHUNKS_SIZE,
    CONFIG_TYPE,
    FILEPATH,
    MODEL_TYPE,
    TITLE,
    VERSION,
    WEIGHT_CONFIG_TYPE,
    WEIGHT_TYPE,
)
from ptefoundry.registry.names import BLOBS, CHANNELS, CONDEMNED, LEASES, REFERRERS, REFS, YANKS
from ptefoundry.registry.oci import INDEX_TYPE, MANIFEST_TYPE
from ptefoundry.registry.publish import (
    BILL_FILE,
    BILL_TYPE,
    MEASURED_TYPE,
    PROVENANCE_TYPE,
    SIGNATURES_TYPE,
    STATEMENT_TYPE,
)
from ptefoundry.registry.trust.channel_envelope import ACTIONS, PAYLOAD_TYPE

TEXT = (Path(__file__).parents[3] / "docs" / "format.md").read_text()


def _facts_of_the_document() -> set[str]:
    table = TEXT.partition("### 4.1 Facts")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {PREFIX + name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_fact_is_described_and_no_other() -> None:
    facts = Facts(
        backend="b", adapter="a", method="m", program="p", size=1, memory=1, base="b",
        base_digest="1", adapter_digest="1", foundation="1", foundation_size=1, context=1,
        executorch="1", runtime="1",
    )  # fmt: skip
    assert _facts_of_the_document() == facts.to_annotations().keys()


@pytest.mark.parametrize(
    "name",
    [
        BUNDLE_TYPE, CONFIG_TYPE, MODEL_TYPE, WEIGHT_CONFIG_TYPE, WEIGHT_TYPE, INDEX_TYPE,
        MANIFEST_TYPE, PAYLOAD_TYPE, FILEPATH, TITLE, VERSION, CHUNKS_DIGEST, CHUNKS_SIZE,
        str(CHUNK_SIZE), str(CHUNKED_FROM), BLOBS, REFS, CHANNELS, YANKS, REFERRERS, LEASES,
        CONDEMNED, *ACTIONS,
        SIGNATURES_TYPE, PROVENANCE_TYPE, STATEMENT_TYPE, BILL_TYPE, BILL_FILE, MEASURED_TYPE,
    ],
)  # fmt: skip
def test_every_name_is_described(name: str) -> None:
    assert f"`{name}" in TEXT or f"{name}`" in TEXT or f" {name}" in TEXT or f"{name}<" in TEXT
