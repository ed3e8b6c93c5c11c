/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_HEAP_H
#define AEGIS_BACKEND_ORT_HEAP_H

/*
 * Memory of one model on a CUDA device that no plan covers: trial runs and loading on the device,
 * and what its runs ask for on the CPU, pinned or not. Blocks are described out of band, for the
 * CPU cannot write into device memory. A freed block is handed out again for the next request of
 * its size, so that a run that asks as before gets the same addresses and nothing new is taken.
 * Used by one thread at a time.
 */

#include "base/base.h"

#include <aegisrt/device.h>

typedef enum aegis_ort_heap_kind {
    AEGIS_ORT_HEAP_DEVICE, /* beside the arena */
    AEGIS_ORT_HEAP_PINNED, /* of the device's pinned region */
    AEGIS_ORT_HEAP_HOST    /* ordinary memory: copies from it take their bytes at once */
} aegis_ort_heap_kind;

typedef struct aegis_ort_heap_block {
    void *pointer;
    uint64_t size_bytes, tag;
    const void *owner;
    bool used;
    bool held; /* freed while work was captured, which may still read it */
} aegis_ort_heap_block;

typedef struct aegis_ort_heap {
    aegis_allocator allocator;
    aegis_device *device;
    aegis_ort_heap_kind kind;
    bool hold; /* blocks that are freed now are not handed out again */
    aegis_ort_heap_block *blocks;
    size_t count, capacity;
    uint64_t taken_bytes, peak_bytes; /* of all blocks, used or not */
    uint64_t requests;                /* since it was made */
    aegis_error failure;              /* why the last request failed */
} aegis_ort_heap;

void aegis_ort_heap_init(aegis_ort_heap *heap,
                         aegis_ort_heap_kind kind,
                         aegis_device *device,
                         const aegis_allocator *allocator);
/* Gives everything back. Also of a zeroed one. */
void aegis_ort_heap_finish(aegis_ort_heap *heap);
/* Gives back what is not used. */
void aegis_ort_heap_trim(aegis_ort_heap *heap);
/* Blocks that were held back are free. */
void aegis_ort_heap_unhold(aegis_ort_heap *heap);

/* Aligned to 256 bytes; NULL when there is no more, `failure` says why. */
void *
aegis_ort_heap_alloc(aegis_ort_heap *heap, uint64_t size_bytes, uint64_t tag, const void *owner);
/* False for a pointer that is none of its blocks in use. */
bool aegis_ort_heap_free(aegis_ort_heap *heap, const void *pointer);
/* The block in use at this address, or NULL; until the next alloc. */
const aegis_ort_heap_block *aegis_ort_heap_find(const aegis_ort_heap *heap, const void *pointer);

#endif
