# SPDX-License-Identifier: Apache-2.0
"""Documents against the tree: names of the API exist, links lead to files and headings that exist.

check_documents.py PROJECT | --self-test
"""

import glob
import os
import re
import sys
import tempfile

PAGES = ["*.md", "docs/*.md"]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def anchors(text):
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```", "", text))
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def names_of(project):
    """Every name with the prefix that a public header mentions."""
    headers = glob.glob(os.path.join(project, "include/**/*.h"), recursive=True)
    return set().union(*(re.findall(r"\baegis_\w+", read(path)) for path in headers)) if headers else set()


def faults(project):
    known = names_of(project)
    for pattern in PAGES:
        for page in sorted(glob.glob(os.path.join(project, pattern))):
            text, name = read(page), os.path.relpath(page, project)
            for word in sorted(set(re.findall(r"\baegis_\w+", text)) - known):
                yield f"{name}: no public header mentions {word}"
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                path, _, anchor = target.partition("#")
                if re.match(r"[a-z]+:", target):
                    continue
                path = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
                if not os.path.exists(path):
                    yield f"{name}: {target} leads nowhere"
                elif anchor and anchor not in anchors(read(path)):
                    yield f"{name}: {target}: no such heading"


def self_test():
    with tempfile.TemporaryDirectory() as project:
        for path, text in (
            ("include/a.h", "void aegis_thing_make(void);"),
            ("docs/right.md", "# A `b`, c\n`aegis_thing_make` [x](right.md#a-b-c) [y](../include/a.h) [z](https://a.b/c)"),
            ("docs/wrong.md", "`aegis_thing_mak` [x](right.md#d) [y](gone.md)"),
        ):
            os.makedirs(os.path.dirname(os.path.join(project, path)), exist_ok=True)
            with open(os.path.join(project, path), "w", encoding="utf-8") as file:
                file.write(text)
        found = list(faults(project))
    return [] if len(found) == 3 and all("wrong.md" in fault for fault in found) else [f"self-test: {found}"]


def main():
    found = self_test() if sys.argv[1:] == ["--self-test"] else list(faults(sys.argv[1]))
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
