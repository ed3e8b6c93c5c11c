/* SPDX-License-Identifier: Apache-2.0 */

/* One model by itself: checks its demand, lays out its permanent block, plans its activations.
 * Activations die inside their segment, and the segments of a lane run one after the other, so each
 * segment is planned from 0 and the model needs the largest of their heights. Boundary tensors
 * outlive segments, and jobs of other models run between those: they lie in the model's own block,
 * and share bytes among themselves, planned on the axis of the segments. A model has one job
 * between its first and its last segment, so that these are written by one job only. */

#include "orchestrator_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_NODES UINT64_C(200000)

typedef struct builder {
    const aegis_memory_orchestrator *o;
    const aegis_memory_demand *demand;
    uint64_t region_bytes;
    aegis_model_plan *model;
    size_t *activations; /* indices of the demand's lifetimes, by segment */
    size_t activation_count;
    aegis_plan_buffer *buffers; /* of one segment; id is the index in `activations` */
    uint64_t *offsets;
    uint64_t lower_bound;
} builder;

static uint64_t alignment_of(const aegis_tensor_lifetime *l)
{
    return l->alignment == 0 ? AEGIS_MEMORY_GRAIN : l->alignment;
}

/* ---- checks ---- */

static aegis_status check_lifetime(const aegis_memory_demand *d, size_t index, aegis_error *err)
{
    const aegis_tensor_lifetime *l = &d->lifetimes[index];
    const char *what = NULL;
    if ((unsigned)l->memory_class >= AEGIS_MEMORY_SPILL && l->memory_class != AEGIS_MEMORY_PAGED) {
        what = "its class is none that a model can ask for";
    } else if ((l->memory_class == AEGIS_MEMORY_ACTIVATION ||
                l->memory_class == AEGIS_MEMORY_BOUNDARY) &&
               l->start >= l->end) {
        what = "it must start before it ends";
    } else if (l->alignment != 0 && !aegis_is_power_of_two(l->alignment)) {
        what = "its alignment must be a power of two";
    } else if (l->memory_class != AEGIS_MEMORY_WEIGHTS &&
               l->memory_class != AEGIS_MEMORY_PREPACKED && aegis_share_has_content(l)) {
        what = "it has a content id, which only weights and their packed copies can have";
    }
    if (what != NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"),
                               AEGIS_ERROR_INVALID_ARGUMENT,
                               "model '%s': lifetime %zu (tensor %" PRIu32 ", class %u, [%" PRId64
                               ", %" PRId64 "), alignment %" PRIu64 "): %s",
                               d->name, index, l->tensor, (unsigned)l->memory_class, l->start,
                               l->end, l->alignment, what);
    }
    return AEGIS_OK;
}

static aegis_status
check_demand(const aegis_memory_orchestrator *o, const aegis_memory_demand *d, aegis_error *err)
{
    if (d->name == NULL || (d->lifetime_count > 0 && d->lifetimes == NULL) ||
        d->lifetime_count > INT32_MAX) {
        return aegis_error_set(
            err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_INVALID_ARGUMENT,
            "model %" PRIu32 ": a name and its lifetimes must be given", d->model);
    }
    if (d->lane >= o->config.lanes) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"),
                               AEGIS_ERROR_INVALID_ARGUMENT,
                               "model '%s' wants lane %u: there are %u lanes, counted from 0",
                               d->name, d->lane, o->config.lanes);
    }
    uint64_t total = 0;
    for (size_t i = 0; i < d->lifetime_count; i++) {
        aegis_status status = check_lifetime(d, i, err);
        if (status != AEGIS_OK) {
            return status;
        }
        const aegis_tensor_lifetime *l = &d->lifetimes[i];
        if (__builtin_add_overflow(total, l->size_bytes, &total) ||
            __builtin_add_overflow(total, alignment_of(l), &total) ||
            total > AEGIS_MEMORY_MAX_BYTES) {
            return aegis_error_set(
                err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_OVERFLOW,
                "model '%s': the sizes up to lifetime %zu sum to more than 2^61 bytes", d->name, i);
        }
    }
    return AEGIS_OK;
}

