/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_COLD_H
#define AEGIS_SCHEDULE_COLD_H

/* What a run finds in the caches when other models have run since its last one: nothing of its own.
 */

#include "base/cache.h"

#include <aegisrt/backend.h>

typedef struct aegis_cold {
    aegis_allocator allocator;
    const aegis_model *model; /* NULL: it is not known what it touches */
    aegis_heap_hold heap;     /* with `model`: where its runtime keeps the rest */
    uint64_t *sweep;          /* without: overwritten instead */
} aegis_cold;

/* Of an open model; the heap is held as it is now. NO_MEMORY. */
aegis_status aegis_cold_begin(aegis_cold *cold,
                              const aegis_model *model,
                              const aegis_allocator *allocator,
                              aegis_error *err);
/* On the thread that will run it, when nothing of the model runs. */
void aegis_cold_make(aegis_cold *cold);
void aegis_cold_end(aegis_cold *cold);

#endif
