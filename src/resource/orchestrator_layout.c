/* SPDX-License-Identifier: Apache-2.0 */

/* Where the regions of the lanes and the blocks of the models lie. */

#include "orchestrator_internal.h"

#include <stdlib.h>
#include <string.h>

uint64_t aegis_layout_lane(const aegis_memory_orchestrator *o,
                           uint16_t lane,
                           const aegis_model_plan *without,
                           const aegis_model_plan *with,
                           uint64_t *ret_alignment)
{
    uint64_t height = 0, alignment = AEGIS_MEMORY_GRAIN;
    for (size_t i = 0; i <= o->count; i++) {
        const aegis_model_plan *m = i < o->count ? o->models[i] : with;
        if (m == NULL || m == without || m->binding.lane != lane) {
            continue;
        }
        uint64_t own = m->binding.activation_height;
        height = own > height ? own : height;
        alignment = m->activation_alignment > alignment ? m->activation_alignment : alignment;
    }
    *ret_alignment = alignment;
    return aegis_align_up(height, AEGIS_MEMORY_GRAIN);
}

uint64_t aegis_layout_paged(const aegis_memory_orchestrator *o,
                            uint16_t lane,
                            const aegis_model_plan *without,
                            const aegis_model_plan *with,
                            uint64_t *ret_alignment)
{
    uint64_t most = 0, alignment = AEGIS_MEMORY_GRAIN;
    for (size_t i = 0; i <= o->count; i++) {
        const aegis_model_plan *m = i < o->count ? o->models[i] : with;
        if (m == NULL || m == without || m->binding.lane != lane) {
            continue;
        }
        most = m->binding.paged_bytes > most ? m->binding.paged_bytes : most;
        alignment = m->paged_alignment > alignment ? m->paged_alignment : alignment;
    }
    *ret_alignment = alignment;
    return most;
}

/* Where the part that the seal fixes would end. */
static uint64_t fixed_end(const aegis_memory_orchestrator *o,
                          const aegis_model_plan *without,
                          const aegis_model_plan *with)
{
    uint64_t end = 0, alignment;
    for (uint16_t lane = 0; lane < o->config.lanes; lane++) {
        uint64_t size = aegis_layout_lane(o, lane, without, with, &alignment);
        end = size == 0 ? end : aegis_align_up(end, alignment) + size;
    }
    for (uint16_t lane = 0; lane < o->config.lanes; lane++) {
        uint64_t size = aegis_layout_paged(o, lane, without, with, &alignment);
        end = size == 0 ? end : aegis_align_up(end, alignment) + size;
    }
    return end + o->config.lanes * o->config.spill_bytes_per_lane;
}

uint64_t aegis_layout_end(const aegis_memory_orchestrator *o,
                          const aegis_model_plan *without,
                          const aegis_model_plan *with)
{
    uint64_t end = fixed_end(o, without, with);
    for (size_t i = 0; i <= o->count; i++) {
        const aegis_model_plan *m = i < o->count ? o->models[i] : with;
        if (m != NULL && m != without && m->binding.permanent_bytes > 0) {
            end = aegis_align_up(end, m->block_alignment) + m->binding.permanent_bytes;
        }
    }
    for (size_t i = 0; i < o->share_count; i++) {
        const aegis_memory_share *s = o->shares[i];
        if (aegis_share_stays(s, without, with)) {
            end = aegis_align_up(end, s->alignment) + aegis_share_size(s);
        }
    }
    for (size_t i = 0; with != NULL && i < with->share_count; i++) {
        const aegis_memory_share *s = with->shares[i];
        if (s->holders == 0) {
            end = aegis_align_up(end, s->alignment) + aegis_share_size(s);
        }
    }
    return end;
}

uint64_t aegis_layout_added(const aegis_memory_orchestrator *o, const aegis_model_plan *with)
{
    return with->binding.permanent_bytes + aegis_share_bytes(o, NULL, with) -
           aegis_share_bytes(o, NULL, NULL);
}

/* ---- holes ---- */

static int compare_extents(const void *a, const void *b)
{
    uint64_t x = ((const aegis_extent *)a)->offset, y = ((const aegis_extent *)b)->offset;
    return (x > y) - (x < y);
}

/* What is taken behind the fixed part, ascending, into the scratch. Returns how many. */
static size_t list_extents(const aegis_memory_orchestrator *o,
                           const aegis_model_plan *without,
                           const aegis_model_plan *with)
{
    size_t count = 0;
    for (size_t i = 0; i < o->count; i++) {
        const aegis_model_plan *m = o->models[i];
        if (m != without && m->binding.permanent_bytes > 0) {
            o->extents[count++] =
                (aegis_extent){m->block_offset, m->block_offset + m->binding.permanent_bytes};
        }
    }
    for (size_t i = 0; i < o->share_count; i++) {
        const aegis_memory_share *s = o->shares[i];
        if (aegis_share_stays(s, without, with)) {
            o->extents[count++] = (aegis_extent){s->offset, s->offset + aegis_share_size(s)};
        }
    }
    qsort(o->extents, count, sizeof *o->extents, compare_extents);
    return count;
}

