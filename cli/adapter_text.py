"""What an adapter holds, as text for people."""

from collections.abc import Iterable

from ptefoundry.adapter.describe import AdapterDescription
from ptefoundry.report import format_size


def show_description(adapter: AdapterDescription, base_name: str | None) -> None:
    """Print an adapter's contents, warnings and problems."""
    rows = {
        "trained on": adapter.base_model or "unknown",
        "compared with": base_name or "no base, as this is no workspace",
        "PEFT": adapter.peft_version or "unknown",
        "names of tensors": adapter.spelling or "unknown",
        "targets": ", ".join(adapter.targets) or "none",
        "layers": _ranges(adapter.layers) or "none",
        "rank": _listed(adapter.ranks),
        "scale": _listed(adapter.scales),
        "dtype": _listed(adapter.dtypes),
        "parameters": f"{adapter.parameters:,}",
        "weights": format_size(adapter.bytes),
    }
    for name, value in rows.items():
        print(f"{name:<17} {value}")
    for warning in adapter.warnings:
        print(f"warning: {warning}")
    if adapter.usable:
        print("usable" if base_name else "usable, if it fits the base")
        return
    count = len(adapter.problems)
    print(f"refused for {count} reason{'s' if count > 1 else ''}:")
    for problem in adapter.problems:
        print(f"- {problem}")


def _listed(values: Iterable[object]) -> str:
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def _ranges(numbers: tuple[int, ...]) -> str:
    """Sorted numbers with runs shortened, for instance `0-3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)
