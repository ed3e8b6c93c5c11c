/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_RUNNER_H
#define AEGIS_TRANSFORMER_RUNNER_H

/*
 * One sequence of one model, a token at a time, on the calling thread alone, in memory
 * that can be moved to planned addresses. A step is cut into pieces (runs of rows of a matrix) of
 * at most AEGIS_RUNNER_TILE_BYTES; what lies between two of them is the unit of ending it part-way.
 *
 * Weights stay in memory, or a part of them comes from the files for every step, into buffers,
 * while other parts compute. A step of such a model is divided into segments (runs of blocks, parts
 * of the head): a segment whose bytes are there runs without waiting.
 *
 * The bits are those of the engine: sums do not depend on the pieces.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stdint.h>

#define AEGIS_RUNNER_TILE_BYTES ((uint64_t)512 << 10)
#define AEGIS_RUNNER_BUFFER_ALIGNMENT 4096u

typedef struct aegis_runner aegis_runner;

/* What the memory limit of a model is held against before any weights are read. */
typedef struct aegis_runner_sizes {
    uint64_t weights;  /* matrices, or those of them that stay */
    uint64_t buffers;  /* that the others pass through; aligned to AEGIS_RUNNER_BUFFER_ALIGNMENT */
    uint64_t cache;    /* keys and values of the whole context */
    uint64_t vectors;  /* norms and biases; beside the plan */
    uint64_t crossing; /* read behind a cut that it was written before */
    uint64_t working;  /* dead at every cut */
} aegis_runner_sizes;

typedef struct aegis_runner_facts {
    const char *architecture; /* "llama"; static */
    const char *dtype;        /* of the head; static */
    const char *instructions; /* static */
    uint32_t layers, vocabulary, context;
    uint32_t pieces;         /* of a step, once divided; as are sizes, dtype and the next two */
    uint64_t streamed_bytes; /* weights that a step reads; 0: all stay */
    uint64_t model_bytes;
    char hash[65]; /* over config.json and the files of the weights */
    aegis_runner_sizes sizes;
} aegis_runner_facts;

/*
 * Reads and checks the headers in `folder`. `context` 0: 1024 positions, or what the model can.
 * NOT_FOUND, PARSE, CONFIG (a context that the model cannot), UNSUPPORTED, IO, PERMISSION,
 * NO_MEMORY.
 */
aegis_status aegis_runner_open(const char *folder,
                               uint32_t context,
                               const aegis_allocator *allocator,
                               aegis_runner **ret_runner,
                               aegis_error *err);
/* What weights may take. */
typedef struct aegis_runner_division {
    bool stream;           /* else all stay, whatever they need */
    uint64_t memory_bytes; /* of the model as a whole */
    uint64_t other_bytes;  /* of that, what is not among the runner's sizes */
} aegis_runner_division;
/* Once, after open: which weights stay. BUDGET_EXCEEDED says how much is needed; NO_MEMORY. */
aegis_status
aegis_runner_divide(aegis_runner *runner, const aegis_runner_division *division, aegis_error *err);
/* Reads the weights into memory of its own; the cache and the rest lie there too. IO, NO_MEMORY. */
aegis_status aegis_runner_load(aegis_runner *runner, aegis_error *err);
/* NULL is fine. */
void aegis_runner_close(aegis_runner *runner);

const aegis_runner_facts *aegis_runner_about(const aegis_runner *runner);
/* Whether the model ends a text with this token. */
bool aegis_runner_is_end(const aegis_runner *runner, uint32_t token);
/* Whether a step can be cut before piece `piece`: between two blocks, before the head, and between
 * two pieces of the head. Tensors that cross there, and their bytes. */
bool aegis_runner_can_cut(const aegis_runner *runner,
                          uint32_t piece,
                          uint32_t *ret_tensors,
                          uint64_t *ret_bytes);
/* The block that `piece` belongs to; the number of layers for the head. */
uint32_t aegis_runner_block_of(const aegis_runner *runner, uint32_t piece);

/* Of a streamed model: whether a segment of a step begins at `piece`. */
bool aegis_runner_begins_segment(const aegis_runner *runner, uint32_t piece);
/* The groups of bytes that pieces [first, end) take from the files: [*ret_first, *ret_end). */
void aegis_runner_groups(const aegis_runner *runner,
                         uint32_t first,
                         uint32_t end,
                         uint32_t *ret_first,
                         uint32_t *ret_end);
/* Whether a segment with those groups, which is to be run next, can be run without waiting; lets
 * what stands before them go by. Takes no lock and does not wait. Before each segment. */
bool aegis_runner_has(aegis_runner *runner, uint32_t first_group, uint32_t end_group);
/* `wake` is called when an answer of that may have changed; NULL: no more. */
void aegis_runner_watch(aegis_runner *runner, void (*wake)(void *self), void *self);

/* Moves the weights to `weights` and the cache, without its contents, to `cache`, both aligned to
 * 64, and the buffers to `buffers`; memory of its own goes back as it is copied, so that hardly
 * anything is there twice. */
void aegis_runner_move(aegis_runner *runner, void *weights, void *buffers, void *cache);
/* Where the next piece computes: areas of sizes.crossing and sizes.working, aligned to 64, and
 * room for `vocabulary` logits. */
void aegis_runner_bind(aegis_runner *runner, void *crossing, void *working, float *logits);
/* Shows the bytes that steps read or write and that stay where they are until the runner is moved
 * or closed: weights, buffers, cache, and its tables of them. Once loaded, when idle. */
void aegis_runner_visit(const aegis_runner *runner,
                        void (*visit)(void *self, const void *bytes, size_t size),
                        void *self);
/* Touches the whole cache, with small numbers. */
void aegis_runner_fill_cache(aegis_runner *runner);

/* Begins the step of `token` at `position`; a step that was begun before is given up.
 * INVALID_ARGUMENT (outside of the vocabulary or the context). */
aegis_status
aegis_runner_begin(aegis_runner *runner, uint32_t token, uint32_t position, aegis_error *err);
/* Goes on up to piece `until`. */
aegis_status aegis_runner_run(aegis_runner *runner, uint32_t until, aegis_error *err);
/* At a cut: keeps where the step stands, and goes back to where it stood. */
void aegis_runner_save(aegis_runner *runner);
void aegis_runner_restore(aegis_runner *runner);
/* The token with the largest logit. After the last piece. */
uint32_t aegis_runner_choose(const aegis_runner *runner);

#endif
