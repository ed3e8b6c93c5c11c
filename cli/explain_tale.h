/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_EXPLAIN_TALE_H
#define AEGISRT_CLI_EXPLAIN_TALE_H

/* What stories are made of: stays on lanes and tales of jobs, read from records, and words. */

#include "json.h"

#include <aegisrt/trace.h>

typedef struct stay {
    uint64_t job, from, to, start, end;
    int64_t segment, key, other_key, other_model;
    uint16_t model, lane, why;
    bool done;
} stay;

/* A job as the trace tells of it. */
typedef struct tale {
    uint64_t job, release, seen;
    uint16_t model;
    const aegis_trace_record *end; /* COMPLETE, MISS, ABORT, REJECT, SKIP; NULL: none yet */
    const stay *first, *last;      /* NULL: it never ran */
    uint64_t ran;
} tale;

typedef struct story {
    const aegis_trace_file *file;
    const aegis_trace_record *records;
    size_t count;
    stay *stays; /* by time of decision */
    size_t stay_count;
    json_t *header, *lines;
    bool ticks;
} story;

/* False when memory is short. */
bool story_open(story *s, const aegis_trace_file *file);
/* The sentences told; the rest is freed. */
json_t *story_close(story *s);
tale story_tale(const story *s, uint64_t job);
bool story_is_end(const aegis_trace_record *record);

/* Adds a sentence. */
void story_tell(const story *s, const char *format, ...) AEGIS_PRINTF(2, 3);
/* Instants as in the other sentences, so that --at takes them, and durations; ticks as they are. */
const char *story_instant(const story *s, uint64_t ns, char buffer[CLI_TEXT_BYTES]);
const char *story_length(const story *s, uint64_t ns, char buffer[CLI_TEXT_BYTES]);
const char *story_name(const story *s, uint16_t model, char buffer[32]);
/* What the trace's header says of a model; NULL: nothing. */
json_t *story_header(const story *s, uint16_t model);

#endif
