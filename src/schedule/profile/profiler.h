/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_PROFILER_H
#define AEGIS_SCHEDULE_PROFILER_H

/* What measuring runs (profiler.c) and measuring copies (profile_copies.c) share. */

#include "schedule/profile/stressor.h"

#include <aegisrt/profile.h>

struct aegis_profiler {
    aegis_allocator allocator;
    aegis_profiler_config config;
    size_t lane;              /* that runs the models */
    aegis_stressor *stressor; /* of the lanes, then of the copy stream; NULL for one lane alone */
};

/* Defaults filled in and checked. INVALID_ARGUMENT. */
aegis_status aegis_profiler_options(const aegis_profile_options *given,
                                    aegis_profile_options *ret_options,
                                    aegis_error *err);
void aegis_profiler_report(const aegis_profiler *profiler,
                           const char *phase,
                           uint32_t done,
                           uint32_t total);

#endif
