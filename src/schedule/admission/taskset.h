/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_ADMISSION_TASKSET_H
#define AEGIS_SCHEDULE_ADMISSION_TASKSET_H

/* A task set that is part of a larger JSON text. */

#include "schedule/admission/position.h"

#include <aegisrt/admission.h>

#include <jansson.h>

/* As aegis_taskset_parse, of a value that has been parsed and stands at `offset` of the text. */
aegis_status aegis_taskset_read(json_t *value,
                                aegis_json_text json,
                                size_t offset,
                                const char *origin,
                                const aegis_allocator *allocator,
                                aegis_taskset **ret_taskset,
                                aegis_error *err);

#endif
