/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_CUDA_REQUIRE_H
#define AEGIS_TEST_CUDA_REQUIRE_H

/* Checks of programs that go on after one failed: a device may be lost by then, and what comes is
 * to be seen. The program ends with 1 when `failures` is not 0. */
#include <stdbool.h>
#include <stdio.h>

static int failures;

static void require(bool good, const char *text, int line)
{
    if (!good) {
        printf("line %d: not true: %s\n", line, text);
        failures++;
    }
}
#define REQUIRE(condition) require((condition), #condition, __LINE__)

#endif
