#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles each public header alone, as C11 or as C++17, with warnings as errors.

Each is included twice in a file that includes nothing else, so that it must bring what it needs and
guard itself. aegis.h must include every header outside ext/, so that it stays "everything".
"""

import argparse
import os
import subprocess
import sys
import tempfile

FLAGS = {
    "c11": ["-x", "c", "-std=c11", "-Wstrict-prototypes"],
    "c++17": ["-x", "c++", "-std=c++17", "-Wzero-as-null-pointer-constant"],
}
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wundef", "-Werror"]


def headers(include):
    for folder, _, names in os.walk(os.path.join(include, "aegisrt")):
        for name in sorted(names):
            if name.endswith(".h"):
                yield os.path.relpath(os.path.join(folder, name), include)


def compile_alone(compiler, standard, include, header):
    """The compiler's words, or None when it accepts the header."""
    text = f"#include <{header}>\n#include <{header}>\nint main(void);\n"
    result = subprocess.run(
        [*compiler, *FLAGS[standard], *WARNINGS, f"-I{include}", "-fsyntax-only", "-"],
        input=text, capture_output=True, text=True, check=False)
    return None if result.returncode == 0 else result.stderr


def missing_from_all(include, names):
    """Headers outside ext/ that aegis.h does not include itself."""
    with open(os.path.join(include, "aegisrt/aegis.h"), encoding="utf-8") as file:
        text = file.read()
    return [name for name in names
            if "/ext/" not in name and name != "aegisrt/aegis.h" and f"#include <{name}>" not in text]


def check(compiler, standard, include):
    names = list(headers(include))
    failures = 0
    for name in names:
        words = compile_alone(compiler, standard, include, name)
        if words is not None:
            failures += 1
            print(f"{name} does not stand alone as {standard}:\n{words}")
    for name in missing_from_all(include, names):
        failures += 1
        print(f"aegisrt/aegis.h does not include <{name}>")
    print(f"{len(names)} headers compiled as {standard}, {failures} failures")
    return len(names) > 0 and failures == 0


# Each must be refused by the compiler.
PLANTED = {
    "needs another header": "#ifndef A\n#define A\nsize_t aegis_planted(void);\n#endif\n",
    "has no guard": "struct aegis_planted { int a; };\n",
}


def self_test(compiler, standard):
    failures = 0
    for title, text in {**PLANTED, "is not in aegis.h": ""}.items():
        with tempfile.TemporaryDirectory() as include:
            os.makedirs(os.path.join(include, "aegisrt"))
            with open(os.path.join(include, "aegisrt/planted.h"), "w", encoding="utf-8") as file:
                file.write(text)
            words = compile_alone(compiler, standard, include, "aegisrt/planted.h")
            with open(os.path.join(include, "aegisrt/aegis.h"), "w", encoding="utf-8") as file:
                file.write("#include <aegisrt/planted.h>\n" if text else "")
            absent = missing_from_all(include, list(headers(include)))
            if (words is not None) != (text != "") or (len(absent) == 1) != (text == ""):
                failures += 1
                print(f"self-test: a header that {title} was not caught")
    print(f"self-test: {failures} failures")
    return failures == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--standard", choices=sorted(FLAGS), required=True)
    parser.add_argument("--self-test", action="store_true", help="check the check first")
    parser.add_argument("include", help="folder that holds aegisrt/")
    parser.add_argument("compiler", nargs="+", help="compiler and its first arguments")
    arguments = parser.parse_args()
    good = not arguments.self_test or self_test(arguments.compiler, arguments.standard)
    good = check(arguments.compiler, arguments.standard, arguments.include) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
