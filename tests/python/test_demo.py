"""The main job, `python/examples/digits.py`, run as a user runs it: what it leaves behind, what it shares, and that a killed
inference process changes nothing in the answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.park_only, pytest.mark.timeout(240)]

pq = pytest.importorskip("pyarrow.parquet", reason="the demo's packages are not installed")
for name in ("torch", "sklearn", "matplotlib", "rich", "psutil"):
    pytest.importorskip(name, reason="the demo's packages are not installed")

EXAMPLE = Path(__file__).resolve().parents[2] / "python" / "examples" / "digits.py"
VIEWS, TEST_DIGITS = 8, 450
DRAWN_BYTES = VIEWS * TEST_DIGITS * 32 * 32 * 4  # what goes from the tasks to the inference actors
FIELDS = {
    "accuracy": float,
    "images_per_s": float,
    "bytes_shared": int,
    "bytes_copied": int,
    "peak_rss_bytes": int,
    "tasks_retried": int,
    "seconds": float,
    "predictions_sha256": str,
}


def run(out, chaos, views=VIEWS, epochs=10):
    command = [sys.executable, EXAMPLE, "--views", str(views), "--epochs", str(epochs), "--out", out]
    environment = {**os.environ, "CHAOS": "1" if chaos else "0"}
    return subprocess.run(command, env=environment, cwd=out.parent, capture_output=True, text=True, timeout=90)


class Outcome:
    """One finished run: its report, its output and its folder."""

    def __init__(self, out, chaos):
        process = run(out, chaos)
        assert process.returncode == 0, process.stdout + process.stderr
        self.out, self.text = out, process.stdout
        self.report = json.loads((out / "report.json").read_text())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return Outcome(tmp_path_factory.mktemp("plain") / "demo-out", chaos=False)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    return Outcome(tmp_path_factory.mktemp("killed") / "demo-out", chaos=True)


def test_the_report_has_every_field_and_keeps_its_promises(plain):
    for field, kind in FIELDS.items():
        assert type(plain.report[field]) is kind, field
    assert 0.97 <= plain.report["accuracy"] <= 1
    assert plain.report["images_per_s"] > 0
    assert plain.report["seconds"] < 90
    assert plain.report["tasks_retried"] == 0
    # The driver and a worker hold torch: less than this means that the watch missed the workers.
    assert plain.report["peak_rss_bytes"] > 100 << 20
    assert plain.report["peak_processes"] >= 4


def test_images_are_read_in_place(plain):
    # A batch is copied once, by the task that stores it. A second copy, on the reader's side, would double the count.
    assert plain.report["bytes_shared"] >= DRAWN_BYTES
    assert plain.report["bytes_copied"] < 1.5 * DRAWN_BYTES


def test_batches_in_flight_are_bounded(plain):
    # Eight batches of 256 KiB, the weights and the scans; without the bound all of them could pile up.
    assert plain.report["store_high_water"] < DRAWN_BYTES / 2


def test_the_files_agree_with_the_report(plain):
    table = pq.read_table(plain.out / "predictions.parquet").to_pydict()
    assert len(set(table["image"])) == TEST_DIGITS
    right = sum(label == predicted for label, predicted in zip(table["label"], table["predicted"]))
    assert right / TEST_DIGITS == pytest.approx(plain.report["accuracy"])
    assert max(table["votes"]) <= VIEWS
    assert (plain.out / "confusion.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_each_stage_shows_a_line(plain):
    lines = plain.text.splitlines()
    for stage in ("train", "read"):
        [line] = [line for line in lines if line.startswith(stage)]
        assert "in flight" in line
        assert "MiB" in line


def test_a_killed_inference_process_changes_no_prediction(plain, killed):
    assert killed.report["tasks_retried"] >= 1
    assert killed.report["actors_restarted"] == 1
    assert "one inference process killed, 1 actor restarted" in killed.text
    assert killed.report["predictions_sha256"] == plain.report["predictions_sha256"]
    columns = [pq.read_table(outcome.out / "predictions.parquet") for outcome in (plain, killed)]
    assert columns[0].equals(columns[1])


def test_an_untrained_net_is_a_failure(tmp_path):
    process = run(tmp_path / "demo-out", chaos=False, views=1, epochs=0)
    assert process.returncode == 1, process.stdout + process.stderr
    assert "accuracy is below 97 %" in process.stderr


def test_the_example_stays_a_tutorial():
    assert len(EXAMPLE.read_text().splitlines()) < 150
