"""`hf:org/name@revision[/path]`: files of a model repository on the Hugging Face Hub.

huggingface_hub finds the repository, its files and the login (HF_ENDPOINT,
HF_TOKEN, `hf auth login`, HF_HUB_OFFLINE apply). The bytes come through our own
download, since huggingface_hub starts an interrupted file again from nothing,
and are checked against the digest that the repository has of each file.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ptefoundry.base.sources.cache import downloads, drop_downloads
from ptefoundry.base.sources.partial import Partial
from ptefoundry.base.sources.source import check_inner_path
from ptefoundry.base.sources.wanted import Wanted, near_names
from ptefoundry.digest import hash_file
from ptefoundry.errors import ConfigError, DigestMismatchError, SourceError

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?"
_SPEC = re.compile(rf"hf:(?P<repo>{_PART}/{_PART})@(?P<revision>[^/@\s]+)(?:/(?P<path>.*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFile:
    """What the repository says of one file."""

    size: int
    """Bytes."""
    sha256: str
    """Of the content, for large files; "" for those that are in git itself."""
    git_id: str
    """SHA-1 of the git object."""

    @property
    def version(self) -> str:
        """A name of the content that changes with it."""
        return self.sha256 or self.git_id


@dataclass(frozen=True)
class HubSource:
    """A model repository at a revision, or a file or folder in it."""

    spec: str
    repo: str
    revision: str
    """A commit, branch or tag."""
    path: str
    """File or folder in the repository; "" for all of it."""

    def fetch(self, into: Path, *, wanted: Wanted, root: Path, cache: Path) -> str | None:  # noqa: ARG002
        """See `Source.fetch`."""
        with _explained(self):
            moving = not _COMMIT.fullmatch(self.revision)
            commit = _find_commit(self) if moving else self.revision
            files = _list_files(self.repo, commit)
            prefix, chosen = self._choose(files, wanted)
            folder = downloads(cache, self.spec)
            partials = {name: Partial(folder, name) for name in chosen}
            for name, partial in partials.items():
                _download(self, commit, prefix + name, files[prefix + name], partial)
        for name, partial in partials.items():
            partial.place(into / name)
        return commit if moving else None

    def forget(self, cache: Path) -> None:
        """See `Source.forget`."""
        drop_downloads(cache, self.spec)

    def _choose(self, files: Mapping[str, HubFile], wanted: Wanted) -> tuple[str, tuple[str, ...]]:
        """The folder in the repository, with its slash, and the files to take below it."""
        if self.path in files:
            folder, slash, name = self.path.rpartition("/")
            wanted.check_named(name, spec=self.spec)
            return folder + slash, (name,)
        prefix = f"{self.path}/" if self.path else ""
        inside = [name.removeprefix(prefix) for name in files if name.startswith(prefix)]
        if self.path and not inside:
            raise SourceError(
                f"{self.spec}: the repository has no {self.path!r}; "
                f"it has {near_names(self.path, files)}"
            )
        return prefix, wanted.choose(inside, spec=self.spec)


def parse_hub(spec: str, *, where: str) -> HubSource:
    """Parse `hf:org/name@revision`, with or without a path behind it.

    Raises:
        ConfigError: a part is missing or malformed.
    """
    found = _SPEC.fullmatch(spec)
    if not found:
        raise ConfigError(
            f"{where}: expected hf:org/name@revision or hf:org/name@revision/path (revision: a "
            f"commit, best, or a branch or tag; write / in it as %2F), found {spec!r}"
        )
    path = found["path"] or ""
    if path:
        path = check_inner_path(path, spec=spec, where=where)
    return HubSource(spec, found["repo"], unquote(found["revision"]), path)


def _find_commit(source: HubSource) -> str:
    from huggingface_hub import HfApi

    return str(HfApi().model_info(source.repo, revision=source.revision).sha)


def _list_files(repo: str, commit: str) -> dict[str, HubFile]:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    entries = HfApi().list_repo_tree(repo, recursive=True, revision=commit)
    return {
        entry.path: HubFile(entry.size, entry.lfs.sha256 if entry.lfs else "", entry.blob_id)
        for entry in entries
        if isinstance(entry, RepoFile)
    }


def _download(source: HubSource, commit: str, path: str, file: HubFile, partial: Partial) -> None:
    """Complete and check one file.

    Raises:
        DigestMismatchError: other bytes arrived; they are not kept.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    from ptefoundry.base.sources.download import Download

    Download(
        url=hf_hub_url(source.repo, path, revision=commit),
        partial=partial,
        label=f"hf:{source.repo}/{path}",
        client=get_session(),
        check=hf_raise_for_status,
        headers=build_hf_headers(),
        version=file.version,
    ).run()
    found = hash_file(partial.path) if file.sha256 else _git_id(partial.path)
    if found != file.version:
        partial.discard()
        raise DigestMismatchError(
            f"{source.spec}: expected {path} with digest {file.version}, found {found}; the "
            "download has been thrown away: run again, and distrust the network if it stays so"
        )


def _git_id(path: Path) -> str:
    """The name that git gives to a file's content; only large files have a SHA-256 on the Hub."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def _explained(source: HubSource) -> Iterator[None]:
    """Turn huggingface_hub's errors into ours, with the next step."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise SourceError(_gated(source)) from error
    except errors.OfflineModeIsEnabled as error:
        raise SourceError(
            f"{source.spec}: HF_HUB_OFFLINE is set, so nothing can be fetched; unset it"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(
            f"{source.spec}: the repository has no revision {source.revision!r}; "
            f"see {_page(source)}/commits"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(
            f"{source.spec}: there is no model {source.repo!r}, or it is private; check the "
            "spelling, or log in with `hf auth login`"
        ) from error
    except errors.HfHubHTTPError as error:
        raise SourceError(_refused(source, error)) from error
    except httpx2.TransportError as error:
        raise SourceError(
            f"{source.spec}: {_page(source)} cannot be reached ({error}); check the network, "
            "HTTPS_PROXY and HF_ENDPOINT"
        ) from error
    except ValueError as error:
        raise SourceError(
            f"{source.spec}: {_page(source)} does not answer as a Hub does ({error}); check "
            "HF_ENDPOINT"
        ) from error


def _gated(source: HubSource) -> str:
    from huggingface_hub import get_token

    accept = f"open {_page(source)} and accept its licence"
    if get_token():
        return (
            f"{source.spec}: this model is gated and your login has no access to it; {accept} "
            "with that login (`hf auth whoami` shows it), wait until access is granted, run again"
        )
    return (
        f"{source.spec}: this model is gated and there is no login; {accept}, then run "
        "`hf auth login` (or set HF_TOKEN) and run again"
    )


def _refused(source: HubSource, error: Any) -> str:
    status = error.response.status_code
    if status == 401:
        advice = "the login is not valid: run `hf auth login` again, or set HF_TOKEN anew"
    elif status == 403:
        advice = "the login may not read this model: check its token's permissions"
    else:
        advice = "try again later"
    reason = error.server_message or error
    return f"{source.spec}: the Hub answered {status} ({reason}); {advice}"


def _page(source: HubSource) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{source.repo}"
