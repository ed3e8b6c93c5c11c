/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/paging.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define COMPONENT "backend.onnxruntime"

void aegis_ort_paging_init(aegis_ort_paging *paging, bool wanted, const void *owner)
{
    *paging = (aegis_ort_paging){.wanted = wanted, .owner = owner};
    aegis_page_file_init(&paging->file);
}

static void free_layout(aegis_ort_paging *paging, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, paging->chunk_at, paging->chunk_count + 1,
                     sizeof *paging->chunk_at);
    aegis_deallocate(allocator, paging->kept, paging->kept_room, sizeof *paging->kept);
    paging->chunk_at = NULL;
    paging->kept = NULL;
    paging->chunk_count = paging->kept_count = paging->kept_room = 0;
}

static void leave_trial(aegis_ort_paging *paging)
{
    if (paging->trial != NULL) {
        munmap(paging->trial, paging->size_bytes);
        paging->trial = NULL;
    }
}

/* The word is the lane's, which runs others of its models while this one is closed elsewhere. */
static bool is_resident(const aegis_ort_paging *paging)
{
    return paging->resident != NULL &&
           __atomic_load_n(paging->resident, __ATOMIC_ACQUIRE) == paging->owner;
}

static void set_resident(aegis_ort_paging *paging, const void *owner)
{
    if (paging->resident != NULL) {
        __atomic_store_n(paging->resident, owner, __ATOMIC_RELEASE);
    }
}

void aegis_ort_paging_finish(aegis_ort_paging *paging, const aegis_allocator *allocator)
{
    const void *owner = paging->owner;
    if (paging->resident != NULL) { /* another model may get this address */
        __atomic_compare_exchange_n(paging->resident, &owner, NULL, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE);
    }
    leave_trial(paging);
    free_layout(paging, allocator);
    aegis_page_file_close(&paging->file);
}

static int larger_first(const void *a, const void *b)
{
    uint64_t x = ((const aegis_ort_kept *)a)->size_bytes;
    uint64_t y = ((const aegis_ort_kept *)b)->size_bytes;
    return (x < y) - (x > y);
}

/* Where an equal chunk before this one lies. */
static uint64_t
find_equal(const aegis_ort_paging *paging, const aegis_ort_compiled *compiled, size_t chunk)
{
    for (size_t i = 0; i < chunk; i++) {
        if (paging->chunk_at[i] != AEGIS_ORT_NOT_PAGED &&
            memcmp(compiled->chunks[i].content, compiled->chunks[chunk].content,
                   AEGIS_CONTENT_BYTES) == 0) {
            return paging->chunk_at[i];
        }
    }
    return AEGIS_ORT_NOT_PAGED;
}

aegis_status aegis_ort_paging_lay_out(aegis_ort_paging *paging,
                                      const aegis_ort_compiled *compiled,
                                      const bool *unread,
                                      const aegis_tape *loading,
                                      const aegis_allocator *allocator,
                                      aegis_error *err)
{
    uint64_t end = 0;
    free_layout(paging, allocator);
    paging->chunk_count = compiled->chunk_count;
    paging->kept_room = loading->allocation_count + 1;
    paging->chunk_at =
        aegis_allocate_zeroed(allocator, paging->chunk_count + 1, sizeof *paging->chunk_at);
    paging->kept = aegis_allocate_zeroed(allocator, paging->kept_room, sizeof *paging->kept);
    if (paging->chunk_at == NULL || paging->kept == NULL) {
        free_layout(paging, allocator);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to lay paged weights out");
    }
    for (size_t i = 0; i < compiled->chunk_count; i++) {
        paging->chunk_at[i] = AEGIS_ORT_NOT_PAGED;
        if (!unread[i]) {
            uint64_t there = find_equal(paging, compiled, i);
            paging->chunk_at[i] = there != AEGIS_ORT_NOT_PAGED ? there : end;
            end += there != AEGIS_ORT_NOT_PAGED ? 0 : compiled->chunks[i].length;
        }
    }
    for (size_t i = 0; i < loading->allocation_count; i++) {
        const aegis_tape_allocation *one = &loading->allocations[i];
        if (one->died < 0 && one->size_bytes > 0) {
            paging->kept[paging->kept_count++].size_bytes = one->size_bytes;
        }
    }
    qsort(paging->kept, paging->kept_count, sizeof *paging->kept, larger_first);
    paging->chunk_bytes = end;
    end = aegis_align_up(end, AEGIS_PAGE_BYTES);
    for (size_t i = 0; i < paging->kept_count; i++) {
        paging->kept[i].at = end;
        end += aegis_align_up(paging->kept[i].size_bytes, AEGIS_PAGE_BYTES);
    }
    paging->size_bytes = end;
    return AEGIS_OK;
}

