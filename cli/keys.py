"""`ptefoundry keys`: making and showing the keys that sign versions and channels."""

from pathlib import Path
from typing import Annotated

import typer

from .output import JsonOption, print_json, print_note, print_table

app = typer.Typer(
    name="keys",
    help="Make and show the keys that sign versions and channels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("generate")
def generate(
    out: Annotated[
        Path, typer.Option("--out", help="File for the private key; the public one goes beside it.")
    ] = Path("signing-key.pem"),
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a key (ECDSA on P-256): OUT, which only you can read, and a .pub for everybody.

    If PTEFOUNDRY_KEY_PASSPHRASE is set the private key is encrypted with it.
    """
    from ptefoundry.registry.trust.keys import (
        generate_signer,
        passphrase_from_environment,
        write_key_pair,
    )

    passphrase, public = passphrase_from_environment(), out.with_suffix(".pub")
    signer = generate_signer()
    write_key_pair(signer, out, public, passphrase)
    if as_json:
        print_json({"id": signer.public.id, "private": str(out), "public": str(public)})
        return
    print(f"key {signer.public.id}")
    print(f"  {out}: signs; {'encrypted' if passphrase else 'not encrypted'}, keep it secret")
    print(f"  {public}: verifies; name it in clients' trust policies:")
    print(f"trust:\n  keys:\n    - key: {public}")
    print_note("never commit the private key; docs/trust.md says how CI gets it")


@app.command("show")
def show(
    files: Annotated[list[Path], typer.Argument(help="Private or public keys in PEM.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show keys' ids, which signatures and registries name, and their fingerprints."""
    from ptefoundry.registry.trust.keys import load_either_key, passphrase_from_environment

    passphrase = passphrase_from_environment()
    keys = [(path, load_either_key(str(path), passphrase, where="key")) for path in files]
    if as_json:
        print_json(
            [
                {
                    "file": str(path),
                    "id": key.id,
                    "fingerprint": key.fingerprint,
                    "pem": key.pem.decode(),
                }
                for path, key in keys
            ]
        )
        return
    print_table(
        ("file", "id", "fingerprint"), ((str(path), key.id, key.fingerprint) for path, key in keys)
    )
