import os
import subprocess
import sys

import pytest

from ptefoundry.rebuild.conditions import PLAIN, Conditions, preparation

REPORT = "print(os.umask(0), len(os.sched_getaffinity(0)))"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_sets_its_umask_and_its_cpus() -> None:
    conditions = Conditions(name="one", folder="one", umask=0o027, cpus=1)
    script = preparation(conditions) + REPORT
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"23 1\n"


def test_nothing_is_set_that_was_not_named() -> None:
    script = preparation(PLAIN) + REPORT
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    mask = os.umask(0)
    os.umask(mask)
    assert done.stdout.decode() == f"{mask} {len(os.sched_getaffinity(0))}\n"
