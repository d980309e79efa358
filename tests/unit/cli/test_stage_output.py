from ptefoundry.cli.stage_output import Result, StageReader
from ptefoundry.report import ProgressLine


class _Recorder:
    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []

    def started(self, stage: str) -> None:
        self.events.append(("started", stage))

    def progressed(self, progress: ProgressLine) -> None:
        self.events.append(("progressed", progress.label))

    def said(self, line: str) -> None:
        self.events.append(("said", line))

    def measured(self, max_rss_bytes: int) -> None:
        self.events.append(("measured", str(max_rss_bytes)))

    def finished(self, stage: str, result: Result, seconds: float) -> None:
        assert seconds >= 0
        self.events.append((result, stage))


def _read(text: str, *, verbose: bool = False) -> tuple[StageReader, list[tuple[str, ...]]]:
    recorder = _Recorder()
    reader = StageReader(recorder, verbose=verbose)
    for line in text.splitlines():
        reader.feed(line)
    return reader, recorder.events


def test_stages_are_told_in_order() -> None:
    reader, events = _read(
        "Stage 'a' didn't change, skipping\n"
        "Running stage 'b@x-y':\n"
        "> python -m b\n"
        "Updating lock file 'dvc.lock'\n"
        "\n"
        "Stage 'c' is cached - skipping run, checking out outputs\n"
    )
    expected = [("unchanged", "a"), ("started", "b@x-y"), ("ran", "b@x-y"), ("started", "c")]
    assert events == expected
    reader.finish()
    reader.finish()
    assert events == [*expected, ("cached", "c")]


def test_only_warnings_reach_the_user() -> None:
    _, events = _read(
        "Running stage 'a':\n> cmd\nnoise\nwarning: one\n  and more\n  of it\nnoise\n  noise\n"
    )
    assert [event[1] for event in events if event[0] == "said"] == [
        "warning: one",
        "  and more",
        "  of it",
    ]


def test_verbose_passes_everything_on() -> None:
    _, events = _read("Running stage 'a':\n> cmd\nnoise\n", verbose=True)
    assert [event[1] for event in events if event[0] == "said"] == ["> cmd", "noise"]


def test_progress_is_no_output() -> None:
    line = 'ptefoundry-progress: {"label": "weights", "done": 1, "total": 2, "unit": "bytes"}'
    reader, events = _read(f"Running stage 'a':\n{line}\nptefoundry-progress: broken\n")
    assert events == [("started", "a"), ("progressed", "weights")]
    assert reader.output == ["ptefoundry-progress: broken"]


def test_peak_memory_is_no_output() -> None:
    reader, events = _read("Running stage 'a':\nptefoundry-peak-rss: 12\nptefoundry-peak-rss: x\n")
    assert events == [("started", "a"), ("measured", "12")]
    assert reader.output == ["ptefoundry-peak-rss: x"]


def test_output_starts_anew_with_each_stage() -> None:
    reader, _ = _read("Running stage 'a':\none\nRunning stage 'b':\ntwo\n")
    assert reader.output == ["two"]


def test_stage_before_one_that_could_not_start_is_done() -> None:
    _, events = _read("Running stage 'a':\nERROR: failed to reproduce 'b': no such file\n")
    assert events == [("started", "a"), ("ran", "a")]


def test_failed_stage_is_not_done() -> None:
    _, events = _read("Running stage 'a':\nERROR: failed to reproduce 'a': x, exited with 1\n")
    assert events == [("started", "a")]
