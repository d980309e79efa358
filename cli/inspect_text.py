"""Programs, data files and bundles as text for people."""

from collections.abc import Sequence

from ptefoundry.bundle.inspect import (
    BundleReport,
    DataReport,
    MethodReport,
    ProgramReport,
    Report,
    TensorReport,
    VariantReport,
)
from ptefoundry.report import format_size

from .output import print_table

_MOST_TENSORS = 10
"""The largest are shown; --json has all."""


def show_report(report: Report) -> None:
    """Print a report."""
    match report:
        case ProgramReport():
            _show_program(report)
        case DataReport():
            _show_data(report)
        case BundleReport():
            _show_bundle(report)


def _show_program(report: ProgramReport) -> None:
    print(f"program {report.path}, {_exact(report.size)}")
    for method in report.methods:
        _show_method(method)
    for name, values in report.constants.items():
        print(f"  {name}: {', '.join(map(str, values))}")
    print(f"{len(report.needs)} tensors that data files must have")
    _show_tensors(report.tensors, "own tensors")


def _show_method(method: MethodReport) -> None:
    print(f"method {method.name}, {format_size(method.planned_bytes)} planned memory")
    for delegate in method.delegates:
        print(
            f"  {delegate.backend}: {delegate.partitions} partitions, "
            f"{format_size(delegate.size)}, {delegate.keys} tensors"
        )
    print(f"  not delegated: {', '.join(method.operators) or 'nothing'}")


def _show_data(report: DataReport) -> None:
    print(f"data file {report.path}, {_exact(report.size)}")
    print(f"identity {report.identity}")
    _show_tensors(report.tensors, "tensors")


def _show_tensors(tensors: Sequence[TensorReport], what: str) -> None:
    segments = {tensor.segment: tensor.size for tensor in tensors}
    print(f"{len(tensors)} {what}, {format_size(sum(segments.values()))} of data")
    largest = sorted(tensors, key=lambda tensor: (-tensor.size, tensor.key))[:_MOST_TENSORS]
    if largest:
        rows = [(tensor.key, str(tensor.size), tensor.sha256[:12]) for tensor in largest]
        print_table(("key", ">bytes", "sha256"), rows)
    if len(tensors) > len(largest):
        print(f"and {len(tensors) - len(largest)} smaller ones")


def _show_bundle(report: BundleReport) -> None:
    print(f"bundle {report.name} in {report.path}, {_exact(report.size)}")
    print(f"digest {report.digest}")
    print(f"base {report.base.get('name')} from {report.base.get('source')}")
    print_table(
        ("variant", ">own bytes", ">shared bytes", ">own tensors", "shared tensors"),
        [_variant_row(variant) for variant in report.variants],
    )
    for backend, weights in report.weights.items():
        if weights:
            print_table(
                (f"weights of {backend}", "stored as", ">tensors", ">bytes"),
                [(one.what, one.form, str(one.tensors), str(one.bytes)) for one in weights],
            )
    for variant in report.variants:
        if variant.missing_keys:
            print(
                f"{variant.backend}/{variant.adapter}: {len(variant.missing_keys)} tensors are in "
                "no file: it will not load"
            )


def _variant_row(variant: VariantReport) -> tuple[str, ...]:
    shared = ", ".join(f"{count} from {name}" for name, count in variant.shared_keys.items())
    return (
        f"{variant.backend}/{variant.adapter}",
        str(variant.own_bytes),
        str(variant.shared_bytes),
        str(variant.own_keys),
        shared,
    )


def _exact(size: int) -> str:
    return f"{format_size(size)} ({size} bytes)"
