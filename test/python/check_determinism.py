#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The dip test of bench/determinism_report.py against cases whose answer is known.

By definition: evenly spaced values have the least dip, 1/(2n); two far heaps of equal size the largest, which goes to
1/4; the dip does not change under a map x -> a x + b, nor when the sample is turned around. By distribution: p-values
of uniform samples are uniform; samples with two modes have small ones. By an oracle that shares nothing with the
algorithm: for small samples, the least d for which a unimodal distribution lies within d of the sample's, by bisection
over d with a linear check of every place of the mode.
"""

import json
import os
import random
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))
sys.dont_write_bytecode = True
import determinism_report as report  # noqa: E402


def check(good, what):
    if not good:
        sys.exit(f"not true: {what}")


def near(a, b, tolerance=1e-9):
    return abs(a - b) <= tolerance


# ---- the oracle ----


def convex_fits(x, lower, upper):
    """Whether a convex non-decreasing function lies within the band at the points, and the least height that one can
    have at the last of them: the band's lower bounds push up, the largest convex function below the upper bounds
    limits."""
    n = len(x)
    best = [min([upper[i]] + [upper[a] + (upper[b] - upper[a]) * (x[i] - x[a]) / (x[b] - x[a])
                              for a in range(i) for b in range(i + 1, n)]) for i in range(n)]
    return all(best[i] >= lower[i] - 1e-12 for i in range(n))


def within(x, d):
    """Whether a unimodal distribution lies within d of the sample's, distinct values: convex up to a mode and concave
    behind it, with the mode at a data point (where it may jump)."""
    n = len(x)
    for mode in range(n):
        left = range(mode + 1)
        # Left of the mode the limits from the left and the values at the points: corners i/n and (i+1)/n.
        rising = convex_fits([x[i] for i in left], [(i + 1) / n - d if i < mode else i / n - d for i in left],
                             [i / n + d for i in left])
        right = range(n - 1, mode - 1, -1)
        falling = convex_fits([-x[i] for i in right], [1 - i / n - d if i > mode else 1 - (i + 1) / n - d for i in right],
                              [1 - (i + 1) / n + d for i in right])
        if rising and falling:
            return True
    return False


def oracle(values):
    x = sorted(values)
    low, high = 0.0, 0.5
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if within(x, middle) else (middle, high)
    return high


# ---- the checks ----


def known_values():
    for n in (2, 5, 20, 101):
        check(near(report.dip(range(n)), 1 / (2 * n)), f"evenly spaced {n}")
    check(near(report.dip([3.0] * 10), 0.05), "all equal")
    heaps = [i * 1e-9 for i in range(500)] + [1 + i * 1e-9 for i in range(500)]
    check(0.249 < report.dip(heaps) <= 0.25, "two heaps")


def invariances(generator):
    for _ in range(50):
        x = [generator.gauss(generator.choice((-1, 1)), 0.5) for _ in range(80)]
        found = report.dip(x)
        check(near(report.dip([5 * value - 3 for value in x]), found), "scaled")
        check(near(report.dip([-value for value in x]), found), "turned around")
        check(1 / 160 <= found <= 0.25, "range")


def against_the_oracle(generator):
    for _ in range(60):
        n = generator.randint(4, 12)
        kind = generator.randrange(3)
        x = [generator.random() if kind == 0 else generator.gauss(0, 1) if kind == 1
             else generator.gauss(generator.choice((-2, 2)), 0.6) for _ in range(n)]
        check(near(report.dip(x), oracle(x), 1e-6), f"oracle on {sorted(x)}: {report.dip(x)} and {oracle(x)}")


def p_values(generator):
    reference = sorted(report.dip([generator.random() for _ in range(100)]) for _ in range(400))
    share = sum(report.dip_p_value(reference[k], 100, draws=200) <= (400 - k) / 400 + 0.12 for k in range(5, 400, 40))
    check(share == 10, "p-values of uniform samples")
    two = [generator.gauss(generator.choice((0, 6)), 1) for _ in range(300)]
    check(report.dip_p_value(report.dip(two), 300, draws=200) < 0.01, "two modes are found")
    one = [generator.gauss(0, 1) for _ in range(300)]
    check(report.dip_p_value(report.dip(one), 300, draws=200) > 0.2, "one mode is let be")


def the_program(generator):
    """From files to JSON and picture, and its exit codes."""
    with tempfile.TemporaryDirectory() as folder:
        path, svg = os.path.join(folder, "in.json"), os.path.join(folder, "out.svg")
        narrow = {"name": "narrow", "samples_ns": [round(1e6 + generator.gauss(0, 2000)) for _ in range(200)]}
        heaps = {"name": "two <heaps>", "samples_ns": [round(generator.choice((1e6, 2e6)) + generator.gauss(0, 9e3))
                                                       for _ in range(200)]}
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"series": [narrow, heaps]}, file)
        command = [sys.executable, "-B", os.path.join(ROOT, "bench", "determinism_report.py"), path, "--draws", "200"]
        run = subprocess.run([*command, "--svg", svg], capture_output=True, text=True, check=True)
        first, second = json.loads(run.stdout)["series"]
        check(first["one_mode"] and first["cv"] < 0.003, "narrow")
        check(not second["one_mode"] and second["cv"] > 0.3, "two heaps")
        with open(svg, encoding="utf-8") as file:
            picture = file.read()
        check("two &lt;heaps&gt;" in picture and picture.count("<text") > 10, "picture")
        check(subprocess.run([*command, "--max-cv", "0.01"], capture_output=True, check=False).returncode == 1, "--max-cv")
        check(subprocess.run([*command, "--one-mode"], capture_output=True, check=False).returncode == 1, "--one-mode")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(narrow, file)
        check(subprocess.run([*command, "--max-cv", "0.01", "--one-mode"], capture_output=True,
                             check=False).returncode == 0, "good series")


def main():
    generator = random.Random(7)
    known_values()
    invariances(generator)
    against_the_oracle(generator)
    p_values(generator)
    the_program(generator)
    print("ok")


if __name__ == "__main__":
    main()
