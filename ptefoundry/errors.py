"""All errors that ptefoundry raises on purpose.

One root, `FoundryError`, carries the process's exit code. The text says what
was expected, what was found and what to do next, and names the file and field.
Only the command line turns them into output; library code raises them.

Exit codes: 1 unexpected failure, 2 bad usage or configuration, 3 bad input
(base, adapter, artifact file), 4 a source or store could not be read,
5 a build step failed, 6 a check of results failed, 7 somebody else was first.
"""


class FoundryError(Exception):
    """Root of every deliberate error; `exit_code` is what the process returns."""

    exit_code = 1


class ConfigError(FoundryError):
    """params.yaml, dvc.yaml or a command-line value is not usable."""

    exit_code = 2


class InputError(FoundryError):
    """A model, adapter or artifact file is missing, malformed or does not fit."""

    exit_code = 3


class AdapterError(InputError):
    """An adapter is refused: malformed, unsupported or not of this base."""


class CheckpointError(InputError):
    """A base checkpoint is refused: malformed or of an unsupported architecture."""


class ArtifactError(InputError):
    """A .pte, .ptd or bundle cannot be read or contradicts itself."""


class SourceError(FoundryError):
    """A source of models could not be reached or returned something else."""

    exit_code = 4


class DigestMismatchError(SourceError):
    """Bytes arrived that are not those that were pinned."""


class BuildError(FoundryError):
    """A build step failed: export, compiler, DVC or an external program."""

    exit_code = 5


class MissingToolError(BuildError):
    """A program, header or Python package that a step needs is not installed."""


class ContainerError(BuildError):
    """A container engine refuses, is lost, or has no such image."""


class VerificationError(FoundryError):
    """A result was built but is wrong: parity, sharing or read-back failed."""

    exit_code = 6


class StoreError(FoundryError):
    """A registry's store could not be reached, or answered something else."""

    exit_code = 4


class StoreRefusedError(StoreError):
    """The store does not let whoever asks do that, and will not the next time either."""


class ObjectMissingError(StoreError):
    """The store has no object of that key."""


class ObjectExistsError(StoreError):
    """An object that may only be created is there already."""


class ObjectChangedError(StoreError):
    """An object is no longer the one that was to be replaced."""


class DiskFullError(FoundryError):
    """There is no room on a disk for what is to be written."""


class RegistryError(InputError):
    """What a registry holds is malformed, contradicts itself or is not there."""


class ObjectTooLargeError(RegistryError, StoreError):
    """An object has more bytes than a document of its kind may have: it was altered."""


class ConflictError(FoundryError):
    """Somebody else was first: a version has other content, a channel has moved."""

    exit_code = 7


class TrustError(VerificationError):
    """A signature is missing, wrong, of an unknown key, or what it signs is outdated."""
