#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of one pool operation under callgrind and compares with the record.

    check_pool_instructions.py PROGRAM [--update]

PROGRAM is bench_pool of an optimised build. Two runs of different length are subtracted, so that
start and end of the program drop out. Instruction counts do not depend on what else the machine
does; they do on the compiler, hence the tolerance. Exit 77: no valgrind here.
"""

import json
import os
import re
import shutil
import subprocess
import sys

RECORD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pool_instructions.json")
SHORT, LONG = 100_000, 500_000


def instructions(program, operations):
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
         program, "--operations", str(operations)],
        capture_output=True, text=True, check=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def main():
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed")
        return 77
    program = sys.argv[1]
    count = (instructions(program, LONG) - instructions(program, SHORT)) / (LONG - SHORT)
    if "--update" in sys.argv[2:]:
        with open(RECORD, "w", encoding="utf-8") as file:
            json.dump({"instructions_per_operation": round(count, 1), "tolerance": 0.05}, file,
                      indent=2)
            file.write("\n")
    with open(RECORD, encoding="utf-8") as file:
        record = json.load(file)
    expected, tolerance = record["instructions_per_operation"], record["tolerance"]
    print(f"{count:.1f} instructions an operation, recorded {expected:.1f}")
    if count > expected * (1 + tolerance):
        print(f"more than {tolerance:.0%} above the record; --update if that is meant")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
