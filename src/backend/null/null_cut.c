/* SPDX-License-Identifier: Apache-2.0 */
/* Segments of a null model from its operators and the positions at which they are cut. */
#include "backend/null/null.h"

#include "base/base.h"

#include <inttypes.h>

#define COMPONENT "backend.null"
/* Of one operator: its tensor, its time, its end; and each tensor is read once. */
#define STEPS_PER_OPERATOR 3u

/* Operators [begin, end) on their way into one segment. */
typedef struct cutter {
    aegis_null_file *file;
    const uint32_t *cuts;
    size_t cut_count;
    size_t *place; /* per operator: allocation within its segment, or boundary */
} cutter;

static size_t begin_of(const cutter *c, size_t segment)
{
    return segment == 0 ? 0 : c->cuts[segment - 1];
}

static size_t end_of(const cutter *c, size_t segment)
{
    return segment < c->cut_count ? c->cuts[segment] : c->file->operator_count;
}

static uint32_t segment_of(const cutter *c, size_t operator_index)
{
    uint32_t segment = 0;
    while (segment < c->cut_count && c->cuts[segment] <= operator_index) {
        segment++;
    }
    return segment;
}

static bool crosses(const cutter *c, size_t operator_index)
{
    return segment_of(c, c->file->operators[operator_index].until) != segment_of(c, operator_index);
}

static aegis_status
check(const aegis_null_file *file, const uint32_t *cuts, size_t cut_count, aegis_error *err)
{
    if (file->operator_count == 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "the model is a list of segments; remove its cuts");
    }
    for (size_t i = 0; i < cut_count; i++) {
        if (cuts[i] == 0 || cuts[i] >= file->operator_count || (i > 0 && cuts[i] <= cuts[i - 1])) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                   "cut %zu is at position %" PRIu32 "; positions ascend from 1 to "
                                   "%zu",
                                   i, cuts[i], file->operator_count - 1);
        }
    }
    return AEGIS_OK;
}

static aegis_status no_memory(aegis_error *err)
{
    aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                    "no memory for a null model");
    return AEGIS_ERROR_NO_MEMORY;
}

static aegis_status list_boundaries(cutter *c, aegis_error *err)
{
    aegis_null_file *file = c->file;
    for (size_t i = 0; i < file->operator_count; i++) {
        file->boundary_count += crosses(c, i) && file->operators[i].bytes > 0;
    }
    file->boundaries =
        aegis_allocate_zeroed(&file->allocator, file->boundary_count, sizeof *file->boundaries);
    if (file->boundaries == NULL && file->boundary_count > 0) {
        return no_memory(err);
    }
    for (size_t i = 0, next = 0; i < file->operator_count; i++) {
        const aegis_null_operator *one = &file->operators[i];
        if (crosses(c, i) && one->bytes > 0) {
            c->place[i] = next;
            file->boundaries[next++] = (aegis_null_boundary){
                .bytes = one->bytes, .first = segment_of(c, i), .last = segment_of(c, one->until)};
        }
    }
    return AEGIS_OK;
}

static void
add_step(aegis_null_segment *segment, aegis_null_kind kind, uint64_t operand, uint64_t bytes)
{
    segment->steps[segment->step_count++] =
        (aegis_null_step){.kind = kind, .operand = operand, .bytes = bytes};
}

static void write_tensor(cutter *c, aegis_null_segment *segment, size_t index)
{
    const aegis_null_operator *one = &c->file->operators[index];
    if (one->bytes == 0) {
        return;
    }
    if (crosses(c, index)) {
        add_step(segment, AEGIS_NULL_WRITE, c->place[index], one->bytes);
    } else {
        c->place[index] = segment->allocation_count++;
        add_step(segment, AEGIS_NULL_ALLOC, one->bytes, one->bytes);
    }
}

/* What operator `index` reads last, in the order in which it was written. */
static void read_tensors(const cutter *c, aegis_null_segment *segment, size_t index)
{
    for (size_t i = 0; i <= index; i++) {
        const aegis_null_operator *one = &c->file->operators[i];
        if (one->until == index && one->bytes > 0) {
            add_step(segment, crosses(c, i) ? AEGIS_NULL_READ : AEGIS_NULL_FREE, c->place[i],
                     one->bytes);
        }
    }
}

static aegis_status make_segment(cutter *c, size_t index, aegis_error *err)
{
    aegis_null_segment *segment = &c->file->segments[index];
    /* Every tensor is read in one segment only, so all reads together are at most the operators. */
    size_t begin = begin_of(c, index), end = end_of(c, index);
    size_t capacity = (end - begin) * STEPS_PER_OPERATOR + c->file->operator_count;
    segment->steps = aegis_allocate_zeroed(&c->file->allocator, capacity, sizeof *segment->steps);
    if (segment->steps == NULL) {
        return no_memory(err);
    }
    segment->step_capacity = capacity;
    for (size_t i = begin; i < end; i++) {
        write_tensor(c, segment, i);
        add_step(segment, AEGIS_NULL_SPIN, c->file->operators[i].spin_ns, 0);
        read_tensors(c, segment, i);
        add_step(segment, AEGIS_NULL_MARK, i, 0);
    }
    return AEGIS_OK;
}

static void locate_faults(const cutter *c)
{
    for (size_t i = 0; i < c->file->fault_count; i++) {
        aegis_null_fault *fault = &c->file->faults[i];
        size_t index = (size_t)fault->operator_index;
        if (fault->operator_index < 0 || index >= c->file->operator_count) {
            continue;
        }
        bool own = !crosses(c, index) && c->file->operators[index].bytes > 0;
        fault->segment = segment_of(c, index);
        fault->allocation = own ? (int64_t)c->place[index] : -1;
    }
}

aegis_status
aegis_null_file_cut(aegis_null_file *file, const uint32_t *cuts, size_t cut_count, aegis_error *err)
{
    if (file->operator_count == 0 && cut_count == 0) {
        return AEGIS_OK;
    }
    aegis_status status = check(file, cuts, cut_count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    cutter c = {.file = file, .cuts = cuts, .cut_count = cut_count};
    c.place = aegis_allocate_zeroed(&file->allocator, file->operator_count, sizeof *c.place);
    file->segments = aegis_allocate_zeroed(&file->allocator, cut_count + 1, sizeof *file->segments);
    file->segment_count = file->segments == NULL ? 0 : cut_count + 1;
    status = c.place == NULL || file->segments == NULL ? no_memory(err) : list_boundaries(&c, err);
    for (size_t i = 0; i <= cut_count && status == AEGIS_OK; i++) {
        status = make_segment(&c, i, err);
    }
    if (status == AEGIS_OK) {
        locate_faults(&c);
    }
    aegis_deallocate(&file->allocator, c.place, file->operator_count, sizeof *c.place);
    return status;
}
