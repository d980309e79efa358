"""Options of commands that run CoreML programs."""

from typing import Annotated, Literal

import typer

UnitsOption = Annotated[
    Literal["all", "cpu_only", "cpu_and_gpu", "cpu_and_ne"] | None,
    typer.Option(
        "--compute-units",
        help="Where the CoreML program runs, if elsewhere than it was built for.",
    ),
]
