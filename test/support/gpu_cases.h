/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_GPU_CASES_H
#define AEGIS_TEST_GPU_CASES_H

/* One case of a program of tests at a time, and less of each, for tools that make a GPU slow:
 * scripts/gpu_sanitize.py asks for the names and runs each case in a process of its own. Include
 * behind cmocka. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether a tool slows kernels down by orders of magnitude. */
static inline bool under_sanitizer(void)
{
    return getenv("AEGISRT_UNDER_SANITIZER") != NULL;
}

/* Which takes seconds for what others do in a tenth. */
static inline bool under_racecheck(void)
{
    return under_sanitizer() && strcmp(getenv("AEGISRT_UNDER_SANITIZER"), "racecheck") == 0;
}

/* What is only of size: `usual`, or so few under such a tool, and a fifth of these under racecheck.
 */
static inline uint32_t repeats(uint32_t usual, uint32_t few)
{
    if (!under_sanitizer() || few >= usual) {
        return usual;
    }
    return under_racecheck() ? (few + 4) / 5 : few;
}

/* A case for each of what a function is given as its state, a string. */
#define CASE_OF(function, text) \
    {.name = #function "_" text, .test_func = function, .initial_state = (void *)(uintptr_t)text}

/* With AEGISRT_TEST_LIST the names and true: there is nothing to run. Else AEGISRT_TEST_FILTER
 * names what runs. */
static inline bool cases_listed(const struct CMUnitTest *tests, size_t count)
{
    if (getenv("AEGISRT_TEST_LIST") == NULL) {
        cmocka_set_test_filter(getenv("AEGISRT_TEST_FILTER"));
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        puts(tests[i].name);
    }
    return true;
}

#endif
