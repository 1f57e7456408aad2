"""Reading handwritten digits: tasks, actors and one object store in a single program.

A trainer actor fits a small convolutional net to scikit-learn's 1,797 scanned digits and leaves its weights
in the store, once. Tasks then draw every test digit many times over, each time turned, scaled and shifted a
little, and stream the batches to a pool of inference actors; the drawings of one digit vote on what it is.
Images and weights are read where they lie in shared memory: no process gets a copy of its own.

    python digits.py [--views 128] [--epochs 24] [--out demo-out]
    CHAOS=1 python digits.py        # kills an inference process in mid-run; the answers stay the same
"""

import argparse
import os
import signal
from pathlib import Path

import numpy as np
import park
import torch
from digits_report import MemoryWatch, Stages, write_report
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

SIZE = 32  # pixels a side of a drawn digit; the scans have 8
BATCH = 64  # images a batch; 256 KiB once drawn
DEPTH = 4  # batches in flight for each inference actor, so that it never waits for the next
POOL = 2  # inference actors


def draw(scans, rows, seed):
    """Upsample, jitter and normalise `scans[rows]`. The seed alone decides the jitter, so a batch is the same
    whichever process draws it, and when it is drawn again after a failure."""
    # `scans` is a read-only view of the store; the conversion to float makes the one small array written here.
    pixels = torch.from_numpy(scans[rows].astype(np.float32)).unsqueeze(1)
    spread = np.random.default_rng(seed).uniform(-1, 1, (4, len(pixels)))
    angle, zoom, dx, dy = spread * [[0.25], [0.15], [0.12], [0.12]] + [[0], [1], [0], [0]]
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    affine = np.stack([cos, -sin, dx, sin, cos, dy], axis=1).reshape(-1, 2, 3).astype(np.float32)
    grid = F.affine_grid(torch.from_numpy(affine), [len(pixels), 1, SIZE, SIZE], align_corners=False)
    drawn = F.grid_sample(pixels, grid, align_corners=False)
    std, mean = torch.std_mean(drawn, (1, 2, 3), keepdim=True)
    return (drawn - mean) / std


preprocess = park.remote(draw)  # a task: `draw` run in a worker process; `draw` itself stays callable


def make_net():
    torch.set_num_threads(1)  # one order of summation, hence one answer, on any number of cores

    def block(inputs, outputs):
        return nn.Sequential(nn.Conv2d(inputs, outputs, 5, stride=2, padding=2), nn.ReLU())

    head = [nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 4 * 4, 10)]
    return nn.Sequential(block(1, 16), block(16, 32), block(32, 64), *head)


@park.remote
class Trainer:
    """An actor is an object that lives in a worker process of its own and keeps its state between calls."""

    def __init__(self, scans, labels, epochs):
        torch.manual_seed(0)
        self.scans, self.labels, self.net = scans, torch.tensor(labels), make_net()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=3e-3)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, epochs)

    def epoch(self):
        losses = []
        for number, rows in enumerate(torch.randperm(len(self.labels)).split(BATCH)):
            images = draw(self.scans, rows.numpy(), [0, self.schedule.last_epoch, number])
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.net(images), self.labels[rows])
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        self.schedule.step()
        return float(np.mean(losses))

    def weights(self):
        return self.net.state_dict()


# Restart the actor if its process dies, and run again the calls that it had not answered.
@park.remote(max_restarts=-1, max_task_retries=-1)
class Reader:
    def __init__(self, weights):
        self.net = make_net().eval()
        # assign=True: the parameters *are* the store's read-only pages, the same ones in every Reader.
        self.net.load_state_dict(weights, assign=True)

    def pid(self):
        return os.getpid()

    @torch.inference_mode()
    def read(self, images):
        return self.net(images).argmax(1).to(torch.uint8).numpy()


def main(views, epochs, out, chaos):
    pixels, labels = load_digits(return_X_y=True)
    scans = pixels.reshape(-1, 8, 8).astype(np.uint8)
    train, test = train_test_split(np.arange(len(labels)), stratify=labels, random_state=0)

    with park.init(num_cpus=2, preload=["torch"]), MemoryWatch() as memory, Stages() as stages:
        # Train. The weights go from the trainer to the store; this process holds a reference, not the bytes.
        line = stages.add("train", epochs, "epochs")
        trainer = Trainer.remote(park.put(scans[train]), park.put(labels[train]), epochs)
        for _ in range(epochs):
            line.step(f"loss {park.get(trainer.epoch.remote()):.3f}", in_flight=0)
        weights = trainer.weights.remote()
        pool = [Reader.remote(weights) for _ in range(POOL)]
        pids = park.get([reader.pid.remote() for reader in pool])
        victims = pids[:1] if chaos else []
        park.kill(trainer)

        # Stream. A drawn batch goes from task to actor by reference; at most POOL * DEPTH of them exist at once.
        shared_scans = park.put(scans[test])
        work = [(view, start) for view in range(views) for start in range(0, len(test), BATCH)]
        line = stages.add("read", len(work), "batches")
        answers = np.zeros((views, len(test)), np.uint8)
        slots, in_flight, kill_at = pool * DEPTH, {}, len(work) * 2 // 3
        while work or in_flight:
            while work and slots:
                (view, start), reader = work.pop(), slots.pop()
                batch = preprocess.remote(shared_scans, slice(start, start + BATCH), [1, view, start])
                in_flight[reader.read.remote(batch)] = reader, view, start
            if victims and len(work) <= kill_at:
                os.kill(victims.pop(), signal.SIGKILL)
            [ref], _ = park.wait(list(in_flight), num_returns=1)
            reader, view, start = in_flight.pop(ref)
            slots.append(reader)  # whoever answered is free for the next batch
            answers[view, start : start + BATCH] = park.get(ref)
            line.step(f"{line.rate(answers.size):,.0f} images/s", len(in_flight))
        seconds, stats, store = line.seconds(), park.runtime_stats(), park.store_stats()

    report = write_report(out, test, labels[test], answers, seconds, stats, store, memory, chaos)
    return None if report["accuracy"] >= 0.97 else "accuracy is below 97 %"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Read handwritten digits with park.")
    parser.add_argument("--views", type=int, default=128, help="jittered drawings of each test digit")
    parser.add_argument("--epochs", type=int, default=24, help="passes of the trainer over its digits")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for the results")
    options = parser.parse_args()
    raise SystemExit(main(options.views, options.epochs, options.out, os.environ.get("CHAOS") == "1"))
