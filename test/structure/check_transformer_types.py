#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An engine of the wrong state does not compile.

Compiles programs that use the states of include/aegisrt/transformer.h in the right order, which must
pass, and out of order, each of which the compiler must refuse because of its pointer types.
"""

import subprocess
import sys

PROGRAM = """#include <aegisrt/transformer.h>
int main(void)
{{
    aegis_transformer_config config = {{0}};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_transformer_idle *idle = 0;
    aegis_transformer_planned *planned = 0;
    aegis_transformer_ready *ready = 0;
    aegis_transformer_info info;
    aegis_generation_request request = {{0}};
    aegis_generation made;
    float logits[1];
    (void)config; (void)allocator; (void)idle; (void)planned; (void)ready; (void)info; (void)request;
    (void)made; (void)logits;
    {line}
    return 0;
}}
"""

RIGHT = [
    "aegis_transformer_create(&config, &allocator, &idle, 0);",
    "aegis_transformer_load(&idle, &planned, 0);",
    "aegis_transformer_planned_info(planned, &info);",
    "aegis_transformer_prepare(&planned, &ready, 0);",
    "aegis_transformer_generate(ready, &request, 1, 0, 0, &made, 0, 0);",
    "aegis_transformer_evaluate(ready, 0, 0, logits, 0);",
]
WRONG = [
    "aegis_transformer_load(&planned, &planned, 0);",
    "aegis_transformer_load(&idle, &ready, 0);",
    "aegis_transformer_prepare(&idle, &ready, 0);",
    "aegis_transformer_prepare(&ready, &ready, 0);",
    "aegis_transformer_planned_info(idle, &info);",
    "aegis_transformer_planned_info(ready, &info);",
    "aegis_transformer_generate(idle, &request, 1, 0, 0, &made, 0, 0);",
    "aegis_transformer_generate(planned, &request, 1, 0, 0, &made, 0, 0);",
    "aegis_transformer_evaluate(planned, 0, 0, logits, 0);",
    "aegis_transformer_ready_destroy(planned);",
    "aegis_transformer_idle_destroy(ready);",
    "aegis_transformer_ready copy = *ready; (void)copy;",
]


def refusal(compiler, include, line):
    """What the compiler says to a program with that line; None when it takes it."""
    done = subprocess.run(
        [*compiler, "-x", "c", "-std=c11", "-Werror=incompatible-pointer-types", f"-I{include}", "-fsyntax-only", "-"],
        input=PROGRAM.format(line=line), capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr


def main():
    source, *compiler = sys.argv[1:]
    include = f"{source}/include"
    failures = 0
    for line in RIGHT:
        words = refusal(compiler, include, line)
        if words is not None:
            failures += 1
            print(f"refused: {line}\n{words}")
    for line in WRONG:
        words = refusal(compiler, include, line)
        if words is None or not ("incompatible" in words or "incomplete type" in words):
            failures += 1
            print(f"not refused for its types: {line}\n{words}")
    print(f"{len(RIGHT)} right and {len(WRONG)} wrong uses, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
