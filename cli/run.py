"""`ptefoundry run`: let programs of a bundle answer."""

from pathlib import Path
from typing import Annotated

import typer

from .coreml_options import UnitsOption
from .output import JsonOption


def run(  # noqa: PLR0913  one parameter for each option
    bundle: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="A bundle's folder; the workspace's.")
    ] = None,
    *,
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="Adapter to answer with; repeat for several over one foundation."),
    ] = None,
    backend: Annotated[str, typer.Option(help="Backend of the programs.")] = "xnnpack",
    prompt: Annotated[
        list[str] | None, typer.Option(help="What to answer, repeatable; without any: a chat.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of an answer.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="0 takes the likeliest token each time.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0, max=1, help="Sample from the likeliest of this sum.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the sampling.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Number of threads.")] = None,
    serve_stdio: Annotated[
        bool, typer.Option("--serve-stdio", help="Answer requests on standard input, JSON lines.")
    ] = False,
    packed_cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of packed weights; the user's cache."),
    ] = None,
    packed_cache_max_bytes: Annotated[
        int | None, typer.Option(min=0, help="Of all packed weights there; the oldest go first.")
    ] = None,
    no_packed_cache: Annotated[
        bool, typer.Option("--no-packed-cache", help="Pack weights at every start anew.")
    ] = False,
    compute_units: UnitsOption = None,
    raw: Annotated[bool, typer.Option("--raw", help="Leave out the chat template.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Answer prompts, or chat, with a bundle.

    Uses the C++ runner; for --backend coreml, on a Mac, ExecuTorch's Python runtime, which
    answers prompts greedily. Without --adapter the base answers. A chat switches to any
    adapter of the bundle with /adapter NAME, and a request of --serve-stdio names one.
    """
    from .generation import Generation, run_bundle

    generation = Generation(
        prompts=tuple(prompt or ()),
        raw=raw,
        json=as_json,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        threads=threads,
        serve_stdio=serve_stdio,
        packed_cache=packed_cache,
        packed_cache_max_bytes=packed_cache_max_bytes,
        no_packed_cache=no_packed_cache,
        compute_units=compute_units,
    )
    raise typer.Exit(run_bundle(bundle, backend, adapter or ["base"], generation))