/* ---- the permanent block ---- */

static aegis_status lay_out_block(builder *b, aegis_error *err)
{
    aegis_model_plan *m = b->model;
    aegis_status status = AEGIS_OK;
    uint64_t end = 0;
    m->block_alignment = AEGIS_MEMORY_GRAIN;
    for (int c = 0; c < AEGIS_MEMORY_ACTIVATION; c++) {
        for (size_t i = 0; i < b->demand->lifetime_count; i++) {
            const aegis_tensor_lifetime *l = &b->demand->lifetimes[i];
            if ((int)l->memory_class != c || l->size_bytes == 0) {
                continue;
            }
            if (aegis_share_wanted(b->o, l)) {
                status = aegis_share_join(b->o, m, i, l, err);
                if (status != AEGIS_OK) {
                    return status;
                }
                m->placements[i].shared = true;
                continue;
            }
            uint64_t alignment = alignment_of(l);
            m->unjoined_bytes += aegis_share_unjoined(b->o, l);
            m->block_alignment = alignment > m->block_alignment ? alignment : m->block_alignment;
            m->placements[i].offset_bytes = aegis_align_up(end, alignment);
            m->by_class[c] += l->size_bytes;
            end = m->placements[i].offset_bytes + l->size_bytes;
        }
    }
    m->binding.permanent_bytes = aegis_align_up(end, AEGIS_MEMORY_GRAIN);
    return AEGIS_OK;
}

/* What is paged lies one behind the other from the base of the lane's paged region. */
static void lay_out_paged(builder *b)
{
    aegis_model_plan *m = b->model;
    uint64_t end = 0;
    m->paged_alignment = AEGIS_MEMORY_GRAIN;
    for (size_t i = 0; i < b->demand->lifetime_count; i++) {
        const aegis_tensor_lifetime *l = &b->demand->lifetimes[i];
        if (l->memory_class == AEGIS_MEMORY_PAGED && l->size_bytes > 0) {
            uint64_t alignment = alignment_of(l);
            m->paged_alignment = alignment > m->paged_alignment ? alignment : m->paged_alignment;
            m->placements[i].offset_bytes = aegis_align_up(end, alignment);
            end = m->placements[i].offset_bytes + l->size_bytes;
        }
    }
    m->binding.paged_bytes = aegis_align_up(end, AEGIS_MEMORY_GRAIN);
    m->by_class[AEGIS_MEMORY_PAGED] = m->binding.paged_bytes;
}

/* ---- boundary tensors ---- */

static aegis_plan_limits limits_of(const aegis_memory_orchestrator *o)
{
    aegis_plan_limits limits = o->config.limits;
    limits.capacity_bytes = UINT64_MAX;
    limits.nodes = limits.nodes == 0 ? DEFAULT_NODES : limits.nodes;
    return limits;
}

/* Behind the rest of the block, at a multiple of their largest alignment. */
static aegis_status plan_boundaries(builder *b, aegis_error *err)
{
    aegis_model_plan *m = b->model;
    uint64_t alignment = AEGIS_MEMORY_GRAIN;
    size_t count = 0;
    for (size_t i = 0; i < b->demand->lifetime_count; i++) {
        const aegis_tensor_lifetime *l = &b->demand->lifetimes[i];
        if (l->memory_class != AEGIS_MEMORY_BOUNDARY || l->size_bytes == 0) {
            continue;
        }
        alignment = alignment_of(l) > alignment ? alignment_of(l) : alignment;
        b->activations[count] = i;
        b->buffers[count] = (aegis_plan_buffer){.id = (uint32_t)count,
                                                .lower = l->start,
                                                .upper = l->end,
                                                .size_bytes = l->size_bytes,
                                                .alignment = alignment_of(l)};
        count++;
    }
    if (count == 0) {
        return AEGIS_OK;
    }
    aegis_plan_result result;
    aegis_plan_limits limits = limits_of(b->o);
    aegis_status status = aegis_planner_solve(&b->o->planner, b->buffers, count, &limits,
                                              &b->o->allocator, b->offsets, &result, err);
    if (status != AEGIS_OK) {
        aegis_error_prefix(err, "model '%s', what crosses its cuts", b->demand->name);
        return status;
    }
    uint64_t base = aegis_align_up(m->binding.permanent_bytes, alignment);
    for (size_t i = 0; i < count; i++) {
        m->placements[b->activations[i]].offset_bytes = base + b->offsets[i];
    }
    m->by_class[AEGIS_MEMORY_BOUNDARY] = result.height_bytes;
    m->block_alignment = alignment > m->block_alignment ? alignment : m->block_alignment;
    m->binding.permanent_bytes = aegis_align_up(base + result.height_bytes, AEGIS_MEMORY_GRAIN);
    return AEGIS_OK;
}

