# SPDX-License-Identifier: Apache-2.0
"""What the public headers say about statuses: a function that returns aegis_status, and the names of
statuses in the comment in front of it, NO_MEMORY or AEGIS_ERROR_NO_MEMORY.

A comment may refer: "As aegis_x" and "what aegis_x returns" add what aegis_x documents. One that says
"what ... returns" of something that is not a public function (a callback, an ops table) is open: such a
function passes on what others return. "Always OK" says that a function cannot fail. A function that stands
directly below another one, without a comment or an empty line between them, shares its comment.
"""

import os
import re

TOKEN = re.compile(r"/\*.*?\*/|//[^\n]*|\{|\}|;|[^;{}/]+|/", re.S)
DECLARATION = re.compile(r"^(?:AEGIS_\w+\s+)?aegis_status\s+(aegis_\w+)\s*\(", re.S)
REFERENCE = re.compile(r"\b(?:[Aa]s|[Ww]hat)\s+(aegis_\w+)")
# A name that nothing else is, in small letters: not_found.
SMALL = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")
DECLARED = re.compile(r"\baegis_status\s+(aegis_\w+)\s*\(")
NAMED = re.compile(r"\b(aegis_\w+)")
OPEN = re.compile(r"\b[Ww]hat\s+(?!aegis_)(?:\w+[ ']){1,6}?return(?:s|ed)?\b")
ALWAYS_OK = re.compile(r"\b[Aa]lways OK\b")
EXTERN_C = re.compile(r'extern "C" \{|#ifdef __cplusplus.*?#endif', re.S)


class Function:
    """A public function: where it is declared and what its comment says about statuses."""

    def __init__(self, name, header, comment, names):
        self.name = name
        self.header = header
        words = set(re.findall(r"(?<![\w])(?:AEGIS_ERROR_)?([A-Z][A-Z_]+)\b", comment))
        self.statuses = words & names - {"OK"}
        self.small = set(SMALL.findall(comment)) & {name.lower() for name in names}
        self.references = set(REFERENCE.findall(comment))
        self.open = OPEN.search(comment) is not None
        self.infallible = ALWAYS_OK.search(comment) is not None


def status_names(include):
    """Names without AEGIS_ERROR_, in the order of their numbers; the first is OK."""
    with open(os.path.join(include, "aegisrt/status.h"), encoding="utf-8") as file:
        text = file.read()
    body = re.search(r"typedef enum aegis_status \{(.*?)\} aegis_status;", text, re.S).group(1)
    return re.findall(r"\bAEGIS_(?:ERROR_)?([A-Z_]+)\s*(?:=\s*0\s*)?,?\s*(?=/\*|,|\n)",
                      re.sub(r"/\*.*?\*/", "\n", body, flags=re.S))


def header_names(include):
    for folder, _, files in os.walk(os.path.join(include, "aegisrt")):
        for file in files:
            if file.endswith(".h"):
                yield os.path.relpath(os.path.join(folder, file), include)


def flat(comment):
    return re.sub(r"\s*\n\s*\*?\s*", " ", comment.strip("/*"))


def functions_of(text, header, names):
    """Declarations at the top level with the comment that stands directly before each."""
    found, comment, depth, shared = [], "", 0, ""
    text = re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", "", EXTERN_C.sub("", text), flags=re.M)
    for token in TOKEN.findall(text):
        if token.startswith("/*"):
            comment = flat(token) if token.startswith("/**") and depth == 0 else comment
        elif token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
        elif depth == 0 and token.strip() and token != ";":
            declared = DECLARATION.match(token.strip())
            comment = comment if comment or re.match(r"\s*\n\s*\n", token) else shared
            if declared:
                found.append(Function(declared.group(1), header, comment, names))
            comment, shared = "", comment if declared else ""
    return found


def overlooked(text, found):
    """Names of functions that return a status and were not found, however they are declared."""
    code = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
    return sorted(set(DECLARED.findall(code)) - {function.name for function in found})


def resolve(functions):
    """Adds what the functions that are referred to document."""
    by_name = {function.name: function for function in functions}
    changed = True
    while changed:
        changed = False
        for function in functions:
            for name in function.references:
                other = by_name.get(name)
                if other and (not other.statuses <= function.statuses or other.open > function.open):
                    function.statuses |= other.statuses
                    function.open |= other.open
                    changed = True


def read(include):
    """All public functions that return a status, sorted by name, without the two that set errors."""
    names, functions, known = set(status_names(include)), [], set()
    for header in sorted(header_names(include)):
        with open(os.path.join(include, header), encoding="utf-8") as file:
            text = file.read()
        found = functions_of(text, header, names)
        missed = overlooked(text, found)
        if missed:
            raise ValueError(f"{header}: declared in a way that is not understood: {', '.join(missed)}")
        functions += found
        known |= set(NAMED.findall(re.sub(r"/\*.*?\*/", " ", text, flags=re.S)))
    functions = [function for function in functions if not function.name.startswith("aegis_error_set")]
    for function in functions:
        function.nowhere = function.references - known
    resolve(functions)
    return sorted(functions, key=lambda function: function.name)
