/* SPDX-License-Identifier: Apache-2.0 */
#include "device/arena_list.h"

#include "base/base.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

/* A part of the arena, taken or free. The parts follow each other without gap from 0 to the size of
 * the arena; no two neighbours are both free. */
typedef struct part {
    struct part *previous, *next;
    uint64_t offset, size;
    bool taken;
} part;

struct aegis_arena_list {
    aegis_allocator allocator;
    char *base; /* an address to compute with; it may be a device's */
    const char *limit;
    uint64_t size;
    pthread_mutex_t mutex; /* guards the list of parts */
    part *first;
    _Atomic uint64_t used, peak; /* written under the mutex */
};

static part *new_part(aegis_arena_list *list, uint64_t offset, uint64_t size)
{
    part *node = aegis_allocate_zeroed(&list->allocator, 1, sizeof *node);
    if (node != NULL) {
        node->offset = offset;
        node->size = size;
    }
    return node;
}

static void free_part(aegis_arena_list *list, part *node)
{
    aegis_deallocate(&list->allocator, node, 1, sizeof *node);
}

aegis_status aegis_arena_list_create(void *base,
                                     uint64_t size_bytes,
                                     const char *limit,
                                     const aegis_allocator *allocator,
                                     aegis_arena_list **ret_list,
                                     aegis_error *err)
{
    aegis_arena_list *list = aegis_allocate_zeroed(allocator, 1, sizeof *list);
    if (list == NULL) {
        goto fail;
    }
    list->allocator = *allocator;
    list->base = base;
    list->size = size_bytes;
    list->limit = limit;
    list->first = new_part(list, 0, size_bytes);
    if (list->first == NULL) {
        goto fail;
    }
    pthread_mutex_init(&list->mutex, NULL);
    *ret_list = list;
    return AEGIS_OK;
fail:
    aegis_deallocate(allocator, list, 1, sizeof *list);
    return aegis_error_set(err, AEGIS_HERE("device.arena"), AEGIS_ERROR_NO_MEMORY,
                           "no host memory for the list of the arena's parts");
}

void aegis_arena_list_destroy(aegis_arena_list *list)
{
    if (list == NULL) {
        return;
    }
    part *next;
    for (part *node = list->first; node != NULL; node = next) {
        next = node->next;
        free_part(list, node);
    }
    pthread_mutex_destroy(&list->mutex);
    aegis_allocator allocator = list->allocator;
    aegis_deallocate(&allocator, list, 1, sizeof *list);
}

/* Bytes to skip in `node` so that its address is aligned. */
static uint64_t padding_of(const aegis_arena_list *list, const part *node, uint64_t alignment)
{
    uint64_t address = (uint64_t)(uintptr_t)list->base + node->offset;
    return aegis_align_up(address, alignment) - address;
}

static part *find_fit(const aegis_arena_list *list, uint64_t size, uint64_t alignment)
{
    for (part *node = list->first; node != NULL; node = node->next) {
        uint64_t padding = padding_of(list, node, alignment);
        if (!node->taken && padding <= node->size && size <= node->size - padding) {
            return node;
        }
    }
    return NULL;
}

static void insert_after(part *node, part *added)
{
    added->previous = node;
    added->next = node->next;
    if (node->next != NULL) {
        node->next->previous = added;
    }
    node->next = added;
}

static void merge_with_next(aegis_arena_list *list, part *node)
{
    part *gone = node->next;
    node->size += gone->size;
    node->next = gone->next;
    if (gone->next != NULL) {
        gone->next->previous = node;
    }
    free_part(list, gone);
}

/* Splits `node` behind `size` bytes; the rest is free. False when host memory is short. */
static bool split(aegis_arena_list *list, part *node, uint64_t size)
{
    if (size == node->size) {
        return true;
    }
    part *rest = new_part(list, node->offset + size, node->size - size);
    if (rest == NULL) {
        return false;
    }
    node->size = size;
    insert_after(node, rest);
    return true;
}

/* Cuts [padding, padding + size) out of the free part `node`; NULL, with nothing changed, when host
 * memory is short. */
