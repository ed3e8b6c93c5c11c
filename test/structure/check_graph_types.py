#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that a model graph which has not been validated cannot be used as one that has: each misuse
below must be refused by the compiler, and the proper use beside it must be accepted."""

import subprocess
import sys

PROLOGUE = """
#include "backend/transformer/model/graph.h"
uint32_t use(aegis_graph_loaded *loaded, aegis_graph_validated *validated);
uint32_t use(aegis_graph_loaded *loaded, aegis_graph_validated *validated)
{
    (void)loaded;
    (void)validated;
    %s
}
"""
PROPER = {
    "layers of a validated graph": "return aegis_graph_layer_count(validated);",
    "validation of a loaded graph":
        "return aegis_graph_validate(&loaded, &validated, NULL) == AEGIS_OK ? aegis_graph_layer_count(validated) : 0;",
}
MISUSE = {
    "layers of a loaded graph": "return aegis_graph_layer_count(loaded);",
    "a layer of a loaded graph": "return aegis_graph_layer_at(loaded, 0)->tensor_count;",
    "the configuration of a loaded graph": "return aegis_graph_config(loaded)->layers;",
    "the files of a loaded graph": "return aegis_safetensors_count(aegis_graph_files(loaded));",
    "a loaded graph assigned to a validated one": "validated = loaded; return aegis_graph_layer_count(validated);",
    "validation of a validated graph": "return (uint32_t)aegis_graph_validate(&validated, &validated, NULL);",
    "a loaded graph freed as a validated one": "aegis_graph_free(loaded); return 0;",
    "a look inside a loaded graph": "return loaded->config.layers;",
    "a look inside a validated graph": "return validated->layer_count;",
    "a loaded graph made by hand": "aegis_graph_loaded made; return (uint32_t)sizeof made;",
}


def compiles(compiler, root, body):
    command = [compiler, "-std=gnu17", "-Wall", "-Wextra", "-Werror", f"-I{root}/include", f"-I{root}/src", "-x", "c",
               "-fsyntax-only", "-"]
    result = subprocess.run(command, input=PROLOGUE % body, capture_output=True, text=True, check=False)
    return result.returncode == 0, result.stderr


def main():
    root, compiler = sys.argv[1:]
    failures = 0
    for cases, wanted in ((PROPER, True), (MISUSE, False)):
        for title, body in cases.items():
            good, words = compiles(compiler, root, body)
            if good != wanted:
                failures += 1
                print(f"{title}: {'compiles' if good else 'does not compile'}\n{words}")
    print(f"{len(PROPER)} proper uses, {len(MISUSE)} misuses, {failures} failures")
    return 0 if failures == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
