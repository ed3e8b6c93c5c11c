#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what bench_acceptance printed and writes its table into docs/admission.md.

Usage: plot_acceptance.py RESULT.json
"""

import collections
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PICTURE = os.path.join(ROOT, "docs", "pictures", "acceptance.svg")
PAGE = os.path.join(ROOT, "docs", "admission.md")
BEGIN, END = "<!-- acceptance: begin -->", "<!-- acceptance: end -->"

# name in the result, words, colour, dashes
LINES = [
    ("edf", "preemptive EDF", "#888888", "2 3"),
    ("fp-dm", "preemptive FP, DM", "#888888", "6 3"),
    ("np-edf-4", "np-edf, 4 segments", "#1b7837", "6 3"),
    ("fpp-4-opa", "fpp, 4 segments, Audsley", "#762a83", "6 3"),
    ("np-edf", "np-edf, exact", "#1b7837", ""),
    ("np-fp-opa", "np-fp, Audsley", "#762a83", ""),
    ("np-fp-dm", "np-fp, DM", "#af8dc3", ""),
    ("np-fp-rm", "np-fp, RM", "#d6604d", "3 2"),
    ("density", "density bound", "#2166ac", "2 2"),
    ("hyperbolic", "hyperbolic bound", "#67a9cf", ""),
    ("liu-layland", "Liu & Layland bound", "#92c5de", "4 2"),
    ("fifo", "fifo", "#b2182b", ""),
]
TITLES = {"implicit": "D = T", "constrained": "D from T/2 to T"}
WIDTH, HEIGHT, LEFT, TOP = 380, 300, 50, 40


def read(path):
    """deadlines -> name -> [(utilisation, share)]"""
    series = collections.defaultdict(lambda: collections.defaultdict(list))
    with open(path, encoding="utf-8") as file:
        for result in json.load(file)["results"]:
            deadlines, utilisation, name = result["name"].split("/")
            series[deadlines][name].append((float(utilisation), result["value"]))
    return series


def panel(lines, title, left):
    first, last = 0.3, 1.0
    at = lambda u, y: (left + (u - first) / (last - first) * WIDTH, TOP + (1 - y) * HEIGHT)
    out = [f'<text x="{left + WIDTH / 2}" y="{TOP - 14}" text-anchor="middle">{title}</text>',
           f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#444"/>']
    for k in range(3, 11):
        x, y = at(k / 10, 0)
        out.append(f'<text x="{x:.0f}" y="{y + 16:.0f}" text-anchor="middle">{k / 10:.1f}</text>')
    for k in range(0, 11, 2):
        x, y = at(first, k / 10)
        out.append(f'<path d="M{x} {y:.1f}h{WIDTH}" stroke="#ddd"/>')
        out.append(f'<text x="{x - 6}" y="{y + 4:.0f}" text-anchor="end">{k / 10:.1f}</text>')
    for name, _, colour, dashes in LINES:
        points = " ".join("{:.1f},{:.1f}".format(*at(u, y)) for u, y in lines[name])
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" '
                   f'stroke-dasharray="{dashes}"/>')
    out.append(f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 34}" text-anchor="middle">utilisation</text>')
    return out


def picture(series):
    second = LEFT + WIDTH + 50
    legend = second + WIDTH + 20
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{legend + 200}" height="{TOP + HEIGHT + 48}" '
           'font-family="sans-serif" font-size="12">',
           "<title>Share of random task sets that each test accepts</title>",
           '<rect width="100%" height="100%" fill="white"/>']
    out += panel(series["implicit"], TITLES["implicit"], LEFT)
    out += panel(series["constrained"], TITLES["constrained"], second)
    for k, (_, words, colour, dashes) in enumerate(LINES):
        y = TOP + 10 + 20 * k
        out.append(f'<path d="M{legend} {y}h28" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>')
        out.append(f'<text x="{legend + 34}" y="{y + 4}">{words.replace("&", "&amp;")}</text>')
    return "\n".join(out + ["</svg>", ""])


def table(series):
    out = []
    for deadlines, lines in series.items():
        columns = [u for u, _ in lines["edf"] if round(u * 100) % 10 == 0]
        out += [f"| {TITLES[deadlines]} | " + " | ".join(f"{u:.1f}" for u in columns) + " |",
                "|---|" + "--:|" * len(columns)]
        for name, words, _, _ in LINES:
            shares = dict(lines[name])
            out.append(f"| {words} | " + " | ".join(f"{100 * shares[u]:.1f}" for u in columns) + " |")
        out.append("")
    return "\n".join(out)


def main():
    series = read(sys.argv[1])
    os.makedirs(os.path.dirname(PICTURE), exist_ok=True)
    with open(PICTURE, "w", encoding="utf-8") as file:
        file.write(picture(series))
    with open(PAGE, encoding="utf-8") as file:
        before, rest = file.read().split(BEGIN)
        after = rest.split(END)[1]
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{table(series)}{END}{after}")


if __name__ == "__main__":
    main()