static part *carve(aegis_arena_list *list, part *node, uint64_t padding, uint64_t size)
{
    part *chosen = node;
    if (padding > 0) {
        if (!split(list, node, padding)) {
            return NULL;
        }
        chosen = node->next;
    }
    if (!split(list, chosen, size)) {
        if (chosen != node) {
            merge_with_next(list, node);
        }
        return NULL;
    }
    return chosen;
}

static uint64_t largest_hole(const aegis_arena_list *list)
{
    uint64_t largest = 0;
    for (const part *node = list->first; node != NULL; node = node->next) {
        if (!node->taken && node->size > largest) {
            largest = node->size;
        }
    }
    return largest;
}

static void count(aegis_arena_list *list, uint64_t used)
{
    atomic_store(&list->used, used);
    if (used > atomic_load(&list->peak)) {
        atomic_store(&list->peak, used);
    }
}

aegis_status aegis_arena_list_take(aegis_arena_list *list,
                                   uint64_t size_bytes,
                                   uint64_t alignment,
                                   aegis_buffer *ret_buffer,
                                   aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    pthread_mutex_lock(&list->mutex);
    uint64_t used = atomic_load(&list->used);
    part *node = find_fit(list, size_bytes, alignment);
    if (node == NULL) {
        status = aegis_error_set(
            err, AEGIS_HERE("device.arena"), AEGIS_ERROR_NO_MEMORY,
            "need %" PRIu64 " bytes aligned to %" PRIu64 ", largest hole %" PRIu64 ", free %" PRIu64
            " of %" PRIu64 " bytes: enlarge %s or free buffers first",
            size_bytes, alignment, largest_hole(list), list->size - used, list->size, list->limit);
        goto done;
    }
    node = carve(list, node, padding_of(list, node, alignment), size_bytes);
    if (node == NULL) {
        status =
            aegis_error_set(err, AEGIS_HERE("device.arena"), AEGIS_ERROR_NO_MEMORY,
                            "no host memory to note a buffer of %" PRIu64 " bytes", size_bytes);
        goto done;
    }
    node->taken = true;
    count(list, used + size_bytes);
    *ret_buffer = (aegis_buffer){.pointer = list->base + node->offset,
                                 .offset_bytes = node->offset,
                                 .size_bytes = size_bytes};
done:
    pthread_mutex_unlock(&list->mutex);
    return status;
}

static part *find_taken(const aegis_arena_list *list, const aegis_buffer *buffer)
{
    for (part *node = list->first; node != NULL; node = node->next) {
        if (node->taken && node->offset == buffer->offset_bytes &&
            node->size == buffer->size_bytes && buffer->pointer == list->base + node->offset) {
            return node;
        }
    }
    return NULL;
}

aegis_status
aegis_arena_list_give(aegis_arena_list *list, const aegis_buffer *buffer, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    pthread_mutex_lock(&list->mutex);
    part *node = find_taken(list, buffer);
    if (node == NULL) {
        status = aegis_error_set(err, AEGIS_HERE("device.arena"), AEGIS_ERROR_INVALID_ARGUMENT,
                                 "no buffer of %" PRIu64 " bytes at offset %" PRIu64
                                 " (%p) is taken: it was freed before or is of another device",
                                 buffer->size_bytes, buffer->offset_bytes, buffer->pointer);
        goto done;
    }
    node->taken = false;
    count(list, atomic_load(&list->used) - node->size);
    if (node->next != NULL && !node->next->taken) {
        merge_with_next(list, node);
    }
    if (node->previous != NULL && !node->previous->taken) {
        merge_with_next(list, node->previous);
    }
done:
    pthread_mutex_unlock(&list->mutex);
    return status;
}

void aegis_arena_list_usage(const aegis_arena_list *list, uint64_t *ret_used, uint64_t *ret_peak)
{
    /* The writer raises `used` before `peak`. */
    uint64_t used = atomic_load(&list->used);
    uint64_t peak = atomic_load(&list->peak);
    if (ret_used != NULL) {
        *ret_used = used;
    }
    if (ret_peak != NULL) {
        *ret_peak = peak > used ? peak : used;
    }
}