/* ---- activations ---- */

/* Sizes are rounded up to the smallest alignment (64 at most): the plan loses nothing by it, as
 * the next buffer starts there anyway, and the bounds get exact. */
static void fill_buffers(builder *b, size_t first, size_t count)
{
    uint64_t grain = AEGIS_MEMORY_GRAIN;
    for (size_t i = 0; i < count; i++) {
        uint64_t alignment = alignment_of(&b->demand->lifetimes[b->activations[first + i]]);
        grain = alignment < grain ? alignment : grain;
    }
    for (size_t i = 0; i < count; i++) {
        const aegis_tensor_lifetime *l = &b->demand->lifetimes[b->activations[first + i]];
        uint64_t alignment = alignment_of(l), *most = &b->model->activation_alignment;
        *most = alignment > *most ? alignment : *most;
        b->buffers[i] = (aegis_plan_buffer){.id = (uint32_t)(first + i),
                                            .lower = l->start,
                                            .upper = l->end,
                                            .size_bytes = aegis_align_up(l->size_bytes, grain),
                                            .alignment = alignment};
        b->model->activation_sizes += l->size_bytes;
    }
}

/* Keeps the largest tensors live at the segment's peak, for refusals. */
static void note_peak(builder *b, size_t first, size_t count, int64_t at)
{
    aegis_model_plan *m = b->model;
    m->peak_segment = b->demand->lifetimes[b->activations[first]].segment;
    m->peak_at = at;
    m->peak_bytes = 0;
    m->peak_count = 0;
    for (size_t i = 0; i < count; i++) {
        const aegis_tensor_lifetime *l = &b->demand->lifetimes[b->activations[first + i]];
        if (l->start > at || l->end <= at) {
            continue;
        }
        m->peak_bytes += l->size_bytes;
        size_t k = m->peak_count < AEGIS_REFUSAL_TENSORS ? m->peak_count++ : AEGIS_REFUSAL_TENSORS;
        for (; k > 0 && m->peak_tensor_bytes[k - 1] < l->size_bytes; k--) {
            if (k < AEGIS_REFUSAL_TENSORS) {
                m->peak_tensors[k] = m->peak_tensors[k - 1];
                m->peak_tensor_bytes[k] = m->peak_tensor_bytes[k - 1];
            }
        }
        if (k < AEGIS_REFUSAL_TENSORS) {
            m->peak_tensors[k] = l->tensor;
            m->peak_tensor_bytes[k] = l->size_bytes;
        }
    }
}

static aegis_status
solve_segment(builder *b, size_t count, aegis_plan_result *ret_result, aegis_error *err)
{
    const aegis_memory_orchestrator *o = b->o;
    aegis_plan_limits limits = limits_of(o);
    aegis_status status = aegis_planner_solve(&o->planner, b->buffers, count, &limits,
                                              &o->allocator, b->offsets, ret_result, err);
    if (status != AEGIS_OK || ret_result->height_bytes <= b->region_bytes ||
        ret_result->lower_bound_bytes > b->region_bytes) {
        return status;
    }
    /* Not minimal, and the region of the lane is fixed: any plan within it will do. */
    limits.capacity_bytes = b->region_bytes;
    aegis_plan_result fitted;
    status = aegis_planner_solve(&o->planner, b->buffers, count, &limits, &o->allocator, b->offsets,
                                 &fitted, err);
    if (status == AEGIS_OK) {
        *ret_result = fitted;
    }
    return status;
}

