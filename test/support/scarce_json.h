/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_SCARCE_JSON_H
#define AEGIS_TEST_SCARCE_JSON_H

/* jansson's own requests for memory, of which one fails. */

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>

static size_t scarce_json_requests, scarce_json_fails_at;
static json_malloc_t scarce_json_malloc;
static json_free_t scarce_json_free;

static inline void *scarce_json_take(size_t size)
{
    return ++scarce_json_requests == scarce_json_fails_at ? NULL : malloc(size);
}

static inline void scarce_json_begin(void)
{
    json_get_alloc_funcs(&scarce_json_malloc, &scarce_json_free);
    json_set_alloc_funcs(scarce_json_take, free);
}

/* From here on the nth request fails; 0: none. */
static inline void scarce_json_fail(size_t nth)
{
    scarce_json_requests = 0;
    scarce_json_fails_at = nth;
}

/* Whether the request that was to fail has come. */
static inline bool scarce_json_failed(void)
{
    return scarce_json_requests >= scarce_json_fails_at;
}

static inline void scarce_json_end(void)
{
    json_set_alloc_funcs(scarce_json_malloc, scarce_json_free);
}

#endif
