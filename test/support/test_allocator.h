/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_ALLOCATOR_H
#define AEGIS_TEST_ALLOCATOR_H

/* An allocator that counts, checks the sizes given back, and can fail the nth request. */

#include <aegisrt/allocator.h>

#include <stdatomic.h>
#include <stdint.h>

typedef struct test_allocator {
    _Atomic uint64_t calls;   /* requests so far, failed ones too */
    _Atomic uint64_t fail_at; /* the request (from 1) that fails; 0: none */
    _Atomic int64_t blocks;   /* given out and not given back */
    _Atomic int64_t bytes;    /* in them */
    _Atomic uint64_t wrong_sizes;
} test_allocator;

/* `self` is borrowed by the result. */
aegis_allocator test_allocator_make(test_allocator *self);

#endif
