/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRACE_SORT_H
#define AEGIS_TRACE_SORT_H

#include <stdbool.h>
#include <stddef.h>

/* Whether `b` must stand before `a`: strict, so that equal items keep their order. */
typedef bool trace_before(const void *context, const void *b, const void *a);

/* Stable merge sort of `count` items of `size` bytes; `scratch` holds as many. Runs that are in
 * order already cost one comparison, and traces nearly are. (qsort is not stable, and the C
 * library's may allocate.) */
void aegis_trace_sort(void *items,
                      void *scratch,
                      size_t count,
                      size_t size,
                      trace_before *before,
                      const void *context);

#endif
