#!/usr/bin/env python3
"""Draws what bench_peers wrote, and prints it as a Markdown table.

  plot.py peers.json [more.json...] --svg docs/peers.svg        needs matplotlib (Debian: python3-matplotlib)

Share of the limit over M: one panel for each family and number of threads, one line a library (the fastest of its kinds in
that family). Several files are taken together, those of one shape only.
"""
import argparse
import json
import sys

FAMILIES = [
    "4 bits, a scale for 16 to 32 weights",
    "4 bits, a scale for 128 weights or a row",
    "8 bits, a scale for 32 to 128 weights",
    "8 bits, a scale for a row",
    "float activations",
    "bfloat16 activations",
]
STYLES = {
    "qlite": ("#c1272d", "o", 2.2),
    "oneDNN": ("#0060a8", "s", 1.3),
    "ONNX Runtime": ("#7f3f98", "^", 1.3),
    "ggml": ("#2a8a3e", "D", 1.3),
    "OpenBLAS": ("#777777", "v", 1.3),
}


def draw(products, path):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "qlite", "font.size": 9, "svg.fonttype": "none"})
    families = [f for f in FAMILIES if any(p["family"] == f for p in products)]
    threads = sorted({p["threads"] for p in products})
    batches = sorted({p["m"] for p in products})
    figure, axes = plt.subplots(
        len(threads), len(families), figsize=(2.9 * len(families), 2.6 * len(threads)), sharex=True, sharey=True, squeeze=False
    )
    lines = {}
    for row, count in enumerate(threads):
        for column, family in enumerate(families):
            axis = axes[row][column]
            for library, (color, marker, width) in STYLES.items():
                best = {}
                for p in products:
                    if (p["library"], p["family"], p["threads"]) != (library, family, count):
                        continue
                    if p["m"] not in best or p["microseconds"] < best[p["m"]]["microseconds"]:
                        best[p["m"]] = p
                if not best:
                    continue
                ms = sorted(best)
                (lines[library],) = axis.plot(
                    ms, [100 * best[m]["share_of_limit"] for m in ms], color=color, marker=marker, markersize=3.5, linewidth=width
                )
            axis.set_xscale("log", base=2)
            axis.set_xticks(batches, [str(m) for m in batches])
            axis.grid(True, color="#dddddd", linewidth=0.6)
            axis.set_ylim(0, 110)
            if row == 0:
                axis.set_title(family.replace(", ", ",\n"), fontsize=9)
            if row == len(threads) - 1:
                axis.set_xlabel("M, rows of activations")
            if column == 0:
                axis.set_ylabel(f"% of the limit, {count} thread" + ("s" if count > 1 else ""))
    figure.legend(lines.values(), lines.keys(), loc="lower center", ncol=len(lines), frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def table(products, batches):
    threads = sorted({p["threads"] for p in products})
    print("| library | weights | bits | error |" + "".join(f" M = {m} |" for m in batches))
    print("|---|---|--:|--:|" + "--:|" * len(batches))
    for family in FAMILIES:
        kinds = []
        for p in products:
            if p["family"] == family and (p["library"], p["kind"]) not in kinds:
                kinds.append((p["library"], p["kind"]))
        if kinds:
            print(f"| **{family}** |" + " |" * (3 + len(batches)))
        for library, kind in kinds:
            of = {(p["m"], p["threads"]): p for p in products if (p["library"], p["kind"]) == (library, kind)}
            any_of = next(iter(of.values()))
            cells = []
            for m in batches:
                times = [f"{of[m, t]['microseconds']:.0f}" if (m, t) in of else "" for t in threads]
                cells.append(" / ".join(times))
            print(f"| {library} | `{kind}` | {any_of['bits']:.2f} | {any_of['error']:.4f} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", nargs="+", help="what bench_peers --json wrote")
    parser.add_argument("--svg", help="file to draw to")
    parser.add_argument("-m", default="1,4,16,128,512", help="columns of the table")
    parser.add_argument("--drawn-threads", help="numbers of threads to draw (all): one whose peaks others disturbed is better left out")
    options = parser.parse_args()
    products = []
    for path in options.json:
        with open(path, encoding="utf-8") as file:
            products += json.load(file)["products"]
    if len({(p["n"], p["k"]) for p in products}) != 1:
        sys.exit("expected results of one shape")
    table(products, [m for m in map(int, options.m.split(",")) if any(p["m"] == m for p in products)])
    if options.svg:
        drawn = options.drawn_threads
        draw([p for p in products if not drawn or str(p["threads"]) in drawn.split(",")], options.svg)


if __name__ == "__main__":
    main()