static aegis_status plan_segment(builder *b, size_t first, size_t count, aegis_error *err)
{
    fill_buffers(b, first, count);
    aegis_plan_result result;
    aegis_status status = solve_segment(b, count, &result, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        b->model->placements[b->activations[first + i]].offset_bytes = b->offsets[i];
    }
    uint64_t *height = &b->model->binding.activation_height;
    if (result.height_bytes > *height) {
        *height = result.height_bytes;
        note_peak(b, first, count, result.peak_at);
    }
    b->lower_bound =
        result.lower_bound_bytes > b->lower_bound ? result.lower_bound_bytes : b->lower_bound;
    return AEGIS_OK;
}

static int compare_segments(const void *a, const void *b, void *lifetimes)
{
    const aegis_tensor_lifetime *l = lifetimes;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    if (l[i].segment != l[j].segment) {
        return l[i].segment < l[j].segment ? -1 : 1;
    }
    return (i > j) - (i < j);
}

static aegis_status plan_activations(builder *b, aegis_error *err)
{
    const aegis_tensor_lifetime *lifetimes = b->demand->lifetimes;
    b->model->activation_alignment = AEGIS_MEMORY_GRAIN;
    for (size_t i = 0; i < b->demand->lifetime_count; i++) {
        if (lifetimes[i].memory_class == AEGIS_MEMORY_ACTIVATION && lifetimes[i].size_bytes > 0) {
            b->activations[b->activation_count++] = i;
        }
    }
    qsort_r(b->activations, b->activation_count, sizeof *b->activations, compare_segments,
            (void *)(uintptr_t)lifetimes);
    aegis_status status = AEGIS_OK;
    for (size_t first = 0, end; first < b->activation_count && status == AEGIS_OK; first = end) {
        uint32_t segment = lifetimes[b->activations[first]].segment;
        for (end = first + 1;
             end < b->activation_count && lifetimes[b->activations[end]].segment == segment;
             end++) {
        }
        status = plan_segment(b, first, end - first, err);
        if (status != AEGIS_OK) {
            aegis_error_prefix(err, "model '%s', segment %" PRIu32, b->demand->name, segment);
        }
    }
    return status;
}

/* ---- all of it ---- */

