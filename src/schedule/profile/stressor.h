/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_STRESSOR_H
#define AEGIS_SCHEDULE_STRESSOR_H

/* The one fixed load of profiles: on a lane, streams through memory and multiplies until told to
 * stop. Fixed, so that adding a model does not void the profiles of the others. */

#include <aegisrt/allocator.h>
#include <aegisrt/device.h>

typedef struct aegis_stressor aegis_stressor;

/* One stressor for each stream; memory is taken here. `streams` is borrowed. */
aegis_status aegis_stressor_create(aegis_stream *const *streams,
                                   size_t count,
                                   const aegis_allocator *allocator,
                                   aegis_stressor **ret_stressor,
                                   aegis_error *err);
void aegis_stressor_destroy(aegis_stressor *stressor);
/* Returns when all of them run. */
aegis_status aegis_stressor_start(aegis_stressor *stressor, aegis_error *err);
aegis_status aegis_stressor_stop(aegis_stressor *stressor, aegis_error *err);

#endif
