#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes status_notes_generated.h, which tests include before everything else: each call of a public
function that returns a status is noted in passing (test/support/status_notes.h)."""

import os
import sys

import public_statuses


def text_of(include):
    names = [function.name for function in public_statuses.read(include)]
    headers = sorted(public_statuses.header_names(include))
    lines = ["/* SPDX-License-Identifier: Apache-2.0 */",
             "/* Made by test/structure/write_status_notes.py from the public headers. */",
             "#ifndef AEGIS_TEST_STATUS_NOTES_GENERATED_H", "#define AEGIS_TEST_STATUS_NOTES_GENERATED_H", ""]
    lines += [f"#include <{header}>" for header in headers]
    lines += ["", '#include "support/status_notes.h"', "", "enum {"]
    lines += [f"    TEST_NOTE_{name}," for name in names]
    lines += ["    TEST_NOTE_COUNT", "};", ""]
    lines += [f"#define TEST_NOTED_FUNCTIONS {', '.join(chr(34) + name + chr(34) for name in names)}", ""]
    lines += [f"#define {name}(...) test_note_status(TEST_NOTE_{name}, {name}(__VA_ARGS__))" for name in names]
    return "\n".join(lines + ["", "#endif", ""])


def main():
    include, target = sys.argv[1:]
    text = text_of(include)
    if os.path.exists(target):
        with open(target, encoding="utf-8") as file:
            if file.read() == text:
                return 0
    with open(target, "w", encoding="utf-8") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
