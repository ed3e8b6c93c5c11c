#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads `llvm-cov export` and fails below 100 % of lines, branches and MC/DC.

A line that no test can reach says so in place: /* coverage: REASON */ on it excludes the line and
the branches and decisions that begin on it. A condition counts when one pair of tests shows that it
alone changes the outcome of its decision.

Usage: coverage.py EXPORT.json
"""

import collections
import json
import os
import re
import sys

MARK = re.compile(r"/\* coverage: (\S.*?) \*/")
LINE, COLUMN, COUNT, HAS_COUNT, IS_ENTRY, IS_GAP = range(6)


def line_counts(segments):
    """Line -> executions, as llvm-cov shows them: the largest of the regions on the line."""
    by_line = collections.defaultdict(list)
    for segment in segments:
        by_line[segment[LINE]].append(segment)
    counts, wrapped = {}, None
    for line in range(min(by_line, default=1), max(by_line, default=0) + 1):
        here = by_line.get(line, [])
        starts = [s for s in here if s[IS_ENTRY] and s[HAS_COUNT] and not s[IS_GAP]]
        skipped = here and here[0][IS_ENTRY] and not here[0][HAS_COUNT]
        if not skipped and (starts or (wrapped and wrapped[HAS_COUNT])):
            inherited = [wrapped[COUNT]] if wrapped and wrapped[HAS_COUNT] else []
            counts[line] = max(inherited + [s[COUNT] for s in starts])
        wrapped = here[-1] if here else wrapped
    return counts


def branch_counts(branches):
    """(line, column, outcome) -> executions, over all places that a header is compiled in."""
    counts = collections.Counter()
    for line, column, _, _, when_true, when_false, *_ in branches:
        counts[line, column, "true"] += when_true
        counts[line, column, "false"] += when_false
    return counts


def condition_counts(records):
    """(line, column, condition) -> whether its independence was shown anywhere."""
    shown = collections.defaultdict(bool)
    for record in records:
        for k, covered in enumerate(record[-1]):
            shown[record[0], record[1], k] |= bool(covered)
    return shown


class File:
    def __init__(self, entry):
        self.path = os.path.relpath(entry["filename"])
        with open(entry["filename"], encoding="utf-8") as file:
            text = file.read().splitlines()
        self.excluded = {n for n, line in enumerate(text, 1) if MARK.search(line)}
        self.lines = self.kept(line_counts(entry["segments"]), lambda key: key)
        self.branches = self.kept(branch_counts(entry.get("branches", [])), lambda key: key[0])
        self.conditions = self.kept(condition_counts(entry.get("mcdc_records", [])), lambda key: key[0])

    def kept(self, counts, line_of):
        return {key: n for key, n in counts.items() if line_of(key) not in self.excluded}

    def missing(self):
        for line in sorted(n for n, count in self.lines.items() if count == 0):
            yield f"{self.path}:{line}: never executed"
        for (line, column, outcome), count in sorted(self.branches.items()):
            if count == 0:
                yield f"{self.path}:{line}:{column}: never {outcome}"
        for (line, column, number), shown in sorted(self.conditions.items()):
            if not shown:
                yield f"{self.path}:{line}:{column}: condition {number + 1} never decides alone"

    def shares(self):
        for counts in (self.lines, self.branches, self.conditions):
            yield sum(1 for count in counts.values() if count), len(counts)


def cell(covered, total):
    share = f"{100 * covered / total:6.2f} %" if total else "     -  "
    return f"{share} {covered:5}/{total:<5}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        files = [File(entry) for entry in json.load(file)["data"][0]["files"]]
    totals = [[0, 0] for _ in range(3)]
    print(f"{'file':44} {'lines':21} {'branches':21} {'MC/DC':21} excluded")
    for file in sorted(files, key=lambda f: f.path):
        shares = list(file.shares())
        for total, share in zip(totals, shares):
            total[0] += share[0]
            total[1] += share[1]
        cells = " ".join(f"{cell(*share):21}" for share in shares)
        print(f"{file.path:44} {cells} {len(file.excluded)}")
    cells = " ".join(f"{cell(*total):21}" for total in totals)
    print(f"{'all':44} {cells} {sum(len(f.excluded) for f in files)}")
    missing = [text for file in files for text in file.missing()]
    for text in missing:
        print(text)
    if not files or totals[0][1] == 0:
        sys.exit("coverage.py: the export names no files")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
