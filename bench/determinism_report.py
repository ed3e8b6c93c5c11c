#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How deterministic a series of execution times is: variation, number of modes, histogram.

    determinism_report.py [OPTION...] FILE.json...

A file holds {"name": .., "samples_ns": [..]} or {"series": [such objects]}; a member "resolution_ns" tells the step of
the clock when it is coarse. Prints one JSON object; with --svg also draws a histogram of each series.

The number of modes is judged by the dip test: the dip of a sample is the largest distance between its distribution and
the unimodal distribution nearest to it. (J. A. Hartigan, P. M. Hartigan: The dip test of unimodality. Annals of
Statistics 13, 1985; the steps are those of P. M. Hartigan, Applied Statistics 34, 1985, algorithm AS 217.) The p-value
is the share of uniform samples of the same size with a dip at least as large, the uniform being the least favourable
unimodal distribution: from 2,000 samples of a seeded generator. Below 0.05 the series has more than one mode.
"""

import argparse
import bisect
import html
import json
import math
import random
import sys

SEED = 20261128
DRAWS = 2000


# ---- the dip ----


def convex_minorant(x, first, last):
    """Positions of the vertices of the greatest convex function below the points (x[i], i), ascending."""
    hull = []
    for i in range(first, last + 1):
        while len(hull) >= 2 and slope_order(x, hull[-2], hull[-1], i) >= 0:
            hull.pop()
        hull.append(i)
    return hull


def concave_majorant(x, first, last):
    """The same for the least concave function above them."""
    hull = []
    for i in range(first, last + 1):
        while len(hull) >= 2 and slope_order(x, hull[-2], hull[-1], i) <= 0:
            hull.pop()
        hull.append(i)
    return hull


def slope_order(x, a, b, c):
    """Positive when the slope from a to b is larger than that from b to c."""
    return (b - a) * (x[c] - x[b]) - (c - b) * (x[b] - x[a])


def line(x, a, b, at):
    """Height at x[at] of the line through (x[a], a) and (x[b], b)."""
    return a if x[b] == x[a] else a + (b - a) * (x[at] - x[a]) / (x[b] - x[a])


def height(x, hull, at):
    """Height of a hull at x[at], for a position between its ends."""
    k = min(max(bisect.bisect_right(hull, at) - 1, 0), len(hull) - 2)
    return line(x, hull[k], hull[k + 1], at)


def widest_gap(x, minorant, majorant):
    """The largest distance between the two hulls, and the interval in which the next round looks. Steps of the
    distribution have height 1: its upper corners lie 1 above the lower ones."""
    best, low, high = 0.0, minorant[0], majorant[-1]
    for k, at in enumerate(minorant):
        gap = height(x, majorant, at) - at + 1
        if gap > best:
            after = bisect.bisect_left(majorant, at)
            best, low, high = gap, minorant[k], majorant[after]
    for k, at in enumerate(majorant):
        gap = at - height(x, minorant, at) + 1
        if gap > best:
            before = bisect.bisect_right(minorant, at) - 1
            best, low, high = gap, minorant[before], majorant[k]
    return best, low, high


def distance_to_minorant(x, hull, last):
    """Between the upper corners and the convex hull, left of `last`."""
    most = 1.0
    for a, b in zip(hull, hull[1:]):
        if b > last:
            break
        if x[a] == x[b]:
            continue  # a jump of the distribution is one of the hull
        for at in range(a, b + 1):
            most = max(most, at - line(x, a, b, at) + 1)
    return most


def distance_to_majorant(x, hull, first):
    """Between the lower corners and the concave hull, right of `first`."""
    most = 1.0
    for a, b in zip(hull, hull[1:]):
        if a < first or x[a] == x[b]:
            continue
        for at in range(a, b + 1):
            most = max(most, line(x, a, b, at) - at + 1)
    return most


def dip(samples):
    """The dip of a sample, between 1/(2n) and 1/4."""
    x = sorted(samples)
    n = len(x)
    if n < 2 or x[0] == x[-1]:
        return 1 / (2 * n)
    first, last, most = 0, n - 1, 1.0
    while True:
        minorant, majorant = convex_minorant(x, first, last), concave_majorant(x, first, last)
        gap, low, high = widest_gap(x, minorant, majorant)
        if gap <= most:
            break
        most = max(most, distance_to_minorant(x, minorant, low), distance_to_majorant(x, majorant, high))
        if (low, high) == (first, last) or low >= high:
            break
        first, last = low, high
    return most / (2 * n)


def dip_p_value(found, count, draws=DRAWS, seed=SEED):
    generator = random.Random(seed)
    larger = sum(dip([generator.random() for _ in range(count)]) >= found for _ in range(draws))
    return (larger + 1) / (draws + 1)


# ---- one series ----


def percentile(ordered, fraction):
    """Nearest rank."""
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def describe(series, draws):
    samples = [float(value) for value in series["samples_ns"]]
    if len(samples) < 10:
        sys.exit(f"determinism_report.py: error: '{series['name']}' has {len(samples)} samples\n"
                 "determinism_report.py: cure: at least 10, better 1,000")
    ordered = sorted(samples)
    mean = sum(samples) / len(samples)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in samples) / (len(samples) - 1))
    # Steps of a coarse clock would look like modes: each sample lies anywhere within its step.
    step = float(series.get("resolution_ns", 0))
    generator = random.Random(SEED + 1)
    spread = [value + (generator.random() - 0.5) * step for value in samples] if step > 0 else samples
    found = dip(spread)
    p = dip_p_value(found, len(samples), draws)
    return {"name": series["name"], "samples": len(samples), "mean_ns": mean, "median_ns": percentile(ordered, 0.5),
            "p99_ns": percentile(ordered, 0.99), "p999_ns": percentile(ordered, 0.999), "max_ns": ordered[-1],
            "min_ns": ordered[0], "cv": deviation / mean, "dip": found, "dip_p": p, "one_mode": p >= 0.05}


# ---- the picture ----

WIDTH, PANEL, LEFT, BINS = 860, 190, 60, 90


def panel(series, figures, top):
    """One histogram over the range without the outermost tenth of a percent, which a note counts."""
    ordered = sorted(series["samples_ns"])
    low, high = ordered[0], percentile(ordered, 0.999)
    width = max(high - low, 1)
    counts = [0] * BINS
    beyond = 0
    for value in ordered:
        if value > high:
            beyond += 1
        else:
            counts[min(BINS - 1, int((value - low) * BINS / width))] += 1
    step, most = (WIDTH - LEFT - 20) / BINS, max(counts)
    base = top + PANEL - 40
    parts = [f'<text x="{LEFT}" y="{top + 18}" class="t">{html.escape(series["name"])}</text>',
             f'<text x="{LEFT}" y="{top + 34}">{figures["samples"]} runs, median {figures["median_ns"] / 1e3:.1f} us, '
             f'CV {100 * figures["cv"]:.2f} %, dip {figures["dip"]:.4f} (p = {figures["dip_p"]:.3f}): '
             f'{"one mode" if figures["one_mode"] else "more than one mode"}'
             f'{f"; {beyond} runs beyond the right end, at most {ordered[-1] / 1e3:.1f} us" if beyond else ""}</text>']
    for i, count in enumerate(counts):
        tall = 0 if most == 0 else count * (PANEL - 90) / most
        parts.append(f'<rect x="{LEFT + i * step:.1f}" y="{base - tall:.1f}" width="{step - 0.6:.1f}" '
                     f'height="{tall:.1f}"/>')
    parts.append(f'<path d="M{LEFT} {base}H{WIDTH - 20}"/>')
    for k in range(5):
        at = LEFT + k * (WIDTH - LEFT - 20) / 4
        parts.append(f'<text x="{at:.0f}" y="{base + 16}" text-anchor="middle">'
                     f'{(low + k * width / 4) / 1e3:.1f} us</text>')
    parts.append(f'<text x="{LEFT - 6}" y="{base - PANEL + 100}" text-anchor="end">{most}</text>')
    return "\n".join(parts)


def draw(all_series, all_figures):
    panels = [panel(s, f, i * PANEL) for i, (s, f) in enumerate(zip(all_series, all_figures))]
    tall = PANEL * len(panels) + 10
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{tall}" viewBox="0 0 {WIDTH} {tall}">\n'
            "<style>text{font:12px sans-serif;fill:#333}.t{font-weight:bold}rect{fill:#3b6ea5}"
            "path{stroke:#333;fill:none}</style>\n"
            f'<rect width="{WIDTH}" height="{tall}" style="fill:#fff"/>\n' + "\n".join(panels) + "\n</svg>\n")


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"determinism_report.py: error: {path}: {error}")
    found = content.get("series", [content]) if isinstance(content, dict) else []
    for one in found:
        if not isinstance(one, dict) or "name" not in one or not isinstance(one.get("samples_ns"), list):
            sys.exit(f'determinism_report.py: error: {path}: expected "name" and "samples_ns"')
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--svg", help="draw the histograms into this file")
    parser.add_argument("--draws", type=int, default=DRAWS, help="uniform samples behind a p-value (2000)")
    parser.add_argument("--max-cv", type=float, help="exit with 1 when a series varies more (0.01: 1 %%)")
    parser.add_argument("--one-mode", action="store_true", help="exit with 1 when a series has more than one mode")
    given = parser.parse_args()
    all_series = [series for path in given.files for series in read(path)]
    figures = [describe(series, given.draws) for series in all_series]
    print(json.dumps({"schema_version": 1, "series": figures}, indent=2))
    if given.svg:
        with open(given.svg, "w", encoding="utf-8") as file:
            file.write(draw(all_series, figures))
    bad = [one["name"] for one in figures if (given.max_cv is not None and one["cv"] > given.max_cv) or
           (given.one_mode and not one["one_mode"])]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
