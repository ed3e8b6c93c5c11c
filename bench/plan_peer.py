#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The planner and MiniMalloc on the same lists of buffers, in turns.

    plan_peer.py AEGISRT MINIMALLOC FILE.csv... [--capacity BYTES] [--timeout SECONDS]
                 [--rounds N] [--budget SECONDS] [--threads N]

AEGISRT is bin/aegisrt, MINIMALLOC the program that github.com/google/minimalloc builds. Each file
(id,lower,upper,size) is to fit in --capacity (1048576) by both, one after the other, who is first
changing from round to round; each run is a process of its own and its whole time counts. Neither
gets more than --timeout (8 s) for a file; no pair is begun when it could end after --budget (95 s).
Every plan of either side is checked here. Prints JSON; exit 1 when a plan is wrong, or when ours was
slower than the peer's on a file that the peer solved.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time


def load(path):
    with open(path, newline="", encoding="utf-8") as file:
        return {row["id"]: (int(row["lower"]), int(row["upper"]), int(row["size"]))
                for row in csv.DictReader(file)}


def is_right(buffers, offsets, capacity):
    """Every buffer has a place within the capacity, and what lives together is apart."""
    if set(offsets) != set(buffers):
        return False
    placed = [(offsets[i], size, lower, upper) for i, (lower, upper, size) in buffers.items()]
    if any(at < 0 or at + size > capacity for at, size, _, _ in placed):
        return False
    placed.sort()
    for k, (at, size, lower, upper) in enumerate(placed):
        for other, _, other_lower, other_upper in placed[k + 1:]:
            if other >= at + size:
                break
            if other_lower < upper and lower < other_upper:
                return False
    return True


def timed(arguments, seconds):
    start = time.monotonic()
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False,
                              timeout=seconds + 5)
        out = done.stdout
    except subprocess.TimeoutExpired:
        out = ""
    return out, time.monotonic() - start


def ours(options, path):
    out, seconds = timed([options.aegisrt, "plan", "--json", "--capacity", str(options.capacity),
                          "--threads", str(options.threads), "--timeout", f"{options.timeout}s",
                          path], options.timeout)
    result = json.loads(out)
    return result["offsets"] if result["feasible"] else None, seconds


def peer(options, path):
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "out.csv")
        _, seconds = timed([options.minimalloc, f"--capacity={options.capacity}",
                            f"--input={path}", f"--output={output}",
                            f"--timeout={options.timeout}s"], options.timeout)
        try:
            with open(output, newline="", encoding="utf-8") as file:
                offsets = {row["id"]: int(row["offset"]) for row in csv.DictReader(file)}
        except (OSError, KeyError, ValueError):
            offsets = None
    return offsets or None, seconds


def measure(options, paths):
    sides = {"aegisrt": ours, "minimalloc": peer}
    rows = {path: {side: {"seconds": [], "solved": 0, "wrong": 0} for side in sides}
            for path in paths}
    start, skipped = time.monotonic(), []
    for number in range(options.rounds):
        for path in paths:
            if time.monotonic() - start + 2 * options.timeout > options.budget:
                skipped.append([number, os.path.basename(path)])
                continue
            buffers = load(path)
            order = list(sides.items())
            for side, solve in order if number % 2 == 0 else reversed(order):
                offsets, seconds = solve(options, path)
                row = rows[path][side]
                row["seconds"].append(round(seconds, 4))
                row["solved"] += offsets is not None
                row["wrong"] += offsets is not None and not is_right(buffers, offsets,
                                                                     options.capacity)
    return rows, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("aegisrt")
    parser.add_argument("minimalloc")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--capacity", type=int, default=1 << 20)
    parser.add_argument("--timeout", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--budget", type=float, default=95)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rows, skipped = measure(options, sorted(options.files))
    results, bad = [], 0
    totals = {"aegisrt": 0.0, "minimalloc": 0.0}
    for path, row in rows.items():
        if not row["aegisrt"]["seconds"]:
            continue
        one = {"name": os.path.basename(path), "buffers": len(load(path))}
        for side, got in row.items():
            runs = len(got["seconds"])
            one[side] = {"median_seconds": round(statistics.median(got["seconds"]), 4),
                         "seconds": got["seconds"], "solved": got["solved"] == runs,
                         "solved_runs": got["solved"], "wrong": got["wrong"]}
            totals[side] += one[side]["median_seconds"]
        one["no_slower"] = not one["minimalloc"]["solved"] or (
            one["aegisrt"]["solved"] and
            one["aegisrt"]["median_seconds"] <= one["minimalloc"]["median_seconds"])
        bad += not one["no_slower"] or one["aegisrt"]["wrong"] or one["minimalloc"]["wrong"]
        results.append(one)
    print(json.dumps({
        "schema_version": 1, "bench": "plan_peer", "machine": platform.processor() or
        platform.machine(), "load_average": os.getloadavg()[0], "capacity": options.capacity,
        "timeout_s": options.timeout, "rounds": options.rounds, "threads": options.threads,
        "total_seconds": {side: round(total, 3) for side, total in totals.items()},
        "all_solved": {side: all(r[side]["solved"] for r in results) for side in totals},
        "left_out": skipped, "results": results}, indent=1))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
