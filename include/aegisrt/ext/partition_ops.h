/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_EXT_PARTITION_OPS_H
#define AEGISRT_EXT_PARTITION_OPS_H

/**
 * @file partition_ops.h How the weights of a transformer are divided between memory and disk: the
 * interface of a strategy.
 *
 * A model is a list of units (matrices) in the order in which a token needs them. A strategy cuts
 * them by rows into pieces; a piece is pinned (read once, before the first token) or belongs to a
 * group of consecutive pieces that is read into one of `buffers` equal buffers for every token.
 * With one buffer a group is read when the one before it has been computed; with more the next
 * groups are read meanwhile. Norms, biases and scales are always in memory and no matter of the
 * strategy.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A stored matrix. Its rows lie one behind the other in one file. */
typedef struct aegis_partition_unit {
    uint32_t layer;     /**< layer of the model, rising */
    uint32_t rows;      /**< stored rows: what a piece is a run of */
    uint64_t row_bytes; /**< of one stored row */
    uint32_t file;      /**< number of the file */
    uint64_t offset;    /**< of the first row in it, in bytes */
    bool lookup; /**< a table of which a token needs one row: pinned whole or left on disk; such
                      units stand last */
} aegis_partition_unit;

/** What a strategy decides about. */
typedef struct aegis_partition_request {
    const aegis_partition_unit *units;
    uint32_t unit_count;
    uint64_t available_bytes; /**< for pinned pieces and buffers */
    uint64_t tile_bytes;      /**< what one read should have */
    /** Measured, bytes a second; 0: not measured (no strategy but `auto` asks for them). */
    double disk_rate, memory_rate;
} aegis_partition_request;

/** Rows [first, first + count) of a unit. */
typedef struct aegis_partition_piece {
    uint32_t unit, first, count;
    uint32_t group;  /**< number of its group; AEGIS_PARTITION_PINNED; AEGIS_PARTITION_ON_DISK */
    uint64_t offset; /**< pinned: from the begin of the pinned bytes; else from its buffer's */
} aegis_partition_piece;

#define AEGIS_PARTITION_PINNED UINT32_MAX
#define AEGIS_PARTITION_ON_DISK (UINT32_MAX - 1) /**< rows of a lookup table, read one by one */

/** One stretch of a file that a group reads, in whole blocks. */
typedef struct aegis_partition_extent {
    uint32_t file;
    uint64_t file_offset, bytes; /**< multiples of AEGIS_PARTITION_BLOCK */
    uint64_t buffer_offset;
} aegis_partition_extent;

#define AEGIS_PARTITION_BLOCK 4096

/** Consecutive pieces that are read together. */
typedef struct aegis_partition_group {
    uint32_t first_piece, piece_count;
    uint32_t first_extent, extent_count;
    uint64_t buffer_bytes;
} aegis_partition_group;

/** A finished division. All arrays belong to it. */
typedef struct aegis_partition {
    aegis_allocator allocator;
    char strategy[32];
    aegis_partition_piece *pieces; /**< in the order of units and rows; every row is in one */
    uint32_t piece_count, piece_capacity;
    aegis_partition_group *groups; /**< in the order of pieces */
    uint32_t group_count, group_capacity;
    aegis_partition_extent *extents;
    uint32_t extent_count, extent_capacity;
    uint32_t buffers;        /**< 0 when nothing is read for a token */
    uint64_t buffer_bytes;   /**< of one, a multiple of the block */
    uint64_t pinned_bytes;   /**< of all pinned pieces, with what aligns them */
    uint64_t model_bytes;    /**< of all units */
    uint64_t streamed_bytes; /**< weights of all groups: what a token has to read at least */
    uint64_t read_bytes;     /**< what a token reads, in whole blocks */
    uint64_t memory_bytes;   /**< pinned_bytes + buffers * buffer_bytes */
    /** Estimate by rates, seconds a token; 0 when no rates were given. */
    double estimated_load_s, estimated_compute_s, estimated_token_s;
} aegis_partition;

/** What a strategy calls while it plans; it sees the partition grow. */
typedef struct aegis_partition_builder aegis_partition_builder;

/** How many buffers: once, before the first group; 1 to 64. INVALID_ARGUMENT. */
aegis_status
aegis_partition_set_buffers(aegis_partition_builder *builder, uint32_t buffers, aegis_error *err);
/** The next rows of the next unit stay in memory. INVALID_ARGUMENT (no rows, or more than the unit
 * has left), NO_MEMORY. */
aegis_status aegis_partition_pin(aegis_partition_builder *builder, uint32_t rows, aegis_error *err);
/** The next rows of the next unit join the open group. INVALID_ARGUMENT (as above; no buffers were
 * set; a lookup table), NO_MEMORY. */
aegis_status
aegis_partition_stream(aegis_partition_builder *builder, uint32_t rows, aegis_error *err);
/** Leaves the rest of a lookup table on disk. INVALID_ARGUMENT (the next unit is none), NO_MEMORY.
 */
aegis_status aegis_partition_leave(aegis_partition_builder *builder, aegis_error *err);
/** The rows that follow begin another group. A pinned piece ends the open group as well. */
void aegis_partition_end_group(aegis_partition_builder *builder);

#define AEGIS_PARTITION_STRATEGY_VERSION 1

/** A strategy; an instance is the table and `self`. Constant. */
typedef struct aegis_partition_strategy {
    uint32_t version; /**< AEGIS_PARTITION_STRATEGY_VERSION */
    const char *name; /**< at most 31 bytes */
    /**
     * Required. Adds every row of every unit, in order. Pure: equal requests give equal plans. Says
     * BUDGET_EXCEEDED, with how much is needed, when it cannot do with available_bytes; the caller
     * checks the sum in any case. Whatever it returns is verified.
     */
    aegis_status (*plan)(void *self,
                         const aegis_partition_request *request,
                         aegis_partition_builder *builder,
                         aegis_error *err);
    void *self;
} aegis_partition_strategy;

/** Number `index` of the built-in strategies, NULL behind the last. Static. `auto` comes last. */
const aegis_partition_strategy *aegis_partition_strategy_at(uint32_t index);
/** By name; NULL when there is none. */
const aegis_partition_strategy *aegis_partition_strategy_find(const char *name);

/**
 * Plans and verifies: every row in exactly one piece, in order; the sum within available_bytes.
 * BUDGET_EXCEEDED, INVALID_ARGUMENT (no units, an unusable strategy), INTERNAL (the strategy left
 * rows out), NO_MEMORY, and what the strategy returns. Free with aegis_partition_free.
 */
aegis_status aegis_partition_plan(const aegis_partition_strategy *strategy,
                                  const aegis_partition_request *request,
                                  const aegis_allocator *allocator,
                                  aegis_partition **ret_partition,
                                  aegis_error *err);
/** NULL is fine. */
void aegis_partition_free(aegis_partition *partition);

/** The least available_bytes with which any built-in strategy can plan. */
uint64_t aegis_partition_least_bytes(const aegis_partition_request *request);

#ifdef __cplusplus
}
#endif
#endif
