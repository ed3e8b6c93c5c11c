/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_STREAM_H
#define AEGIS_TRANSFORMER_STREAM_H

/*
 * The groups of a partition, read again for every pass into a ring of buffers while earlier groups
 * are computed. A pass is the groups [0, n); passes follow one another, and the groups of the next
 * announced pass are read as soon as buffers are free. Several reads are in flight at a time.
 */

#include "backend/transformer/engine/reader.h"

#include <aegisrt/ext/partition_ops.h>

typedef struct aegis_weight_stream aegis_weight_stream;

#define AEGIS_WEIGHT_STREAM_MAX_PASSES 4 /* announced and not begun yet, at most */

typedef struct aegis_weight_stream_counters {
    uint64_t read_bytes; /* of finished reads */
    uint64_t busy_ns;    /* at least one read was in flight */
    uint64_t stall_ns;   /* acquire waited */
} aegis_weight_stream_counters;

/* Borrows reader and partition. `threads` reads at a time, of `read_bytes` each at most (a multiple
 * of the block). NO_MEMORY, INVALID_ARGUMENT (nothing to stream). */
aegis_status aegis_weight_stream_create(const aegis_weight_reader *reader,
                                        const aegis_partition *partition,
                                        uint32_t threads,
                                        uint64_t read_bytes,
                                        const aegis_allocator *allocator,
                                        aegis_weight_stream **ret_stream,
                                        aegis_error *err);
/* Waits for reads in flight. NULL is fine. */
void aegis_weight_stream_destroy(aegis_weight_stream *stream);

/* Goes on in other buffers of that size, aligned to the block, which stay the caller's. Rewinds. */
void aegis_weight_stream_move(aegis_weight_stream *stream, void *buffers);
const void *aegis_weight_stream_buffers(const aegis_weight_stream *stream, uint64_t *ret_bytes);
/* `wake` is called by a reader, shortly, when a group has become ready. NULL: no more. */
void aegis_weight_stream_watch(aegis_weight_stream *stream, void (*wake)(void *self), void *self);
/* From now on the readers compute only where a core has nothing else to do. */
void aegis_weight_stream_be_idle(aegis_weight_stream *stream);

/* All below: one thread at a time; no locks but in rewind and count, and where acquire waits. */

/* Announces a pass of the first `groups` groups (at least 1) behind those announced before. False
 * when AEGIS_WEIGHT_STREAM_MAX_PASSES are waiting. */
bool aegis_weight_stream_announce(aegis_weight_stream *stream, uint32_t groups);
/* Groups of the first announced pass that is not finished; 0: none is. */
uint32_t aegis_weight_stream_announced(const aegis_weight_stream *stream);
/* The next group of the passes, once its bytes are there; its buffer stays until release. IO (the
 * group stays the next one: rewind, or release it unread), STATE (no pass is announced, a group is
 * held). */
aegis_status aegis_weight_stream_acquire(aegis_weight_stream *stream,
                                         const uint8_t **ret_bytes,
                                         aegis_error *err);
/* Whether acquire would not wait. */
bool aegis_weight_stream_is_ready(const aegis_weight_stream *stream);
/* Whether the next `groups` groups (at most the buffers) are there, or cannot come. */
bool aegis_weight_stream_has(const aegis_weight_stream *stream, uint32_t groups);
/* Number in its pass of the group that is held, or else comes next. */
uint32_t aegis_weight_stream_position(const aegis_weight_stream *stream);
/* Gives a group back; one that was not acquired goes by unread, once it is ready. */
void aegis_weight_stream_release(aegis_weight_stream *stream);
/* The group that is held stays the next one. */
void aegis_weight_stream_put_back(aegis_weight_stream *stream);
/* Forgets all passes and what was read for them; waits for reads in flight. */
void aegis_weight_stream_rewind(aegis_weight_stream *stream);

void aegis_weight_stream_count(const aegis_weight_stream *stream,
                               aegis_weight_stream_counters *ret_counters);

#endif
