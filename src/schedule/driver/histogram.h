/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_HISTOGRAM_H
#define AEGIS_SCHEDULE_HISTOGRAM_H

/* Times in ns with a relative step of 1/64 (1.6 %), exact below 64; one writer, readers get a
 * moment's view. No allocation, no lock. */

#include <aegisrt/scheduler.h>

#include <stdatomic.h>

#define AEGIS_HISTOGRAM_STEP_BITS 6
#define AEGIS_HISTOGRAM_OCTAVES 38 /* up to 2^43 ns, over two hours */
#define AEGIS_HISTOGRAM_BINS ((AEGIS_HISTOGRAM_OCTAVES + 1) << AEGIS_HISTOGRAM_STEP_BITS)

typedef struct aegis_histogram {
    _Atomic uint32_t bins[AEGIS_HISTOGRAM_BINS];
    _Atomic uint64_t count, sum, max;
    _Atomic uint64_t sum_us, sum_of_squares_us2; /* of whole microseconds, for the variation */
} aegis_histogram;

void aegis_histogram_add(aegis_histogram *histogram, uint64_t time_ns);
void aegis_histogram_summarise(const aegis_histogram *histogram, aegis_distribution *ret_summary);

#endif
