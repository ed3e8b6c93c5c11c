/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By address, where they are known: what the model says that its runs touch, and the heap. A sweep
 * instead would have to be as large as the last cache, which is hundreds of MB on some machines;
 * one of 16 MiB empties the caches of a core.
 */
#include "schedule/profile/cold.h"

#include "base/base.h"

#define SWEEP_WORDS ((size_t)2 << 20)

static void evict(void *self, const void *bytes, size_t size)
{
    bool *all = self;
    *all = aegis_cache_evict(bytes, size) && *all;
}

static bool evict_touched(const aegis_model *model)
{
    bool all = true;
    return aegis_model_visit_touched(model, evict, &all) && all;
}

aegis_status aegis_cold_begin(aegis_cold *cold,
                              const aegis_model *model,
                              const aegis_allocator *allocator,
                              aegis_error *err)
{
    *cold = (aegis_cold){.allocator = *allocator};
    if (evict_touched(model)) {
        cold->model = model;
        aegis_heap_hold_take(&cold->heap);
        return AEGIS_OK;
    }
    cold->sweep = aegis_allocate_zeroed(allocator, SWEEP_WORDS, sizeof *cold->sweep);
    return cold->sweep != NULL
               ? AEGIS_OK
               : aegis_error_set(err, AEGIS_HERE("schedule.profiler"), AEGIS_ERROR_NO_MEMORY,
                                 "no host memory to sweep the caches with");
}

void aegis_cold_make(aegis_cold *cold)
{
    if (cold->model != NULL) {
        evict_touched(cold->model);
        aegis_cache_evict(cold->heap.bytes, cold->heap.size);
        return;
    }
    for (size_t i = 0; i < SWEEP_WORDS; i++) {
        cold->sweep[i] += i;
    }
}

void aegis_cold_end(aegis_cold *cold)
{
    aegis_heap_hold_release(&cold->heap);
    aegis_deallocate(&cold->allocator, cold->sweep, SWEEP_WORDS, sizeof *cold->sweep);
    cold->sweep = NULL;
}
