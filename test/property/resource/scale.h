/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_PROPERTY_RESOURCE_SCALE_H
#define AEGIS_TEST_PROPERTY_RESOURCE_SCALE_H

/* Seeds of property tests: every round has its own, and a failing one is printed at the end.
 * AEGISRT_PROPERTY_SCALE multiplies the number of rounds. */

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define PROPERTY_SEED UINT64_C(20261121)

typedef struct property_run {
    uint64_t seed;
    bool open; /* a round is under way */
} property_run;

static property_run property;

static inline uint64_t property_scale(void)
{
    const char *text = getenv("AEGISRT_PROPERTY_SCALE");
    uint64_t scale = text == NULL ? 1 : strtoull(text, NULL, 10);
    return scale == 0 ? 1 : scale;
}

static inline void property_at(uint64_t seed)
{
    property.open = true;
    property.seed = seed;
}

static inline void property_done(void)
{
    property.open = false;
}

static inline int property_start(void **state)
{
    (void)state;
    printf("first seed %" PRIu64 ", scale %" PRIu64 "\n", PROPERTY_SEED, property_scale());
    return 0;
}

static inline int property_end(void **state)
{
    (void)state;
    if (property.open) {
        printf("failed at seed %" PRIu64 "\n", property.seed);
    }
    return 0;
}

#endif