static aegis_status build(builder *b, aegis_error *err)
{
    const aegis_memory_demand *d = b->demand;
    aegis_model_plan *m = b->model;
    for (size_t i = 0; i < d->lifetime_count; i++) {
        const aegis_tensor_lifetime *l = &d->lifetimes[i];
        m->placements[i] = (aegis_memory_placement){.tensor = l->tensor,
                                                    .memory_class = l->memory_class,
                                                    .segment = l->segment,
                                                    .size_bytes = l->size_bytes};
    }
    aegis_status status = lay_out_block(b, err);
    lay_out_paged(b);
    if (status == AEGIS_OK) {
        status = plan_boundaries(b, err);
    }
    if (status == AEGIS_OK) {
        status = plan_activations(b, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_memory_binding *binding = &m->binding;
    binding->model = d->model;
    binding->lane = d->lane;
    binding->placements = m->placements;
    binding->placement_count = d->lifetime_count;
    binding->activation_lower_bound = b->lower_bound;
    binding->activation_optimal = binding->activation_height == b->lower_bound;
    binding->total_bytes = binding->permanent_bytes + binding->shared_bytes + binding->paged_bytes +
                           binding->activation_height;
    m->by_class[AEGIS_MEMORY_ACTIVATION] = binding->activation_height;
    return AEGIS_OK;
}

aegis_status aegis_model_plan_create(aegis_memory_orchestrator *o,
                                     const aegis_memory_demand *demand,
                                     uint64_t region_bytes,
                                     aegis_model_plan **ret_model,
                                     aegis_error *err)
{
    aegis_status status = check_demand(o, demand, err);
    if (status != AEGIS_OK) {
        return status;
    }
    const aegis_allocator *a = &o->allocator;
    size_t n = demand->lifetime_count;
    builder b = {.o = o, .demand = demand, .region_bytes = region_bytes};
    b.model = aegis_allocate_zeroed(a, 1, sizeof *b.model);
    b.activations = aegis_allocate_zeroed(a, n, sizeof *b.activations);
    b.buffers = aegis_allocate_zeroed(a, n, sizeof *b.buffers);
    b.offsets = aegis_allocate_zeroed(a, n, sizeof *b.offsets);
    if (b.model != NULL) {
        b.model->name = aegis_copy_text(a, demand->name);
        b.model->placements = aegis_allocate_zeroed(a, n, sizeof *b.model->placements);
        b.model->share_of = aegis_allocate_zeroed(a, n, sizeof(aegis_memory_share *));
        b.model->shares = aegis_allocate_zeroed(a, n, sizeof(aegis_memory_share *));
        b.model->binding.placement_count = n; /* destroy needs it */
    }
    if (b.model == NULL || b.activations == NULL || b.buffers == NULL || b.offsets == NULL ||
        b.model->name == NULL || b.model->placements == NULL || b.model->share_of == NULL ||
        b.model->shares == NULL) {
        status = aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_NO_MEMORY,
                                 "no host memory to plan model '%s' with %zu lifetimes",
                                 demand->name, n);
    } else {
        status = build(&b, err);
    }
    aegis_deallocate(a, b.activations, n, sizeof *b.activations);
    aegis_deallocate(a, b.buffers, n, sizeof *b.buffers);
    aegis_deallocate(a, b.offsets, n, sizeof *b.offsets);
    if (status != AEGIS_OK) {
        aegis_model_plan_destroy(o, b.model);
        return status;
    }
    *ret_model = b.model;
    return AEGIS_OK;
}

void aegis_model_plan_destroy(aegis_memory_orchestrator *o, aegis_model_plan *model)
{
    const aegis_allocator *allocator = &o->allocator;
    if (model != NULL) {
        size_t n = model->binding.placement_count;
        aegis_share_leave(o, model);
        aegis_free_text(allocator, model->name);
        aegis_deallocate(allocator, model->placements, n, sizeof *model->placements);
        aegis_deallocate(allocator, model->share_of, n, sizeof(aegis_memory_share *));
        aegis_deallocate(allocator, model->shares, n, sizeof(aegis_memory_share *));
        aegis_deallocate(allocator, model, 1, sizeof *model);
    }
}

/* Where the placements of a class count from. */
static uint64_t
base_of(aegis_memory_class memory_class, const aegis_lane_region *lane, uint64_t block_offset)
{
    switch (memory_class) {
    case AEGIS_MEMORY_ACTIVATION:
        return lane->offset;
    case AEGIS_MEMORY_PAGED:
        return lane->paged_offset;
    case AEGIS_MEMORY_WEIGHTS:
    case AEGIS_MEMORY_PREPACKED:
    case AEGIS_MEMORY_STATE:
    case AEGIS_MEMORY_INPUT:
    case AEGIS_MEMORY_OUTPUT:
    case AEGIS_MEMORY_BOUNDARY:
    case AEGIS_MEMORY_SPILL:
    case AEGIS_MEMORY_CLASS_COUNT:
        break;
    }
    return block_offset;
}

void aegis_model_plan_locate(aegis_model_plan *model,
                             const aegis_lane_region *lane,
                             uint64_t block_offset)
{
    model->block_offset = block_offset;
    for (size_t i = 0; i < model->binding.placement_count; i++) {
        aegis_memory_placement *p = &model->placements[i];
        if (model->share_of[i] != NULL) {
            p->offset_bytes = model->share_of[i]->offset;
        } else {
            p->offset_bytes += base_of(p->memory_class, lane, block_offset);
        }
    }
}

void aegis_model_plan_unlocate(aegis_model_plan *model, const aegis_lane_region *lane)
{
    for (size_t i = 0; i < model->binding.placement_count; i++) {
        aegis_memory_placement *p = &model->placements[i];
        if (model->share_of[i] == NULL) {
            p->offset_bytes -= base_of(p->memory_class, lane, model->block_offset);
        }
    }
}
