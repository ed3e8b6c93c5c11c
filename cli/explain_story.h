/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_EXPLAIN_STORY_H
#define AEGISRT_CLI_EXPLAIN_STORY_H

/* What `explain` tells in its own words, put together from many records. */

#include "json.h"

#include <aegisrt/trace.h>

/* Arrays of sentences; NULL when memory is short. `job` exists in the trace. */
json_t *explain_job(const aegis_trace_file *file, uint64_t job);
json_t *explain_instant(const aegis_trace_file *file, uint64_t at_ns);
/* `model` is a number that the header names. */
json_t *explain_model(const aegis_trace_file *file, uint16_t model);

#endif
