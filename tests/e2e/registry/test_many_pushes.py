"""Twenty builders push to one registry at once, some of them the same version; others read."""

import json
import random
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from ptefoundry.registry.channels import Channel
from ptefoundry.registry.pack import pack_bundle
from ptefoundry.registry.store.interface import Store
from support.packed import BUNDLE, replace_file, retrain
from support.places import Place, check_whole
from support.shell import Shell, finish

#: Which builder pushes which content, for each version.
PLANS = {"1.0.0": "aaaaa", "1.1.0": "aabbb", "1.2.0": "abcde", "1.3.0": "abbcc"}

LARGE = 33 << 20
"""Bytes of content `a`'s foundation, which is uploaded by two parts."""


@contextmanager
def reading(store: Store) -> Iterator[list[dict[str, str]]]:
    """Read every visible version to its last byte, over and over, while a block runs.

    Yields what each round saw: versions and their digests.
    """
    done, rounds = threading.Event(), list[dict[str, str]]()

    def read() -> None:
        while not done.wait(0.1):
            rounds.append(check_whole(store))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            yield rounds
        finally:
            done.set()
        reader.result()


def start_builders(shell: Shell) -> "list[tuple[str, str, subprocess.Popen[str]]]":
    return [
        (
            version,
            content,
            shell.start("push", content, "--version", version, "--channel", "stable", "--json"),
        )
        for at in range(5)
        for version, contents in PLANS.items()
        for content in contents[at]
    ]


def test_each_version_gets_one_content_and_is_whole_at_every_moment(
    shell: Shell, make_place: Callable[[str], Place], tmp_path: Path
) -> None:
    place = make_place("s3").init()
    shell.environment = {**place.environment, "PTEFOUNDRY_REGISTRY": place.url}
    for content in "abcde":
        retrain(Path(shutil.copytree(BUNDLE, tmp_path / content)), "red", content.encode() * 100)
    replace_file(tmp_path / "a", "xnnpack/foundation.ptd", random.Random(1).randbytes(LARGE))
    store, news = place.open(), Counter[str]()
    with reading(place.open()) as rounds:
        running = start_builders(shell)
        assert len(running) == 20
        done = [(*one, *finish(one[2])) for one in running]
    digests = check_whole(store)
    for before, after in pairwise([*rounds, digests]):
        assert before.items() <= after.items()
    assert len({len(seen) for seen in rounds}) > 1, "it read while they pushed"
    assert digests.keys() == {f"tiny@{version}" for version in PLANS}
    for version, content, process, output, error in done:
        mine = pack_bundle(tmp_path / content, version=version).index.digest
        if digests[f"tiny@{version}"] == mine:
            assert process.returncode == 0, error
            pushed = json.loads(output)
            if pushed["new"]:
                news[version] += 1
            assert pushed["digest"] == mine
        else:
            assert process.returncode == 7, error
            assert f"tiny@{version}: expected a new version or the same content" in error
    # Builders of one name that push within one second write the same ref: as after an answer
    # that was lost, each may say that the version is new.
    assert news.keys() == set(PLANS)
    assert all(1 <= news[version] <= len(PLANS[version]) for version in PLANS)
    history = [stored.record for stored in Channel(store, "tiny", "stable").history()]
    assert [record.number for record in history] == list(range(len(history), 0, -1))
    assert {record.version for record in history} == set(PLANS)
    for version in PLANS:
        pulled = shell.json("pull", f"tiny@{version}", "--to", "app")
        assert pulled["variants"] == ["xnnpack/base", "xnnpack/blue", "xnnpack/red"]
    assert [row["channels"] for row in shell.json("ls") if row["channels"]] == [["stable"]]
