# SPDX-License-Identifier: Apache-2.0
"""The checker of certificates stays small and alone. What a verdict needs, from the bytes of the file to the answer, is
fewer than 400 lines of code in two files. What can only refuse (the form of the file), and what proves more than a
verdict, stands in two others. None includes or calls anything of the analysis or of what finds proofs.

Usage: check_checker.py SOURCE_DIR | --self-test
"""

import re
import sys

FOLDER = "src/schedule/certificate"
VERDICT = ["checker.h", "verify.c"]
BESIDE = ["verify_form.c", "verify_beside.c"]
MAY_INCLUDE = {"base/base.h", "schedule/certificate/checker.h"}
MAY_CALL = re.compile(r"aegis_(checker_\w+|certificate_(verify|report)|allocat\w*|deallocate|error\w*|status|analysis|i128)$")
LIMIT = 400
STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*', re.DOTALL)


def code_lines(text):
    """Lines that hold more than blanks and comments."""
    bare = STRING_OR_COMMENT.sub(lambda m: m[0] if m[0][0] == '"' else "\n" * m[0].count("\n"), text)
    return sum(1 for line in bare.split("\n") if line.strip())


def strangers(text):
    found = []
    for name in re.findall(r'#include "([^"]*)"', text):
        if name not in MAY_INCLUDE:
            found.append(f"includes {name}, which belongs to others")
    for name in sorted(set(re.findall(r"\baegis_\w+", STRING_OR_COMMENT.sub("", text)))):
        if not MAY_CALL.match(name):
            found.append(f"uses {name}, which belongs to others")
    return found


def problems(texts):
    lines = sum(code_lines(texts[name]) for name in VERDICT)
    found = [f"{' and '.join(VERDICT)}: {lines} lines of code, {LIMIT - 1} at most"] if lines >= LIMIT else []
    for name, text in texts.items():
        found += [f"{name}: {problem}" for problem in strangers(text)]
    return found


def self_test():
    assert code_lines("a\n\n/* b\n\n */ c /* d */\n// e\n\"/* f */\"\n") == 3
    assert not problems({"checker.h": '#include "base/base.h"\n', "verify.c": "x;\n" * (LIMIT - 2)})
    assert problems({"checker.h": "x;\n", "verify.c": "x;\n" * (LIMIT - 1)})
    assert not problems({"checker.h": "", "verify.c": "", "verify_form.c": "x;\n" * LIMIT})
    assert problems({"checker.h": "", "verify.c": '#include "schedule/admission/internal.h"\n'})
    assert problems({"checker.h": "", "verify.c": "", "verify_beside.c": "aegis_admission_test();\n"})
    assert not strangers("aegis_allocate_zeroed();\n")
    assert not strangers("aegis_checker_work();\n")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    texts = {}
    for name in VERDICT + BESIDE:
        with open(f"{sys.argv[1]}/{FOLDER}/{name}", encoding="utf-8") as file:
            texts[name] = file.read()
    found = problems(texts)
    for problem in found:
        print(f"{FOLDER}: {problem}", file=sys.stderr)
    for name, text in texts.items():
        print(f"{FOLDER}/{name}: {code_lines(text)} lines of code")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
