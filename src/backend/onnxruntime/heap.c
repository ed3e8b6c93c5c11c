/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/heap.h"

#include <aegisrt/ext/cuda_graph.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "backend.onnxruntime.heap"
#define ALIGNMENT 256u /* what CUDA's own allocations have at least */

void aegis_ort_heap_init(aegis_ort_heap *heap,
                         aegis_ort_heap_kind kind,
                         aegis_device *device,
                         const aegis_allocator *allocator)
{
    *heap = (aegis_ort_heap){.allocator = *allocator, .device = device, .kind = kind};
}

/* ---- where bytes come from ---- */

static uint64_t rounded(uint64_t size_bytes)
{
    return aegis_align_up(size_bytes == 0 ? 1 : size_bytes, ALIGNMENT);
}

static aegis_status take(aegis_ort_heap *heap, uint64_t size_bytes, void **ret, aegis_error *err)
{
    aegis_buffer part;
    aegis_status status = AEGIS_OK;
    switch (heap->kind) {
    case AEGIS_ORT_HEAP_DEVICE:
        return aegis_cuda_memory_alloc(heap->device, size_bytes, ret, err);
    case AEGIS_ORT_HEAP_PINNED:
        status = aegis_device_pinned_alloc(heap->device, size_bytes, ALIGNMENT, &part, err);
        if (status == AEGIS_OK) {
            *ret = part.pointer;
        } else {
            aegis_error_prefix(err, "no pinned memory is left ([device] pinned)");
        }
        return status;
    case AEGIS_ORT_HEAP_HOST:
        break;
    }
    *ret = aligned_alloc(ALIGNMENT, size_bytes);
    return *ret != NULL ? AEGIS_OK
                        : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                          "no %" PRIu64 " bytes of host memory", size_bytes);
}

static void give(aegis_ort_heap *heap, const aegis_ort_heap_block *block)
{
    void *base = NULL;
    uint64_t size = rounded(block->size_bytes), unused;
    switch (heap->kind) {
    case AEGIS_ORT_HEAP_DEVICE:
        aegis_cuda_memory_free(heap->device, block->pointer);
        break;
    case AEGIS_ORT_HEAP_PINNED: {
        aegis_device_get_pinned(heap->device, &base, &unused);
        aegis_buffer part = {.pointer = block->pointer,
                             .offset_bytes = (uint64_t)((char *)block->pointer - (char *)base),
                             .size_bytes = size};
        (void)aegis_device_pinned_free(heap->device, &part, NULL);
        break;
    }
    case AEGIS_ORT_HEAP_HOST:
        free(block->pointer);
        break;
    }
    heap->taken_bytes -= size;
}

/* ---- blocks ---- */

static bool make_room(aegis_ort_heap *heap)
{
    if (heap->count < heap->capacity) {
        return true;
    }
    size_t capacity = heap->capacity == 0 ? 128 : 2 * heap->capacity;
    aegis_ort_heap_block *blocks =
        aegis_allocate_zeroed(&heap->allocator, capacity, sizeof *blocks);
    if (blocks == NULL) {
        return false;
    }
    if (heap->count > 0) {
        memcpy(blocks, heap->blocks, heap->count * sizeof *blocks);
    }
    aegis_deallocate(&heap->allocator, heap->blocks, heap->capacity, sizeof *blocks);
    heap->blocks = blocks;
    heap->capacity = capacity;
    return true;
}

static aegis_ort_heap_block *add_block(aegis_ort_heap *heap, uint64_t size_bytes)
{
    uint64_t size = rounded(size_bytes);
    void *pointer = NULL;
    if (size < size_bytes || !make_room(heap)) {
        aegis_error_set(&heap->failure, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                        "no host memory to describe a block of %" PRIu64 " bytes", size_bytes);
        return NULL;
    }
    if (take(heap, size, &pointer, &heap->failure) != AEGIS_OK) {
        return NULL;
    }
    heap->taken_bytes += size;
    heap->peak_bytes = heap->taken_bytes > heap->peak_bytes ? heap->taken_bytes : heap->peak_bytes;
    aegis_ort_heap_block *block = &heap->blocks[heap->count++];
    *block = (aegis_ort_heap_block){.pointer = pointer, .size_bytes = size_bytes};
    return block;
}

void *
aegis_ort_heap_alloc(aegis_ort_heap *heap, uint64_t size_bytes, uint64_t tag, const void *owner)
{
    aegis_ort_heap_block *found = NULL;
    heap->requests++;
    for (size_t i = 0; i < heap->count && found == NULL; i++) {
        aegis_ort_heap_block *block = &heap->blocks[i];
        if (block->size_bytes == size_bytes && !block->used && !block->held) {
            found = block;
        }
    }
    found = found != NULL ? found : add_block(heap, size_bytes);
    if (found == NULL) {
        return NULL;
    }
    found->used = true;
    found->tag = tag;
    found->owner = owner;
    return found->pointer;
}

static aegis_ort_heap_block *find_used(const aegis_ort_heap *heap, const void *pointer)
{
    for (size_t i = 0; i < heap->count; i++) {
        if (heap->blocks[i].pointer == pointer && heap->blocks[i].used) {
            return &heap->blocks[i];
        }
    }
    return NULL;
}

const aegis_ort_heap_block *aegis_ort_heap_find(const aegis_ort_heap *heap, const void *pointer)
{
    return find_used(heap, pointer);
}

bool aegis_ort_heap_free(aegis_ort_heap *heap, const void *pointer)
{
    aegis_ort_heap_block *block = find_used(heap, pointer);
    if (block == NULL) {
        return false;
    }
    block->used = false;
    block->held = heap->hold;
    return true;
}

void aegis_ort_heap_unhold(aegis_ort_heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        heap->blocks[i].held = false;
    }
}

void aegis_ort_heap_trim(aegis_ort_heap *heap)
{
    size_t kept = 0;
    for (size_t i = 0; i < heap->count; i++) {
        if (heap->blocks[i].used || heap->blocks[i].held) {
            heap->blocks[kept++] = heap->blocks[i];
        } else {
            give(heap, &heap->blocks[i]);
        }
    }
    heap->count = kept;
}

void aegis_ort_heap_finish(aegis_ort_heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        give(heap, &heap->blocks[i]);
    }
    if (heap->blocks != NULL) {
        aegis_deallocate(&heap->allocator, heap->blocks, heap->capacity, sizeof *heap->blocks);
    }
    memset(heap, 0, sizeof *heap);
}
