#!/usr/bin/env python3
"""examples/llm beside llama.cpp: the same GGUF file, the same threads, in turns; medians.

  engines.py --llm build/demo/examples/llm/llm --llama-bench <build of llama.cpp>/bin/llama-bench --json engines.json \\
             int4:offset=SmolLM2-135M-Instruct.Q4_1.gguf int8:g32=SmolLM2-135M-Instruct.Q8_0.gguf

Each argument names a precision of examples/llm and the file. int4:offset holds exactly what Q4_1 does, int8:g32 what Q8_0
does. Decoding starts after 64 tokens in both programs.
"""
import argparse
import json
import re
import statistics
import subprocess


def qlite(options, precision, model, threads):
    out = subprocess.run(
        [options.llm, "compare", "--model", model, "--precision", precision, "--threads", str(threads), "--rounds", "1"]
        + ["--prompt-tokens", str(options.prompt), "--decode-tokens", str(options.decode)],
        check=True, capture_output=True, text=True,
    ).stdout
    for line in out.splitlines():
        cells = [c.strip() for c in re.split(r"\||\s{2,}", line.strip("| "))]
        if len(cells) > 4 and cells[0].split()[0] == precision:
            return [float(c.split()[0]) for c in cells[3:5]]
    raise SystemExit(f"no row for {precision} in the output of {options.llm}:\n{out}")


def llama(options, model, threads):
    def speed(*arguments):
        out = subprocess.run(
            # a core for each thread: some systems would leave both on one
            [options.llama_bench, "-m", model, "-t", str(threads), "-C", hex((1 << threads) - 1), "--cpu-strict", "1"]
            + ["-r", "1", "-o", "json", *arguments],
            check=True, capture_output=True, text=True,
        ).stdout
        return json.loads(out)[-1]["avg_ts"]

    return [speed("-p", str(options.prompt), "-n", "0"), speed("-p", "0", "-n", str(options.decode), "-d", "64")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="PRECISION=FILE")
    parser.add_argument("--llm", required=True)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("--decode", type=int, default=64, help="tokens decoded")
    parser.add_argument("--json")
    options = parser.parse_args()
    rows = []
    print("| model | threads | prompt tok/s: qlite | llama.cpp | ratio | decode tok/s: qlite | llama.cpp | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for entry in options.models:
        precision, model = entry.split("=", 1)
        for threads in map(int, options.threads.split(",")):
            runs = [(qlite(options, precision, model, threads), llama(options, model, threads)) for _ in range(options.rounds)]
            own, other = ([statistics.median(r[who][i] for r in runs) for i in (0, 1)] for who in (0, 1))
            ratios = [statistics.median(r[0][i] / r[1][i] for r in runs) for i in (0, 1)]
            name = model.rsplit("/", 1)[-1]
            print(f"| {name}, {precision} | {threads} |" + "".join(f" {own[i]:.0f} | {other[i]:.0f} | {ratios[i]:.2f} |" for i in (0, 1)), flush=True)
            rows.append({"model": name, "precision": precision, "threads": threads, "qlite": own, "llama.cpp": other, "ratio": ratios})
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"prompt_tokens": options.prompt, "decode_tokens": options.decode, "results": rows}, file, indent=1)


if __name__ == "__main__":
    main()
