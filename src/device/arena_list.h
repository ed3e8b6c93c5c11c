/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_ARENA_LIST_H
#define AEGIS_DEVICE_ARENA_LIST_H

/* Which parts of an arena are taken. The list lies outside the arena, so that it serves memory that
 * the host cannot touch. First fit; a mutex guards the list, the counters are read without it. */

#include <aegisrt/device.h>

typedef struct aegis_arena_list aegis_arena_list;

/* `base` is an address that is only computed with. `limit` names what sets the size, for the cure
 * in messages; static. NO_MEMORY when host memory is short. */
aegis_status aegis_arena_list_create(void *base,
                                     uint64_t size_bytes,
                                     const char *limit,
                                     const aegis_allocator *allocator,
                                     aegis_arena_list **ret_list,
                                     aegis_error *err);
void aegis_arena_list_destroy(aegis_arena_list *list);

/* As aegis_device_alloc, which validates and documents. */
aegis_status aegis_arena_list_take(aegis_arena_list *list,
                                   uint64_t size_bytes,
                                   uint64_t alignment,
                                   aegis_buffer *ret_buffer,
                                   aegis_error *err);
aegis_status
aegis_arena_list_give(aegis_arena_list *list, const aegis_buffer *buffer, aegis_error *err);

void aegis_arena_list_usage(const aegis_arena_list *list, uint64_t *ret_used, uint64_t *ret_peak);

#endif
