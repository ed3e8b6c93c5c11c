/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/sort.h"

#include <string.h>

/* Merges [0, middle) and [middle, count) by way of a copy of the left half. */
static void merge(char *items,
                  char *scratch,
                  size_t middle,
                  size_t count,
                  size_t size,
                  trace_before *before,
                  const void *context)
{
    memcpy(scratch, items, middle * size);
    size_t left = 0, right = middle, out = 0;
    while (left < middle && right < count) {
        bool take_right = before(context, items + right * size, scratch + left * size);
        const char *from = take_right ? items + right++ * size : scratch + left++ * size;
        memmove(items + out++ * size, from, size);
    }
    memcpy(items + out * size, scratch + left * size, (middle - left) * size);
}

void aegis_trace_sort(void *items,
                      void *scratch,
                      size_t count,
                      size_t size,
                      trace_before *before,
                      const void *context)
{
    char *all = items;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t start = 0; start + width < count; start += 2 * width) {
            char *run = all + start * size;
            size_t length = count - start < 2 * width ? count - start : 2 * width;
            if (before(context, run + width * size, run + (width - 1) * size)) {
                merge(run, scratch, width, length, size, before, context);
            }
        }
    }
}
