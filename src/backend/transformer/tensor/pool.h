/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_POOL_H
#define AEGIS_TRANSFORMER_POOL_H

/*
 * Threads that share one piece of work after the other. The caller works too; each thread claims
 * one small chunk at a time, so that a thread that lost its core holds up no more than the chunk
 * that it had claimed, and one that sleeps holds up nothing. Waiting is a bounded spin, then a
 * futex.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdint.h>

typedef struct aegis_compute_pool aegis_compute_pool;

/* Chunk number `chunk` of the work, on thread number `thread` (below the pool's threads). */
typedef void (*aegis_compute_function)(void *argument, uint32_t chunk, uint32_t thread);

#define AEGIS_POOL_MAX_CHUNKS ((UINT32_C(1) << 20) - 1)
#define AEGIS_POOL_MAX_THREADS 64

/* `threads` work together, the caller of run included: 1 creates no thread. INVALID_ARGUMENT,
 * NO_MEMORY. */
aegis_status aegis_compute_pool_create(uint32_t threads,
                                       const aegis_allocator *allocator,
                                       aegis_compute_pool **ret_pool,
                                       aegis_error *err);
/* Not while run is in progress. NULL is fine. */
void aegis_compute_pool_destroy(aegis_compute_pool *pool);

uint32_t aegis_compute_pool_threads(const aegis_compute_pool *pool);

/* Calls `function` once for each chunk below `chunks` (at most AEGIS_POOL_MAX_CHUNKS) and returns
 * when all calls have. One caller at a time. */
void aegis_compute_pool_run(aegis_compute_pool *pool,
                            uint32_t chunks,
                            aegis_compute_function function,
                            void *argument);

#endif
