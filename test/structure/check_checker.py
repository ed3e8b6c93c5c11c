# SPDX-License-Identifier: Apache-2.0
"""The checker of certificates stays small and alone: all of it, from the bytes of the file on, is one source of
few lines that includes nothing of the analysis or of what finds proofs, and calls nothing of theirs.

Usage: check_checker.py SOURCE_DIR | --self-test
"""

import re
import sys

CHECKER = "src/schedule/certificate/verify.c"
MAY_INCLUDE = {"base/base.h"}
MAY_CALL = re.compile(r"aegis_(certificate_(verify|report)|allocat\w*|deallocate|error\w*|status|analysis)$")
LIMIT = 463
STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*', re.DOTALL)


def code_lines(text):
    """Lines that hold more than blanks and comments."""
    bare = STRING_OR_COMMENT.sub(lambda m: m[0] if m[0][0] == '"' else "\n" * m[0].count("\n"), text)
    return sum(1 for line in bare.split("\n") if line.strip())


def problems(text):
    lines = code_lines(text)
    found = [f"{lines} lines of code, {LIMIT - 1} at most"] if lines >= LIMIT else []
    for name in re.findall(r'#include "([^"]*)"', text):
        if name not in MAY_INCLUDE:
            found.append(f"includes {name}, which belongs to others")
    for name in sorted(set(re.findall(r"\baegis_\w+", STRING_OR_COMMENT.sub("", text)))):
        if not MAY_CALL.match(name):
            found.append(f"uses {name}, which belongs to others")
    return found


def self_test():
    assert code_lines("a\n\n/* b\n\n */ c /* d */\n// e\n\"/* f */\"\n") == 3
    assert not problems('#include "base/base.h"\n' * (LIMIT - 1))
    assert problems("x;\n" * LIMIT)
    assert problems('#include "schedule/admission/internal.h"\n')
    assert problems("aegis_admission_test();\n")
    assert not problems("aegis_allocate_zeroed();\n")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    with open(f"{sys.argv[1]}/{CHECKER}", encoding="utf-8") as file:
        text = file.read()
    found = problems(text)
    for problem in found:
        print(f"{CHECKER}: {problem}", file=sys.stderr)
    print(f"{CHECKER}: {code_lines(text)} lines of code")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
