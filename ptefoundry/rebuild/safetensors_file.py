"""A `.safetensors` file as regions: metadata, forms and values of the tensors.

The format: 8 bytes with the length of a JSON object, that object, then the tensors' bytes.
"""

import json
import struct
from pathlib import Path
from typing import Any

from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.segments import map_file
from ptefoundry.rebuild.difference import Region

_METADATA = "__metadata__"


def safetensors_regions(path: Path) -> list[Region]:
    """The header's metadata by field, then each tensor's form and values.

    Raises:
        ArtifactError: it is no such file.
    """
    data = map_file(path)
    try:
        (length,) = struct.unpack_from("<Q", data)
        values = data[8 + length :]
        header: dict[str, Any] = json.loads(bytes(data[8 : 8 + length]))
        regions = [
            Region(name=f"metadata {key}", data=str(value).encode())
            for key, value in header.pop(_METADATA, {}).items()
        ]
        for name, tensor in header.items():
            form = f"{tensor['dtype']} {tensor['shape']}"
            start, end = tensor["data_offsets"]
            regions.append(Region(name=f"form of tensor {name}", data=form.encode()))
            regions.append(Region(name=f"tensor {name}", data=values[start:end]))
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path}: expected a safetensors file ({error!r}); build or fetch it again"
        ) from error
    return regions
