#!/usr/bin/env python3
"""The plot of docs/cuda.md: time over the number of tokens, beside cuBLAS and the time to read the weights once.

    plot.py RESULT.json PLOT.svg

RESULT.json is what bench_cuda_table --json wrote. Needs matplotlib.
"""
import json
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "qlite"    # the same input gives the same file
import matplotlib.pyplot as plt

# kind, label, color, line style, whether its read floor is drawn
LINES = [
    ("cublas", "cuBLAS float16, by turns with W4A16", "#888888", "-", False),
    ("cublaslt_int8", "cuBLASLt int8, best of 8, unscaled", "#bbbbbb", "-", False),
    ("w8a16_channel", "W8A16 per channel", "#1f77b4", "-", True),
    ("w4a16_g128", "W4A16 groups of 128", "#d62728", "-", True),
    ("w8a8", "W8A8", "#2ca02c", "-", False),
]


def main(source, target):
    with open(source, encoding="utf-8") as f:
        result = json.load(f)
    # cuBLAS at the clocks at which the ratio of W4A16 to it was taken.
    result["points"] += [{"kind": "cublas", "n": p["n"], "k": p["k"], "m": p["m"], "us": p["us"] * p["times_cublas"]}
                         for p in result["points"] if p["kind"] == "w4a16_g128"]
    shapes = []
    for p in result["points"]:
        if (p["n"], p["k"]) not in shapes:
            shapes.append((p["n"], p["k"]))
    figure, axes = plt.subplots(2, (len(shapes) + 1) // 2, figsize=(11, 8), sharex=True, squeeze=False)
    for axis, (n, k) in zip(axes.flat, shapes):
        for kind, label, color, style, floor in LINES:
            points = sorted((p["m"], p["us"], p.get("times_read_floor")) for p in result["points"]
                            if (p["kind"], p["n"], p["k"]) == (kind, n, k))
            if not points:
                continue
            tokens = [p[0] for p in points]
            axis.plot(tokens, [p[1] for p in points], style, color=color, marker="o", markersize=3, label=label)
            if floor:
                axis.axhline(points[0][1] / points[0][2], color=color, linestyle=":", linewidth=1,
                             label=f"reading the weights of {label.split()[0]} once")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_title(f"N x K = {n} x {k}", fontsize=10)
        axis.grid(True, which="major", linewidth=0.4)
        axis.set_xlabel("tokens (M)")
        axis.set_ylabel("microseconds")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=4, fontsize=8, frameon=False)
    figure.suptitle(f"{result['device']}, {result['date']}", fontsize=11)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
