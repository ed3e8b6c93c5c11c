/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_STRESSOR_H
#define AEGIS_SCHEDULE_STRESSOR_H

/* The one fixed load of profiles: on a lane, streams through memory and multiplies until told to
 * stop. Fixed, so that adding a model does not void the profiles of the others. */

#include <aegisrt/allocator.h>
#include <aegisrt/device.h>

typedef struct aegis_stressor aegis_stressor;

/* What the load of a GPU's lanes copies, each in a part of its own: on the device, and from and to
 * the host. Borrowed. */
typedef struct aegis_stress_memory {
    aegis_buffer device, pinned;
} aegis_stress_memory;

/* One stressor for each stream, and last for the one that copies inputs (NULL: there is none),
 * which on a GPU copies in and nothing else; its memory is taken here, and that of a GPU's given
 * (else NULL). `streams` is borrowed. */
aegis_status aegis_stressor_create(aegis_stream *const *streams,
                                   size_t lane_count,
                                   aegis_stream *copy_stream,
                                   const aegis_stress_memory *memory,
                                   const aegis_allocator *allocator,
                                   aegis_stressor **ret_stressor,
                                   aegis_error *err);
void aegis_stressor_destroy(aegis_stressor *stressor);
#define AEGIS_STRESS_ALL SIZE_MAX
/* Returns when all of them run, but the one of stream `spared`. */
aegis_status aegis_stressor_start(aegis_stressor *stressor, size_t spared, aegis_error *err);
aegis_status aegis_stressor_stop(aegis_stressor *stressor, aegis_error *err);

#endif
