#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the GPU tests under compute-sanitizer: each case in a process of its own, several at once, on all GPUs in turn.

Called by gpu-run.sh with its table of programs. What is instrumented, left out or known of other people's kernels
stands in gpu-sanitize.txt beside this file. Writes a log for each case and sanitize-gpu.json, where every case has its
result; all but `passed` and `skipped` fail, also `unfinished` (did not end within its limit), `unchecked` (the tool
gave no summary) and `not begun` (--within ran out).
"""

import argparse
import collections
import concurrent.futures
import datetime
import fnmatch
import json
import os
import queue
import re
import signal
import subprocess
import sys
import time

PLAN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gpu-sanitize.txt")
WORDS = {"seconds": 4, "kernels": 4, "own": 2, "leave": 3, "foreign": 4, "unseen": 4}
FOUND = 99
SKIPPED = 77
# More than this is not printed, and what was not printed is not known.
MOST_PRINTED = 100000
GOOD = ("passed", "skipped")

Row = collections.namedtuple("Row", "name how environment command")
Run = collections.namedtuple("Run", "row case tool kernels seconds foreign unseen")


def die(message, cure):
    sys.exit(f"gpu_sanitize.py: error: {message}\ngpu_sanitize.py: cure: {cure}")


# ---- what to run ----


class Plan:
    """The lines of gpu-sanitize.txt."""

    def __init__(self, path):
        self.lines = []
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.startswith("#") or not line.strip():
                    continue
                text, _, reason = line.partition(" -- ")
                fields = text.split()
                if WORDS.get(fields[0]) != len(fields):
                    die(f"{path}:{number}: '{line.strip()}' is no line of this file", "see the comment at its head")
                self.lines.append((fields, reason.strip()))

    def fitting(self, word, tool, name):
        return [(fields[3:], reason) for fields, reason in self.lines
                if fields[0] == word and (fields[1] == "*" or tool in fields[1].split(","))
                and fnmatch.fnmatchcase(name, fields[2])]

    def last(self, word, tool, name, default):
        found = self.fitting(word, tool, name)
        return found[-1][0][0] if found else default

    def own(self):
        return next((fields[1] for fields, _ in self.lines if fields[0] == "own"), None)


def read_table(path, names):
    """Rows of programs that may run under a sanitizer; fields are apart by tabs."""
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            kind, name, _, how, environment, *command = line.rstrip("\n").split("\t")
            wanted = not names or any(name.startswith(begin) for begin in names)
            if kind == "test" and how in ("whole", "cases") and wanted:
                rows.append(Row(name, how, [] if environment == "-" else environment.split(), command))
    return rows


def with_environment(row, **more):
    environment = dict(os.environ, **more)
    environment.update(one.split("=", 1) for one in row.environment)
    return environment


def cases_of(row):
    """What the program says when it is asked; nothing runs."""
    if row.how == "whole":
        return ["whole"]
    answer = subprocess.run(row.command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                            env=with_environment(row, AEGISRT_TEST_LIST="1"))
    names = answer.stdout.split()
    if answer.returncode != 0 or not names or not all(re.fullmatch(r"[\w.-]+", name) for name in names):
        die(f"{row.command[0]} does not list its cases", "call cases_listed (test/support/gpu_cases.h) in its main")
    return names


def runs_of(rows, tools, plan, pattern):
    runs, left = [], []
    for row in rows:
        for case in cases_of(row):
            name = f"{row.name}:{case}"
            if not fnmatch.fnmatchcase(case, pattern):
                continue
            for tool in tools:
                reasons = plan.fitting("leave", tool, name)
                if reasons:
                    left.append({"test": row.name, "case": case, "tool": tool, "reason": reasons[-1][1]})
                    continue
                foreign = [(fields[0], reason) for fields, reason in plan.fitting("foreign", tool, name)]
                unseen = [(fields[0], reason) for fields, reason in plan.fitting("unseen", tool, name)]
                runs.append(Run(row, case, tool, plan.last("kernels", tool, name, "all"),
                                int(plan.last("seconds", tool, name, "120")), foreign, unseen))
    return sorted(runs, key=lambda run: tools.index(run.tool)), left


# ---- what the tool said ----


class Report:
    """Findings in a log of compute-sanitizer: [what, where]."""

    def __init__(self, text):
        self.findings, self.errors, self.unprinted, self.summary = [], 0, 0, False
        for line in text.splitlines():
            if line.startswith("========="):
                self.take(line[len("========="):])

    def take(self, line):
        said = line.strip()
        counted = re.match(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (.*)", said)
        if counted:
            self.summary = True
            if "not printed" in counted[2]:
                self.unprinted += int(counted[1])
            else:
                self.errors += int(counted[1])
        elif line.startswith("     ") and self.findings:
            place = re.match(r"at (.*)", said)
            if place and not self.findings[-1][1]:
                self.findings[-1][1] = place[1]
        elif said and not re.match(r"COMPUTE-SANITIZER|LEAK SUMMARY: 0|Target application returned an error", said):
            self.findings.append([said, ""])


def is_skipped(code, text):
    none_passed = re.search(r"\[  PASSED  \] (tests: )?0 test", text) is not None
    return code == SKIPPED or ("[  SKIPPED ]" in text and none_passed)


def judge(run, code, text):
    """The result's word, what was found, and what was found in kernels of others."""
    report = Report(text)
    found, foreign = collections.Counter(), {}
    for what, where in report.findings:
        for expression, reason in run.foreign:
            # A race names its kernel in the first line, the others behind "at".
            if re.search(expression, where or what):
                foreign.setdefault(expression, {"kernel": expression, "count": 0, "reason": reason})["count"] += 1
                break
        else:
            found[f"{what} at {where}" if where else what] += 1
    if report.unprinted > 0:
        found["more findings, not printed"] += report.unprinted
    if code is None:
        word = "unfinished"
    elif is_skipped(code, text):
        word = "skipped"
    elif not report.summary:
        word = "unchecked"
    elif found or report.errors > sum(one["count"] for one in foreign.values()):
        word = "findings"
    else:
        word = "passed" if code in (0, FOUND) else "failed"
    return word, found, list(foreign.values())


