#!/usr/bin/env python3
"""Prints what examples/compare --json wrote as a Markdown table, and draws it.

  plot.py figures.json                                          the table
  plot.py a.json b.json [...] --svg docs/accuracy.svg           needs matplotlib (Debian: python3-matplotlib)

One panel for each file: what each method loses, the change of perplexity with its standard error beside the divergence from
the float model. `closed` is the share of the loss of int4 rounded to nearest, in perplexity and in divergence.
"""
import argparse
import json


def load(path):
    with open(path, encoding="utf-8") as file:
        figures = json.load(file)
    candidates = {c["name"]: c for c in figures["candidates"]}
    plain = [c for name, c in candidates.items() if is_plain(name)]
    return figures, candidates, plain[0] if plain else None


def parts(name):
    """What follows the precision, without the size of the groups."""
    return [p for p in name.split(":")[1:] if not (p[0] == "g" and p[1:].isdigit())]


def is_plain(name):
    return name.startswith("int4") and parts(name) in ([], ["rtn"])


def change(c, reference):
    return c["perplexity"] / reference["perplexity"] - 1


def table(path):
    figures, candidates, plain = load(path)
    reference = candidates["fp32"]
    print(f"{figures['model']}: {figures['calibrated_tokens']} tokens to calibrate, {figures['measured_tokens']} to measure, "
          f"float32 {reference['perplexity']:.3f}\n")
    print("| | bits | perplexity | KL, nats | top-1 | closed: perplexity | KL |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, c in candidates.items():
        if name == "fp32":
            continue
        closed = "| |"
        if plain and name not in ("bf16",) and not name.startswith("int8"):
            closed = f"| {100 * (1 - change(c, reference) / change(plain, reference)):.0f} % " \
                     f"| {100 * (1 - c['kl_divergence'] / plain['kl_divergence']):.0f} % |"
        error = 100 * c["perplexity_change_standard_error"]
        print(f"| {name} | {c['bits_per_weight']:.2f} | {100 * change(c, reference):+.2f} ± {error:.2f} % "
              f"| {c['kl_divergence']:.4f} | {100 * c['top1_agreement']:.1f} % {closed}")
    print()


def draw(paths, svg):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "qlite", "font.size": 9, "svg.fonttype": "none"})
    figure, axes = plt.subplots(1, len(paths), figsize=(4.6 * len(paths), 4.4), squeeze=False)
    for axis, path in zip(axes[0], paths):
        figures, candidates, _ = load(path)
        reference = candidates["fp32"]
        shown = [n for n in candidates if n.startswith("int4")][::-1]
        labels = [" ".join(parts(n)) or "rtn" for n in shown]
        labels = [text + " rtn" if text == "nl4" else text for text in labels]
        colors = ["#c1272d" if "qep" in n else "#0060a8" if "gptq" in n else "#999999" for n in shown]
        places = range(len(shown))
        axis.barh(places, [100 * change(candidates[n], reference) for n in shown], color=colors, height=0.62,
                  xerr=[100 * candidates[n]["perplexity_change_standard_error"] for n in shown],
                  error_kw={"elinewidth": 0.8, "ecolor": "#333333"})
        axis.set_yticks(places, labels)
        axis.set_xlabel("perplexity, % above float32")
        group = next((p for p in shown[0].split(":") if p[0] == "g" and p[1:].isdigit()), "g32")
        axis.set_title(f"{figures['model']}, groups of {group[1:]}", fontsize=9)
        axis.grid(True, axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        divergence = axis.twiny()
        divergence.plot([candidates[n]["kl_divergence"] for n in shown], places, "k|", markersize=9, markeredgewidth=1.6)
        divergence.set_xlim(left=0)
        divergence.set_xlabel("divergence from float32, nats (strokes)", fontsize=8)
    figure.tight_layout()
    figure.savefig(svg, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", nargs="+", help="what compare --json wrote")
    parser.add_argument("--svg", help="file to draw to")
    options = parser.parse_args()
    for path in options.json:
        table(path)
    if options.svg:
        draw(options.json, options.svg)


if __name__ == "__main__":
    main()