aegis_status aegis_ort_paging_fill(aegis_ort_paging *paging,
                                   const aegis_ort_compiled *compiled,
                                   unsigned char *region,
                                   void **ret_chunks,
                                   aegis_error *err)
{
    for (size_t i = 0; i < paging->chunk_count; i++) {
        uint64_t at = paging->chunk_at[i];
        ret_chunks[i] = at == AEGIS_ORT_NOT_PAGED ? NULL : region + at;
    }
    return aegis_ort_weights_read(compiled, ret_chunks, err);
}

void aegis_ort_paging_places(const aegis_ort_paging *paging,
                             unsigned char *region,
                             aegis_ort_place *ret_places)
{
    for (size_t i = 0; i < paging->kept_count; i++) {
        ret_places[i] = (aegis_ort_place){.address = region + paging->kept[i].at,
                                          .size_bytes = paging->kept[i].size_bytes};
    }
}

/* ---- the file ---- */

static void clear_rest(unsigned char *bytes, uint64_t size)
{
    memset(bytes + size, 0, aegis_align_up(size, AEGIS_PAGE_BYTES) - size);
}

/* The runtime packs in another order in each session, so that blocks of one size change places. In
 * the file they stand in the order of their contents: equal weights make equal files. */
static int by_content(const void *a, const void *b)
{
    const aegis_bytes *x = a, *y = b;
    if (x->size != y->size) {
        return (x->size < y->size) - (x->size > y->size);
    }
    return memcmp(x->bytes, y->bytes, x->size);
}

/* Whole pages, with zeros behind what is shorter. */
static size_t
list_ranges(const aegis_ort_paging *paging, unsigned char *region, aegis_bytes *ranges)
{
    size_t count = 0;
    if (paging->chunk_bytes > 0) {
        clear_rest(region, paging->chunk_bytes);
        ranges[count++] =
            (aegis_bytes){region, aegis_align_up(paging->chunk_bytes, AEGIS_PAGE_BYTES)};
    }
    for (size_t i = 0; i < paging->kept_count; i++) {
        unsigned char *block = region + paging->kept[i].at;
        clear_rest(block, paging->kept[i].size_bytes);
        ranges[count + i] =
            (aegis_bytes){block, aegis_align_up(paging->kept[i].size_bytes, AEGIS_PAGE_BYTES)};
    }
    qsort(ranges + count, paging->kept_count, sizeof *ranges, by_content);
    return count + paging->kept_count;
}

aegis_status aegis_ort_paging_keep(aegis_ort_paging *paging,
                                   const aegis_ort_compiled *compiled,
                                   unsigned char *region,
                                   const void **resident,
                                   const aegis_allocator *allocator,
                                   aegis_error *err)
{
    aegis_page_file file;
    size_t room = paging->kept_count + 1;
    aegis_bytes *ranges = aegis_allocate_zeroed(allocator, room, sizeof *ranges);
    if (ranges == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to list paged weights");
    }
    size_t count = list_ranges(paging, region, ranges);
    aegis_status status =
        aegis_page_file_make(&file, compiled->folder, ranges, count, allocator, err);
    aegis_deallocate(allocator, ranges, room, sizeof *ranges);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_page_file_close(&paging->file);
    if (region != paging->trial) {
        leave_trial(paging);
    }
    paging->file = file;
    paging->region = region;
    paging->resident = resident;
    set_resident(paging, paging->owner);
    return AEGIS_OK;
}

aegis_status aegis_ort_paging_in(aegis_ort_paging *paging,
                                 bool (*ended)(void *argument),
                                 void *argument,
                                 aegis_error *err)
{
    paging->last_bytes = 0;
    if (is_resident(paging)) {
        return AEGIS_OK;
    }
    set_resident(paging, NULL); /* until all of it is there */
    aegis_status status =
        aegis_page_file_read(&paging->file, ended, argument, &paging->last_bytes, err);
    if (status == AEGIS_OK) {
        set_resident(paging, paging->owner);
    }
    return status;
}
