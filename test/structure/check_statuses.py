#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the statuses that public headers document against those that tests provoked.

Tests leave what public functions returned in statuses/*.txt of the build folder (test/support/
status_notes.h). In the headers of COMPLETE every documented status has to be among those of the unit
tests, which run before this one, and none that is not documented. What is still owed elsewhere is listed
and counted, and fails nothing; there the notes of property and integration tests count too, where they ran.
"""

import argparse
import glob
import os
import sys
import tempfile

import public_statuses

# Headers that are held to it, below aegisrt/.
COMPLETE = [
    "transformer.h",
    "ext/partition_ops.h",
    "monitor.h",
    "pool.h",
    "context.h",
    "doctor.h",
    "device.h",
    "ext/cuda.h",
    "memory_plan.h",
    "policy.h",
    "workload.h",
]

# Documented statuses that no test of this machine can provoke, each with the reason.
IMPOSSIBLE = {
    ("aegis_pool_create", "UNSUPPORTED"): "the C libraries that are tested with have such mutexes",
}


def read_notes(folder, tests):
    """Pairs (function, STATUS) of the programs in `tests`; None takes all."""
    seen, programs = set(), set()
    for path in sorted(glob.glob(os.path.join(folder, "*.txt"))):
        program = os.path.splitext(os.path.basename(path))[0]
        if tests is not None and program not in tests:
            continue  # of a test that is gone
        programs.add(program)
        with open(path, encoding="utf-8") as file:
            seen |= {(name, status.upper()) for name, status in map(str.split, file)}
    return seen, programs


def test_programs(source):
    """Names of the programs that test/CMakeLists.txt makes."""
    names = set()
    for path in glob.glob(os.path.join(source, "test", "*", "**", "test_*.c"), recursive=True):
        parts = os.path.relpath(path, os.path.join(source, "test")).split(os.sep)
        names.add("_".join(["test", *parts[:-1], parts[-1][len("test_"):-2]]))
    return names


def judge(function, seen):
    """Documented and never seen, seen and not documented, documented although it cannot be seen."""
    returned = {status for name, status in seen if name == function.name} - {"OK"}
    excused = {status for name, status in IMPOSSIBLE if name == function.name}
    missing = function.statuses - returned - excused
    foreign = set() if function.open else returned - function.statuses
    return sorted(missing), sorted(foreign), sorted((excused & returned) | (excused - function.statuses))


def words(function, missing, foreign, wrong):
    lines = []
    for text, statuses in (("documented, provoked by no test", missing),
                           ("returned, not documented", foreign),
                           ("excused in vain", wrong)):
        if statuses:
            lines.append(f"{function.header[len('aegisrt/'):]}: {function.name}: {text}: {', '.join(statuses)}")
    return lines


def check(functions, seen, seen_by_units, complete):
    failures, owed, pairs = [], [], 0
    for function in functions:
        strict = function.header[len("aegisrt/"):] in complete
        lines = words(function, *judge(function, seen_by_units if strict else seen))
        if strict:
            failures += lines
            pairs += len(function.statuses)
        else:
            owed += lines
    return failures, owed, pairs


def report(functions, seen, seen_by_units, programs):
    failures, owed, pairs = check(functions, seen, seen_by_units, COMPLETE)
    complete = sum(f.header[len("aegisrt/"):] in COMPLETE for f in functions)
    for (name, status), reason in sorted(IMPOSSIBLE.items()):
        print(f"excused: {name} {status}: {reason}")
    if owed:
        print(f"not held to it yet, {len(functions) - complete} functions of other headers:")
        print("\n".join(f"  {line}" for line in owed))
    if failures:
        print("FAILED:")
        print("\n".join(f"  {line}" for line in failures))
    print(f"{len(programs)} programs left notes; {complete} functions with {pairs} documented statuses are held "
          f"to it, {len(failures)} failures; {len(owed)} lines owed by other headers")
    return len(programs) > 0 and not failures


STATUS_H = """typedef enum aegis_status {
    AEGIS_OK = 0,
    AEGIS_ERROR_IO, /**< one */
    AEGIS_ERROR_STATE /**< two */
} aegis_status;
"""
PLANTED_H = """#ifndef A
#ifdef __cplusplus
extern "C" {
#endif
typedef struct a { int b; /**< STATE */ } a;
/** Does. IO (why), STATE. */
aegis_status aegis_one(int a);
/** STATE of nothing that fails. */
void aegis_none(int a);
/** As aegis_one, with AEGIS_ERROR_CONFIG as a name. */
aegis_status
aegis_two(int a);
aegis_status aegis_bare(void);
/** What its callback returns, and IO. */
aegis_status aegis_open(void);
#endif
"""
FOUND = {"aegis_one": {"IO", "STATE"}, "aegis_two": {"IO", "STATE"}, "aegis_bare": set(), "aegis_open": {"IO"}}
# What was seen, and what the check has to say of it.
CASES = [
    ({("aegis_one", "IO"), ("aegis_one", "STATE"), ("aegis_two", "IO"), ("aegis_two", "STATE"),
      ("aegis_open", "IO"), ("aegis_open", "STATE"), ("aegis_bare", "OK")}, 0),
    ({("aegis_one", "IO"), ("aegis_two", "IO"), ("aegis_two", "STATE"), ("aegis_open", "IO")}, 1),
    ({("aegis_one", "IO"), ("aegis_one", "STATE"), ("aegis_two", "IO"), ("aegis_two", "STATE"),
      ("aegis_open", "IO"), ("aegis_bare", "IO")}, 1),
]


def self_test():
    failures = 0
    with tempfile.TemporaryDirectory() as include:
        os.makedirs(os.path.join(include, "aegisrt"))
        for name, text in (("status.h", STATUS_H), ("planted.h", PLANTED_H)):
            with open(os.path.join(include, "aegisrt", name), "w", encoding="utf-8") as file:
                file.write(text)
        functions = public_statuses.read(include)
        with open(os.path.join(include, "test_gone.txt"), "w", encoding="utf-8") as file:
            file.write("aegis_one io\n")
        notes = read_notes(include, {"test_here"})
    if {function.name: function.statuses for function in functions} != FOUND:
        failures += 1
        print(f"self-test: read {[(f.name, f.statuses) for f in functions]}")
    if notes != (set(), set()):
        failures += 1
        print("self-test: notes of a test that is gone were read")
    for seen, expected in CASES:
        found, _, _ = check(functions, set(), seen, ["planted.h"])
        if len(found) != expected:
            failures += 1
            print(f"self-test: {expected} failures expected, found {found}")
    print(f"self-test: {failures} failures")
    return failures == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--self-test", action="store_true", help="check the check alone")
    parser.add_argument("source", nargs="?", help="root of the sources")
    parser.add_argument("notes", nargs="?", help="folder with the notes of the tests")
    arguments = parser.parse_args()
    if arguments.self_test:
        return 0 if self_test() else 1
    functions = public_statuses.read(os.path.join(arguments.source, "include"))
    tests = test_programs(arguments.source)
    seen, programs = read_notes(arguments.notes, tests)
    by_units, _ = read_notes(arguments.notes, {name for name in tests if name.startswith("test_unit_")})
    return 0 if report(functions, seen, by_units, programs) else 1


if __name__ == "__main__":
    sys.exit(main())
