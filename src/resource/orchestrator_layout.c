/* SPDX-License-Identifier: Apache-2.0 */

/* Where the regions of the lanes and the blocks of the models lie. */

#include "orchestrator_internal.h"

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
    return end;
}

/* The block that starts next at or above `from`, NULL when there is none. */
static const aegis_model_plan *
next_block(const aegis_memory_orchestrator *o, const aegis_model_plan *without, uint64_t from)
{
    const aegis_model_plan *next = NULL;
    for (size_t i = 0; i < o->count; i++) {
        const aegis_model_plan *m = o->models[i];
        if (m != without && m->binding.permanent_bytes > 0 && m->block_offset >= from &&
            (next == NULL || m->block_offset < next->block_offset)) {
            next = m;
        }
    }
    return next;
}

bool aegis_layout_find_hole(const aegis_memory_orchestrator *o,
                            const aegis_model_plan *without,
                            const aegis_model_plan *with,
                            uint64_t *ret_offset,
                            uint64_t *ret_largest_hole)
{
    uint64_t from = o->permanent_base, largest = 0;
    bool found = false;
    for (const aegis_model_plan *next;; from = next->block_offset + next->binding.permanent_bytes) {
        next = next_block(o, without, from);
        uint64_t end = next != NULL ? next->block_offset : o->config.capacity_bytes;
        uint64_t start = aegis_align_up(from, with->block_alignment);
        uint64_t size = start < end ? end - start : 0;
        largest = size > largest ? size : largest;
        if (!found && size >= with->binding.permanent_bytes) {
            found = true;
            *ret_offset = start;
        }
        if (next == NULL) {
            break;
        }
    }
    *ret_largest_hole = largest;
    return found;
}

uint64_t aegis_layout_planned(const aegis_memory_orchestrator *o, const aegis_model_plan *without)
{
    uint64_t planned = o->config.lanes * o->config.spill_bytes_per_lane, alignment;
    for (uint16_t lane = 0; lane < o->config.lanes; lane++) {
        planned +=
            o->sealed ? o->lanes[lane].size : aegis_layout_lane(o, lane, without, NULL, &alignment);
    }
    for (size_t i = 0; i < o->count; i++) {
        planned += o->models[i] == without ? 0 : o->models[i]->binding.permanent_bytes;
    }
    return planned;
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
    size_t room = 2u * o->config.lanes + o->count + 1, count = 0;
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
    status =
        aegis_plan_verify(buffers, offsets, count, o->config.capacity_bytes, &o->allocator, err);
done:
    aegis_deallocate(&o->allocator, buffers, room, sizeof *buffers);
    aegis_deallocate(&o->allocator, offsets, room, sizeof *offsets);
    return status;
}
