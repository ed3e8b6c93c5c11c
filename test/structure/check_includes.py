#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads every #include line and fails on one that the layers do not allow.

The tables below are the rules of docs/architecture.md, section "Layers". A file belongs to the
layer of its folder, a public header to the layer that implements it. A layer may include itself
and what USES lists for it: never something above it, never a neighbour that is not listed.
"""

import argparse
import fnmatch
import os
import re
import sys
import tempfile

# Layer -> the layers that it may include besides its own.
USES = {
    "base": (),
    "device": ("base",),
    "trace": ("base",),
    "resource": ("base", "device", "trace"),
    "backend": ("base", "device", "trace", "resource"),
    "schedule": ("base", "device", "trace", "resource", "backend"),
    "system": ("base", "device", "trace", "resource", "backend", "schedule"),
    "sim": (),  # public headers only, see PUBLIC_ONLY
    "cli": (),
}

# Programs stand on the public headers alone: no header of src/, and none of one another.
PUBLIC_ONLY = ("sim", "cli")

# Public header -> the layer whose concept it is. A header that is missing here is an error.
PUBLIC = {
    "allocator.h": "base",
    "clock.h": "base",
    "error.h": "base",
    "rationale.h": "base",  # the codes, so that every layer can trace
    "status.h": "base",
    "version.h": "base",
    "ext/clock_ops.h": "base",
    "device.h": "device",
    "doctor.h": "device",
    "monitor.h": "device",
    "ext/cuda.h": "device",
    "ext/cuda_graph.h": "device",
    "ext/device_ops.h": "device",
    "trace.h": "trace",
    "context.h": "resource",
    "memory_plan.h": "resource",
    "pool.h": "resource",
    "ext/planner_ops.h": "resource",
    "backend.h": "backend",
    "ext/backend_ops.h": "backend",
    "transformer.h": "backend",
    "ext/partition_ops.h": "backend",
    "admission.h": "schedule",
    "cuts.h": "schedule",
    "certificate.h": "schedule",
    "policy.h": "schedule",
    "profile.h": "schedule",
    "replay.h": "schedule",
    "scheduler.h": "schedule",
    "ext/core.h": "schedule",
    "ext/policy_ops.h": "schedule",
    "system.h": "system",
    "workload.h": "system",
    "ext/simulator.h": "sim",  # implemented above the library; programs and tests use it
    "aegis.h": "all",  # for users of the library; nothing inside includes it
}

# Public headers above every layer of src/: only programs may include them.
ABOVE = ("sim", "all")

# Third-party header (pattern) -> the only places (patterns of paths) that may include it.
THIRD_PARTY = {
    "onnxruntime*": ("src/backend/onnxruntime/*",),
    "onnx.pb-c.h": ("src/backend/onnxruntime/*",),
    "protobuf-c/*": ("src/backend/onnxruntime/*",),
    "cuda*": ("src/device/cuda/*", "src/backend/transformer/cuda/*"),
    "openssl/*": ("src/base/sha256.c",),
    "toml++/*": ("src/base/toml.cpp",),
    "pcre2.h": ("src/backend/transformer/tokenizer/words.c",),
    "jansson.h": ("src/base/*", "src/trace/*", "src/backend/*", "src/schedule/*", "src/system/*", "cli/*"),
}

# The C library, POSIX and Linux; C++ only for the one C++ file.
SYSTEM = re.compile(
    r"(assert|complex|ctype|dirent|dlfcn|elf|errno|fcntl|fenv|float|getopt|glob|inttypes|iso646|"
    r"limits|link|locale|malloc|math|poll|pthread|pwd|regex|sched|semaphore|setjmp|signal|spawn|"
    r"stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|"
    r"sysexits|termios|threads|time|uchar|unistd|wchar|wctype|"
    r"immintrin|x86intrin|cpuid|arm_neon|"
    r"(arpa|asm|linux|net|netinet|sys)/[a-z0-9_/.-]+)\.h"
)
CXX_SYSTEM = re.compile(r"[a-z_]+")
CXX_FILES = ("src/base/toml.cpp",)

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]')
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
TREES = ("include/aegisrt", "src", "sim", "cli")


def sources(root):
    """Paths, relative to root, of every C and C++ file of the product."""
    for tree in TREES:
        for folder, _, names in os.walk(os.path.join(root, tree)):
            for name in names:
                if name.endswith((".c", ".h", ".cpp", ".hpp", ".inc")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def includes(text):
    """(line, quote, name) of each #include outside comments."""
    blank = COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    for number, line in enumerate(blank.split("\n"), start=1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def layer_of(path):
    """Layer of a file of the product; None for a public header that the table does not know."""
    parts = path.split("/")
    if parts[0] == "src":
        return parts[1] if len(parts) > 2 else None
    if parts[0] == "include":
        return PUBLIC.get("/".join(parts[2:]))
    return parts[0]


def check_layer(layer, name, target):
    """Complaint about a file of `layer` including `name`, which belongs to `target`, or None."""
    if layer == "all" or target == layer:
        return None
    if target in ABOVE:
        if layer in PUBLIC_ONLY:
            return None
        return f"{name} stands above all layers; {layer} may not use it"
    if layer in PUBLIC_ONLY or layer in ABOVE:
        return None
    if target not in USES[layer]:
        allowed = ", ".join(USES[layer]) or "no other layer"
        return f"{name} belongs to {target}; {layer} may use {allowed}"
    return None


def check_public(layer, name):
    header = name[len("aegisrt/"):]
    if header not in PUBLIC:
        return f"<{name}> has no layer; add it to PUBLIC in test/structure/check_includes.py"
    return check_layer(layer, f"<{name}>", PUBLIC[header])


def check_private(root, path, layer, name):
    """An include in quotes: beside the including file, or from src/ (sim and cli: from the root)."""
    folder = os.path.dirname(path)
    candidates = [os.path.join(folder, name), os.path.join("src", name), name]
    for candidate in candidates:
        candidate = os.path.normpath(candidate)
        if os.path.isfile(os.path.join(root, candidate)):
            break
    else:
        if name in THIRD_PARTY or fnmatch.fnmatch(name, "*.pb-c.h"):
            return check_third_party(path, name)
        return f'"{name}" does not exist'
    if path.startswith("include/"):
        return f'"{name}": public headers include <aegisrt/...> alone'
    if candidate.startswith("include/"):
        return f'"{name}": write <aegisrt/...>'
    target = layer_of(candidate)
    if layer in PUBLIC_ONLY and target != layer:
        return f'"{name}" belongs to {target}; {layer} may use public headers and its own'
    return check_layer(layer, f'"{name}"', target)


def check_third_party(path, name):
    for pattern, places in THIRD_PARTY.items():
        if fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(os.path.basename(name), pattern):
            if any(fnmatch.fnmatch(path, place) for place in places):
                return None
            return f"<{name}> is for {', '.join(places)} alone"
    if SYSTEM.fullmatch(name):
        return None
    if path in CXX_FILES and CXX_SYSTEM.fullmatch(name):
        return None
    return f"<{name}> is not known; add it to THIRD_PARTY or SYSTEM in test/structure/check_includes.py"


def check_file(root, path):
    """(line, complaint) of each include of one file that the layers do not allow."""
    layer = layer_of(path)
    if layer is None or (layer not in USES and layer not in ABOVE):
        yield 1, "belongs to no layer; add it to the tables of test/structure/check_includes.py"
        return
    with open(os.path.join(root, path), encoding="utf-8") as file:
        text = file.read()
    for line, quote, name in includes(text):
        if quote == '"':
            complaint = check_private(root, path, layer, name)
        elif name.startswith("aegisrt/"):
            complaint = check_public(layer, name)
        else:
            complaint = check_third_party(path, name)
        if complaint:
            yield line, complaint


def check(root):
    """Prints every complaint; returns (files read, number of complaints)."""
    files = complaints = 0
    for path in sorted(sources(root)):
        files += 1
        for line, complaint in check_file(root, path):
            complaints += 1
            print(f"{path}:{line}: {complaint}")
    return files, complaints


# ---- the check checked: each planted file must be caught, each clean one must pass ----

CLEAN = {
    "include/aegisrt/status.h": "#include <stdint.h>\n",
    "include/aegisrt/device.h": "#include <aegisrt/status.h>\n",
    "include/aegisrt/trace.h": "#include <aegisrt/status.h>\n",
    "include/aegisrt/scheduler.h": "#include <aegisrt/device.h>\n#include <aegisrt/trace.h>\n",
    "include/aegisrt/aegis.h": "#include <aegisrt/scheduler.h>\n",
    "src/base/base.h": "#include <aegisrt/status.h>\n",
    "src/base/sha256.c": "#include <openssl/evp.h>\n",
    "src/base/toml.cpp": "#include <toml++/toml.h>\n#include <new>\n",
    "src/device/device.h": '#include "base/base.h"\n',
    "src/device/cuda/stream.c": "#include <cuda_runtime_api.h>\n",
    "src/backend/onnxruntime/run.c": '#include <onnxruntime_c_api.h>\n#include "onnx.pb-c.h"\n',
    "src/schedule/driver/loop.c": '#include "loop.h"\n#include "device/device.h"\n#include <pthread.h>\n',
    "src/schedule/driver/loop.h": "/* #include <aegisrt/system.h> in a comment does not count */\n",
    "sim/clock.c": '#include <aegisrt/ext/core.h>\n#include "sim/clock.h"\n',
    "sim/clock.h": "",
    "cli/main.c": '#include "main.h"\n#include <aegisrt/aegis.h>\n#include <jansson.h>\n',
    "cli/main.h": "#include <aegisrt/ext/simulator.h>\n",
}
PLANTED = {
    "upward, in quotes": ("src/device/bad.c", '#include "schedule/driver/loop.h"\n'),
    "upward, public": ("src/base/bad.c", "#include <aegisrt/scheduler.h>\n"),
    "upward, between public headers": ("include/aegisrt/backend.h", "#include <aegisrt/scheduler.h>\n"),
    "sideways": ("src/trace/bad.c", '#include "device/device.h"\n'),
    "sideways, public": ("src/device/bad.c", "#include <aegisrt/trace.h>\n"),
    "by a path with dots": ("src/base/bad.c", '#include "../device/device.h"\n'),
    "with spaces": ("src/base/bad.c", "  #  include <aegisrt/device.h>\n"),
    "everything at once inside the library": ("src/system/bad.c", "#include <aegisrt/aegis.h>\n"),
    "the simulator inside the library": ("src/schedule/bad.c", "#include <aegisrt/ext/simulator.h>\n"),
    "a private header in the cli": ("cli/bad.c", '#include "base/base.h"\n'),
    "a private header in the simulator": ("sim/bad.c", '#include "schedule/driver/loop.h"\n'),
    "the cli in the library": ("src/system/bad.c", '#include "../../cli/main.h"\n'),
    "a private header in a public one": ("include/aegisrt/backend.h", '#include "../../src/base/base.h"\n'),
    "ONNX Runtime outside its folder": ("src/backend/bad.c", "#include <onnxruntime_c_api.h>\n"),
    "CUDA outside its folder": ("src/backend/bad.c", "#include <cuda_runtime.h>\n"),
    "OpenSSL outside its file": ("src/base/bad.c", "#include <openssl/evp.h>\n"),
    "protobuf-c outside its folder": ("src/system/bad.c", "#include <protobuf-c/protobuf-c.h>\n"),
    "jansson where it is not allowed": ("src/device/bad.c", "#include <jansson.h>\n"),
    "an unknown library": ("src/base/bad.c", "#include <ck_ring.h>\n"),
    "C++ in C": ("src/base/bad.c", "#include <vector>\n"),
    "a header that does not exist": ("src/base/bad.c", '#include "base/nothing.h"\n'),
    "a public header without a layer": ("include/aegisrt/new.h", "\n"),
    "a folder without a layer": ("src/extra/bad.c", "\n"),
}


def write(root, files):
    for path, text in files.items():
        os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
        with open(os.path.join(root, path), "w", encoding="utf-8") as file:
            file.write(text)


def self_test():
    failures = []
    with tempfile.TemporaryDirectory() as root:
        write(root, CLEAN)
        files, complaints = check(root)
        if files != len(CLEAN) or complaints != 0:
            failures.append(f"the clean tree: {files} of {len(CLEAN)} files, {complaints} complaints")
    for title, (path, text) in PLANTED.items():
        with tempfile.TemporaryDirectory() as root:
            write(root, {**CLEAN, path: text})
            found = [complaint for complaint in check_file(root, path)]
            if len(found) != 1:
                failures.append(f"{title}: {len(found)} complaints about {path}, expected 1")
    for failure in failures:
        print(f"self-test: {failure}")
    print(f"{len(PLANTED) + 1 - len(failures)} of {len(PLANTED) + 1} self-tests passed")
    return len(failures) == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", nargs="?", help="folder of the project")
    parser.add_argument("--self-test", action="store_true", help="check the check")
    arguments = parser.parse_args()
    if arguments.self_test:
        return 0 if self_test() else 1
    if arguments.root is None:
        parser.error("the folder of the project is missing")
    files, complaints = check(arguments.root)
    print(f"{files} files read, {complaints} includes are not allowed")
    return 0 if files > 0 and complaints == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
