/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_RESOURCE_GREEDY_H
#define AEGIS_RESOURCE_GREEDY_H

/* Plans without search: each buffer in turn goes to the lowest hole that holds it. */

#include <aegisrt/memory_plan.h>

#include <stddef.h>
#include <stdint.h>

/* Beyond this count only the order of starts is tried: the others take quadratic time. */
#define AEGIS_GREEDY_MAX_COUNT 20000u

/* Tries several orders and stops early at a height of `target_bytes` or less. `buffers` are sorted
 * by lower. Writes the best plan and its height. NO_MEMORY. */
aegis_status aegis_greedy_plan(const aegis_plan_buffer *buffers,
                               size_t count,
                               uint64_t target_bytes,
                               const aegis_allocator *allocator,
                               uint64_t *ret_offsets,
                               uint64_t *ret_height,
                               aegis_error *err);

#endif
