"""An open registry, and what a command trusts and signs with."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ptefoundry.params import Params
    from ptefoundry.registry.channels import Channel
    from ptefoundry.registry.names import Reference
    from ptefoundry.registry.registry import Registry
    from ptefoundry.registry.resolve import Resolved
    from ptefoundry.registry.store.interface import Store
    from ptefoundry.registry.trust.keys import Signer
    from ptefoundry.registry.trust.policy import TrustPolicy

EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        metavar="URL",
        help="Address of an S3-compatible store other than AWS; else AWS_ENDPOINT_URL.",
    ),
]
TrustOption = Annotated[
    Path | None,
    typer.Option(
        "--trust",
        metavar="FILE",
        help="Trust policy or public key; else PTEFOUNDRY_TRUST, else `trust` of params.yaml.",
    ),
]
KeyOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="Private key to sign with, several for several; else PTEFOUNDRY_SIGNING_KEY.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Access:
    """A registry as a command uses it."""

    registry: "Registry"
    policy: "TrustPolicy | None"
    signers: "tuple[Signer, ...]" = ()

    @property
    def store(self) -> "Store":
        """Where the registry is."""
        return self.registry.store

    def channel(self, reference: "Reference") -> "Channel":
        """A channel, with this command's keys."""
        from ptefoundry.registry.channels import Channel

        assert reference.channel is not None
        return Channel(
            self.store,
            reference.name,
            reference.channel,
            signers=self.signers,
            policy=self.policy,
        )

    def resolve(self, reference: "Reference") -> "Resolved":
        """The version that a reference names; says so if nothing is verified."""
        from ptefoundry.registry.resolve import resolve
        from ptefoundry.registry.trust.policy_file import warn_unverified
        from ptefoundry.registry.trust.seen import SeenRecords
        from ptefoundry.workspace import cache_folder

        if self.policy is None:
            warn_unverified()
        seen = SeenRecords(cache_folder() / "channels", self.registry.identity)
        return resolve(self.store, reference, policy=self.policy, seen=seen, clock=time.time)


def open_access(
    address: str,
    endpoint_url: str | None,
    *,
    trust: Path | None = None,
    keys: list[Path] | None = None,
) -> Access:
    """Open a registry.

    Args:
        address: of the registry.
        endpoint_url: of its S3-compatible store.
        trust: policy that the user named.
        keys: private keys that the user named.

    Raises:
        ConfigError: address, policy or a key are malformed.
        StoreError: the store cannot be reached.
        RegistryError: there is no registry.
    """
    from ptefoundry.registry.registry import open_registry
    from ptefoundry.registry.store.open import open_store
    from ptefoundry.registry.trust.keys import find_signers

    endpoint_url = endpoint_url or known_endpoint(address)
    return Access(
        registry=open_registry(open_store(address, endpoint_url=endpoint_url)),
        policy=known_policy(trust),
        signers=find_signers(keys or ()),
    )


def known_endpoint(address: str) -> str | None:
    """The endpoint that the workspace names for a registry, None if it is not for this one.

    It is that of one store: so it counts for the bucket that `registry: url:` names beside
    it, and for any bucket if that names none.
    """
    found = workspace_params()
    if found is None or not address.startswith("s3://"):
        return None
    section = found[1].registry
    own = section.url or ""
    is_other = own.startswith("s3://") and _bucket(own) != _bucket(address)
    return None if is_other else section.endpoint_url


def known_policy(trust: Path | None) -> "TrustPolicy | None":
    """The trust policy that counts here; see `find_policy`.

    Raises:
        ConfigError: it is malformed, or a key in it cannot be read.
    """
    from ptefoundry.registry.trust.policy_file import find_policy

    root, params = workspace_params() or (None, None)
    return find_policy(file=trust, section=params.trust if params else None, root=root)


def workspace_params() -> "tuple[Path, Params] | None":
    """Root and parameters of the workspace that the command runs in, None outside of one."""
    from ptefoundry.params import load_params
    from ptefoundry.workspace import PARAMS_FILE

    here = Path.cwd()
    for root in (here, *here.parents):
        if (root / PARAMS_FILE).is_file():
            return root, load_params(root)
    return None


def _bucket(address: str) -> str:
    return address.removeprefix("s3://").partition("/")[0]
