"""What `digits.py` shows and leaves behind: progress lines, a memory watch, and the files under `demo-out/`.

Nothing here takes part in the computation; it is kept apart so that the example itself reads as a tutorial.
"""

import hashlib
import json
import threading
import time

import numpy as np
import park
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

MIB = 2**20


class Stages:
    """One progress line a stage, each with the calls in flight and what the store holds."""

    def __init__(self):
        # Into a file or a pipe there is no terminal width to obey; there the finished lines are written, once.
        console = Console(width=None if Console().is_terminal else 120, highlight=False)
        self.progress = Progress(
            TextColumn("{task.description:<5}"),
            BarColumn(bar_width=10),
            TextColumn("{task.completed}/{task.total} {task.fields[unit]}"),
            TextColumn("{task.fields[in_flight]} in flight (max {task.fields[most]})"),
            TextColumn("store {task.fields[used]:.1f} MiB, {task.fields[objects]} objects"),
            TextColumn("{task.fields[note]}"),
            console=console,
        )

    def add(self, name, total, unit):
        fields = {"unit": unit, "in_flight": 0, "most": 0, "objects": 0, "used": 0.0, "note": ""}
        return Stage(self.progress, self.progress.add_task(name, total=total, **fields), total)

    def __enter__(self):
        self.progress.start()
        return self

    def __exit__(self, *_):
        self.progress.stop()


class Stage:
    """The progress line of one stage of `total` steps."""

    def __init__(self, progress, task, total):
        self.progress, self.task, self.total = progress, task, total
        self.steps, self.most, self.begin = 0, 0, time.perf_counter()

    def step(self, note, in_flight):
        """One call was answered, and `in_flight` others are still to be."""
        self.steps, self.most = self.steps + 1, max(self.most, in_flight + 1)
        store = park.store_stats()
        fields = {"in_flight": in_flight, "objects": store["objects"], "used": store["used"] / MIB}
        self.progress.update(self.task, advance=1, note=note, most=self.most, **fields)

    def seconds(self):
        return time.perf_counter() - self.begin

    def rate(self, items):
        """Items a second until now, of a stage that handles `items` in all, counting the step in hand."""
        return items * (self.steps + 1) / self.total / self.seconds()


class MemoryWatch:
    """Samples the memory of this process and all its descendants; `peak` is the largest sum seen.

    The measure is PSS, which counts a page shared by n processes as 1/n in each and so once in the sum. Where
    the kernel does not give PSS it is RSS, which counts shared pages once a process; `measure` says which.
    """

    PAUSE = 0.2
    # A look at PSS walks the page tables, some 10 ms a process with torch: the watch must not become the load.
    SHARE = 0.05

    def __init__(self):
        self.peak, self.processes, self.measure = 0, 0, "pss"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)

    def _sample(self):
        this = psutil.Process()
        sizes = []
        for process in [this, *this.children(recursive=True)]:
            try:
                sizes.append(self._size(process))
            except psutil.NoSuchProcess:
                continue  # ended between the listing and the look
        if sum(sizes) > self.peak:
            self.peak, self.processes = sum(sizes), len(sizes)

    def _size(self, process):
        if self.measure == "pss":
            try:
                return process.memory_full_info().pss
            except (psutil.AccessDenied, AttributeError):
                self.measure, self.peak = "rss", 0  # never compare one measure with the other
        return process.memory_info().rss

    def _run(self):
        pause = 0.0
        while not self._stop.wait(pause):
            begin = time.perf_counter()
            self._sample()
            pause = max(self.PAUSE, (time.perf_counter() - begin) / self.SHARE)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def write_report(out, rows, labels, answers, seconds, stats, store, memory, chaos):
    """Count the votes in `answers[view, digit]`, write the files, print the summary; returns the report."""
    votes = np.stack([(answers == digit).sum(axis=0) for digit in range(10)], axis=1)
    predicted = votes.argmax(axis=1)
    report = {
        "accuracy": float((predicted == labels).mean()),
        "accuracy_one_view": float((answers == labels).mean()),
        "images": answers.size,
        "images_per_s": answers.size / seconds,
        "bytes_shared": store["bytes_shared"],
        "bytes_copied": store["bytes_copied"],
        "store_high_water": store["high_water"],
        "peak_rss_bytes": memory.peak,
        "peak_measure": memory.measure,
        "peak_processes": memory.processes,
        "chaos": chaos,
        "tasks_retried": stats["tasks_retried"],
        "actors_restarted": stats["actors_restarted"],
        "predictions_sha256": hashlib.sha256(np.ascontiguousarray(answers).tobytes()).hexdigest(),
        "seconds": time.time() - psutil.Process().create_time(),  # imports included
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    table = {"image": rows, "label": labels, "predicted": predicted, "votes": votes.max(axis=1)}
    pq.write_table(pa.table(table), out / "predictions.parquet")
    draw_confusion(labels, predicted, report["accuracy"], out / "confusion.png")
    print_summary(report, out)
    return report


def draw_confusion(labels, predicted, accuracy, path):
    """Rows are what was written, columns what was read; the shade is the share of the row."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set(xticks=range(10), yticks=range(10), xlabel="read as", ylabel="written")
    axes.set_title(f"{len(labels)} test digits, {accuracy:.2%} read correctly")
    figure.savefig(path, dpi=120)


def print_summary(report, out):
    """The report in words."""
    print(
        f"{report['accuracy']:.2%} of the test digits read correctly ({report['accuracy_one_view']:.2%} from one "
        f"drawing); {report['images']:,} images at {report['images_per_s']:,.0f} a second"
    )
    print(
        f"store: {report['bytes_shared'] / MIB:,.1f} MiB read in place, {report['bytes_copied'] / MIB:,.1f} MiB "
        f"copied, {report['store_high_water'] / MIB:,.1f} MiB held at most; memory of "
        f"{report['peak_processes']} processes: {report['peak_rss_bytes'] / MIB:,.0f} MiB"
    )
    if report["chaos"]:
        print(
            f"chaos: one inference process killed, {report['actors_restarted']} actor restarted, "
            f"{report['tasks_retried']} calls retried"
        )
    print(f"{report['seconds']:.1f} s in all; {out}/ holds report.json, confusion.png and predictions.parquet")
