"""Stages that are forked from one process behave as if each were its own."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptefoundry.cli.stage_forks import fork_server
from ptefoundry.stage_shell import SOCKET_VARIABLE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stages are forked on Linux alone")

STAGE = """\
import os, signal, sys, time

try:
    exec(compile(sys.argv[1], 'stage', 'exec'))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(5)
"""
#: Python imports it at its start, the server too.
PRELOADS = """\
from ptefoundry.stages import preloads

preloads.IMPORTS["stage"] = ("slow_import",)
preloads.NEXT_IMPORTS["stage"] = ("later_import", "there_is_no_such_module")
"""
PARAMS = Path(__file__).parents[3] / "params.yaml"
NOTE_IMPORT = "open('imports', 'a').write(f'{__name__} {os.getpid()}\\n')"

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / "sitecustomize.py").write_text(PRELOADS)
    for name in ("stage", "unknown"):
        (tmp_path / f"{name}.py").write_text(STAGE)
    for name in ("slow_import", "later_import"):
        (tmp_path / f"{name}.py").write_text(f"import os\n{NOTE_IMPORT}\n")
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Starts stages in a process group for which a server forks."""
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with (
        fork_server(folder) as (variables, start),
        subprocess.Popen(["sleep", "1000"], process_group=0) as leader,
    ):
        start(leader.pid)
        address = Path(variables[SOCKET_VARIABLE])
        while not address.exists():
            time.sleep(0.01)

        def run(
            code: str, module: str = "stage", *, group: int | None = None, **changes: str
        ) -> "subprocess.Popen[str]":
            environment = {**os.environ, **variables, **changes}
            return subprocess.Popen(
                [environment["SHELL"], "-c", shlex.join(("python", "-m", module, code))],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                process_group=leader.pid if group is None else group,
            )

        yield run
        leader.kill()


def server_pids(folder: Path) -> set[int]:
    """Processes that imported something."""
    return {int(line.split()[1]) for line in (folder / "imports").read_text().splitlines()}


def test_a_stage_has_its_own_files_folder_arguments_and_environment(run: Run, folder: Path) -> None:
    code = "print(sys.argv[1:], os.getcwd(), os.environ['MARK']); print('oh', file=sys.stderr)"
    found = run(code, MARK="here")
    out, err = found.communicate()
    assert out == f"{[code]} {folder} here\n"
    assert err == "oh\n"
    assert found.returncode == 0


def test_it_is_forked_and_does_not_ask_to_be_forked_again(run: Run, folder: Path) -> None:
    code = f"print(os.getppid(), {SOCKET_VARIABLE!r} in os.environ)"
    out, _ = run(code).communicate()
    (server,) = server_pids(folder)
    assert out == f"{server} False\n"


def test_what_stages_import_is_imported_once(run: Run, folder: Path) -> None:
    for code in ("import slow_import", *["import slow_import, later_import"] * 2):
        assert run(code).wait() == 0
    found = [line.split()[0] for line in (folder / "imports").read_text().splitlines()]
    assert found == ["slow_import", "later_import"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("sys.exit(7)", 7),
        ("raise ValueError", 1),
        ("sys.exit('what is wrong')", 1),
        ("sys.exit()", 0),
        ("", 0),
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL),
    ],
)
def test_the_exit_code_is_the_stages(run: Run, code: str, expected: int) -> None:
    assert run(code).wait() == expected


def test_an_interrupt_of_the_group_ends_the_stage_before_its_client(run: Run) -> None:
    found = run("print('ready', flush=True); time.sleep(1000)")
    assert found.stdout is not None
    assert found.stdout.readline() == "ready\n"
    os.killpg(os.getpgid(found.pid), signal.SIGINT)
    assert found.communicate()[0] == "interrupted\n"
    assert found.returncode == 5


def test_a_stage_is_of_the_group_of_who_asked_for_it(run: Run) -> None:
    found = run("print(os.getpgrp(), flush=True); time.sleep(1000)", group=0)
    assert found.stdout is not None
    assert int(found.stdout.readline()) == found.pid
    os.killpg(found.pid, signal.SIGINT)
    assert found.communicate()[0] == "interrupted\n"


def test_a_build_uses_a_server_that_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOCKET_VARIABLE, str(folder / "socket"))
    with fork_server(folder) as (variables, start):
        start(os.getpgrp())
        assert variables[SOCKET_VARIABLE] == str(folder / "socket")
        assert Path(variables["SHELL"]).is_file()
    assert not list((folder / ".dvc" / "tmp").iterdir())  # not even a log was begun


def test_a_stage_ends_when_its_client_is_killed(run: Run) -> None:
    found = run("print(os.getpid(), flush=True); time.sleep(1000)")
    assert found.stdout is not None
    assert int(found.stdout.readline()) != found.pid
    found.kill()
    # Both have the pipe, so this ends when the stage is gone too.
    assert found.communicate()[0] == ""


def test_what_a_stage_has_registered_runs_at_its_end(run: Run) -> None:
    found = run("import atexit; atexit.register(print, 'at last'); print('first')")
    assert found.communicate()[0] == "first\nat last\n"


@pytest.mark.parametrize(
    ("module", "changes"),
    [("unknown", {}), ("stage", {SOCKET_VARIABLE: "none"})],
    ids=["other", "no-server"],
)
def test_other_commands_go_to_the_usual_shell(
    run: Run, module: str, changes: dict[str, str]
) -> None:
    # What is forked does not have the variable.
    found = run(
        f"print(os.environ[{SOCKET_VARIABLE!r}], flush=True); sys.exit(3)", module, **changes
    )
    assert found.communicate()[0].endswith(f"{changes.get(SOCKET_VARIABLE, 'stages')}\n")
    assert found.returncode == 3


def test_params_are_read_once(run: Run, folder: Path) -> None:
    shutil.copy(PARAMS, folder / "params.yaml")
    code = "from ptefoundry.params import _parse_params, load_params; from pathlib import Path; "
    code += "load_params(Path.cwd()); print(_parse_params.cache_info().misses)"
    assert run(code).communicate()[0] == "1\n"
    assert run(code).communicate()[0] == "1\n"
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(f"{text}\n# changed\n")
    assert run(code).communicate()[0] == "2\n"


def test_the_server_ends_with_the_build(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder))
    before = servers()  # another test of this process may have its own
    with fork_server(folder) as (variables, start):
        start(os.getpgrp())
        address = Path(variables[SOCKET_VARIABLE])
        while not address.exists():
            time.sleep(0.01)
        (server,) = servers() - before
    assert cmdline(server) == ""
    assert not address.parent.exists()


def servers() -> set[str]:
    """Process ids of the servers that this process has started."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return {pid for pid in children if "fork_server" in cmdline(pid)}


def cmdline(pid: str) -> str:
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_text() if path.exists() else ""