static uint64_t largest_hole(const aegis_memory_orchestrator *o, size_t count, uint64_t alignment)
{
    uint64_t from = o->permanent_base, largest = 0;
    for (size_t i = 0; i <= count; i++) {
        uint64_t end = i < count ? o->extents[i].offset : o->config.capacity_bytes;
        uint64_t start = aegis_align_up(from, alignment);
        largest = start < end && end - start > largest ? end - start : largest;
        from = i < count ? o->extents[i].end : from;
    }
    return largest;
}

/* Takes the first hole of that size. */
static bool take_hole(const aegis_memory_orchestrator *o,
                      size_t *count,
                      uint64_t size,
                      uint64_t alignment,
                      uint64_t *ret_offset)
{
    uint64_t from = o->permanent_base;
    for (size_t i = 0; i <= *count; i++) {
        uint64_t end = i < *count ? o->extents[i].offset : o->config.capacity_bytes;
        uint64_t start = aegis_align_up(from, alignment);
        if (start <= end && end - start >= size) {
            memmove(&o->extents[i + 1], &o->extents[i], (*count - i) * sizeof *o->extents);
            o->extents[i] = (aegis_extent){start, start + size};
            ++*count;
            *ret_offset = start;
            return true;
        }
        from = i < *count ? o->extents[i].end : from;
    }
    return false;
}

bool aegis_layout_find_holes(const aegis_memory_orchestrator *o,
                             const aegis_model_plan *without,
                             aegis_model_plan *with,
                             uint64_t *ret_largest_hole)
{
    size_t count = list_extents(o, without, with);
    *ret_largest_hole = largest_hole(o, count, with->block_alignment);
    with->block_offset = o->permanent_base;
    bool found =
        with->binding.permanent_bytes == 0 || take_hole(o, &count, with->binding.permanent_bytes,
                                                        with->block_alignment, &with->block_offset);
    for (size_t i = 0; found && i < with->share_count; i++) {
        aegis_memory_share *s = with->shares[i];
        if (s->holders == 0) {
            found = take_hole(o, &count, aegis_share_size(s), s->alignment, &s->offset);
        }
    }
    return found;
}

uint64_t aegis_layout_planned(const aegis_memory_orchestrator *o, const aegis_model_plan *without)
{
    uint64_t planned = o->config.lanes * o->config.spill_bytes_per_lane, alignment;
    for (uint16_t lane = 0; lane < o->config.lanes; lane++) {
        planned += o->sealed ? o->lanes[lane].size + o->lanes[lane].paged_size
                             : aegis_layout_lane(o, lane, without, NULL, &alignment) +
                                   aegis_layout_paged(o, lane, without, NULL, &alignment);
    }
    for (size_t i = 0; i < o->count; i++) {
        planned += o->models[i] == without ? 0 : o->models[i]->binding.permanent_bytes;
    }
    return planned + aegis_share_bytes(o, without, NULL);
}

static void add_range(aegis_plan_buffer *buffers,
                      uint64_t *offsets,
                      size_t *count,
                      uint64_t offset,
                      uint64_t size,
                      uint64_t alignment)
{
    if (size > 0) {
        buffers[*count] = (aegis_plan_buffer){
            .id = (uint32_t)*count, .upper = 1, .size_bytes = size, .alignment = alignment};
        offsets[*count] = offset;
        ++*count;
    }
}

aegis_status aegis_layout_verify(const aegis_memory_orchestrator *o,
                                 const aegis_model_plan *with,
                                 aegis_error *err)
{
    size_t room = 3u * o->config.lanes + o->count + 1 + o->share_count, count = 0;
    room += with != NULL ? with->share_count : 0;
    aegis_plan_buffer *buffers = aegis_allocate_zeroed(&o->allocator, room, sizeof *buffers);
    uint64_t *offsets = aegis_allocate_zeroed(&o->allocator, room, sizeof *offsets);
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    if (buffers == NULL || offsets == NULL) {
        aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), status,
                        "no host memory to verify the layout of %zu models", o->count);
        goto done;
    }
    for (uint16_t lane = 0; lane < o->config.lanes; lane++) {
        const aegis_lane_region *l = &o->lanes[lane];
        add_range(buffers, offsets, &count, l->offset, l->size, l->alignment);
        add_range(buffers, offsets, &count, l->paged_offset, l->paged_size, l->paged_alignment);
        add_range(buffers, offsets, &count, l->spill_offset, o->config.spill_bytes_per_lane,
                  AEGIS_MEMORY_GRAIN);
    }
    for (size_t i = 0; i <= o->count; i++) {
        const aegis_model_plan *m = i < o->count ? o->models[i] : with;
        if (m != NULL) {
            add_range(buffers, offsets, &count, m->block_offset, m->binding.permanent_bytes,
                      m->block_alignment);
        }
    }
    for (size_t i = 0; i < o->share_count; i++) {
        const aegis_memory_share *s = o->shares[i];
        add_range(buffers, offsets, &count, s->offset, aegis_share_size(s), s->alignment);
    }
    for (size_t i = 0; with != NULL && i < with->share_count; i++) {
        const aegis_memory_share *s = with->shares[i];
        if (s->holders == 0) {
            add_range(buffers, offsets, &count, s->offset, aegis_share_size(s), s->alignment);
        }
    }
    status =
        aegis_plan_verify(buffers, offsets, count, o->config.capacity_bytes, &o->allocator, err);
done:
    aegis_deallocate(&o->allocator, buffers, room, sizeof *buffers);
    aegis_deallocate(&o->allocator, offsets, room, sizeof *offsets);
    return status;
}