# ---- running ----


def visible_gpus():
    """What CUDA_VISIBLE_DEVICES may say, one for each GPU."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if given:
        return given.split(",")
    try:
        answer = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True,
                                text=True, check=False).stdout
    except FileNotFoundError:  # not every board has it
        answer = ""
    return answer.split() or ["0"]


class Runner:
    def __init__(self, given, plan, gpus):
        self.given, self.plan, self.end = given, plan, time.monotonic() + given.within
        # One place a process, so that all GPUs have as many of them.
        self.places = queue.SimpleQueue()
        for i in range(given.jobs):
            self.places.put(gpus[i % len(gpus)])

    def command(self, run):
        command = [self.given.sanitizer, "--tool", run.tool, "--error-exitcode", str(FOUND), "--print-limit",
                   str(MOST_PRINTED)]
        if run.tool == "memcheck":
            command += ["--report-api-errors", "explicit"]
        if run.foreign:
            # Backtraces of thousands of known findings take longer than the case.
            command += ["--show-backtrace", "device"]
        if run.kernels == "own":
            command += ["--kernel-name", f"regex={self.plan.own()}"]
        for expression, _ in run.unseen:
            command += ["--kernel-name-exclude", f"regex={expression}"]
        return [*command, *run.row.command]

    def environment(self, run, gpu):
        more = {} if run.case == "whole" else {"AEGISRT_TEST_FILTER": run.case}
        return with_environment(run.row, AEGISRT_UNDER_SANITIZER=run.tool, CUDA_VISIBLE_DEVICES=gpu, **more)

    def execute(self, run, log, seconds, gpu):
        """The exit code, None when it did not end."""
        with open(log, "wb") as out, subprocess.Popen(
                self.command(run), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.given.root,
                env=self.environment(run, gpu), start_new_session=True) as process:
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return None

    def __call__(self, run):
        begin = time.monotonic()
        seconds = min(run.seconds, self.end - begin)
        log = os.path.join(self.given.results, f"{run.row.name}.{run.case}.{run.tool}.log")
        row = {"test": run.row.name, "case": run.case, "tool": run.tool, "kernels": run.kernels, "result": "not begun",
               "seconds": 0, "limit": run.seconds}
        if run.unseen:
            row["unseen"] = [{"kernel": expression, "reason": reason} for expression, reason in run.unseen]
        if seconds >= 1:
            gpu = self.places.get()
            try:
                code = self.execute(run, log, seconds, gpu)
            finally:
                self.places.put(gpu)
            with open(log, encoding="utf-8", errors="replace") as file:
                word, found, foreign = judge(run, code, file.read())
            row.update(result=word, exit=code, seconds=round(time.monotonic() - begin, 1), limit=round(seconds))
            if found:
                row["findings"] = dict(found.most_common(20))
            if foreign:
                row["foreign"] = foreign
        name = f"{run.row.name}:{run.case}"
        lines = [f"{row['result']:<10} {run.tool:<10} {row['kernels']:<4} {name} ({row['seconds']} s)"]
        lines += [f"           {count} x {what[:200]}" for what, count in row.get("findings", {}).items()]
        # In one piece: others write too.
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        return row


def version_of(program):
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Version (\S+)", answer)
    return found[1] if found else "unknown"


def write_result(given, rows, left, gpus):
    counts = collections.Counter(row["result"] for row in rows)
    result = {"schema_version": 1, "kind": "sanitize",
              "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "gpu": given.gpu,
              "gpus": len(gpus), "sanitizer": version_of(given.sanitizer), "at_once": given.jobs,
              "results": dict(sorted(counts.items())), "left_out": left, "cases": rows}
    with open(os.path.join(given.results, "sanitize-gpu.json"), "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    good = sum(counts[word] for word in GOOD)
    print(f"under sanitizers: {counts['passed']} passed, {len(rows) - good} failed, {counts['skipped']} skipped, "
          f"{len(left)} left out with a reason")
    return good == len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="programs, as gpu_bundle.py writes them")
    parser.add_argument("--tools", required=True, help="apart by commas")
    parser.add_argument("--sanitizer", required=True, help="the program compute-sanitizer")
    parser.add_argument("--results", required=True, help="folder of logs and sanitize-gpu.json")
    parser.add_argument("--root", required=True, help="the folder that programs run in")
    parser.add_argument("--gpu", default="", help="its name, for the result")
    parser.add_argument("--jobs", type=int, default=min(8, max(1, (os.cpu_count() or 2) // 2)),
                        help="processes at once")
    parser.add_argument("--within", type=float, default=86400, help="seconds for all of it")
    parser.add_argument("--cases", default="*", help="pattern of the cases to run")
    parser.add_argument("--plan", default=PLAN)
    parser.add_argument("names", nargs="*", help="beginnings of tests' names; all when there is none")
    given = parser.parse_args()
    plan = Plan(given.plan)
    rows = read_table(given.table, given.names)
    runs, left = runs_of(rows, given.tools.split(","), plan, given.cases)
    if not runs and not left:
        die("no test of that name runs under a sanitizer", "gpu-run.sh test --list names what there is")
    if plan.own() is None and any(run.kernels == "own" for run in runs):
        die(f"{given.plan} says `own` and not which kernels these are", "add the line `own EXPRESSION`")
    for one in left:
        print(f"left out   {one['tool']:<10}      {one['test']}:{one['case']}: {one['reason']}")
    gpus = visible_gpus()
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        results = list(pool.map(Runner(given, plan, gpus), runs))
    sys.exit(0 if write_result(given, results, left, gpus) else 1)


if __name__ == "__main__":
    main()
