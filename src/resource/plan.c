/* SPDX-License-Identifier: Apache-2.0 */

/* What every planner shares: checking the instance before, and the plan after. */

#include <aegisrt/ext/planner_ops.h>
#include <aegisrt/memory_plan.h>

#include "base/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Above this sum of sizes and alignments offsets could pass what the solvers compute with. */
#define MAX_TOTAL_BYTES (UINT64_C(1) << 61)

static aegis_status check_buffer(const aegis_plan_buffer *b, aegis_error *err)
{
    if (b->lower >= b->upper) {
        return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "buffer %" PRIu32 " lives in [%" PRId64 ", %" PRId64
                               "): lower must be below upper",
                               b->id, b->lower, b->upper);
    }
    if (b->size_bytes == 0) {
        return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "buffer %" PRIu32 " has size 0: leave it out or give it bytes",
                               b->id);
    }
    if (b->alignment != 0 && !aegis_is_power_of_two(b->alignment)) {
        return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "buffer %" PRIu32 " has alignment %" PRIu64
                               ": it must be a power of two",
                               b->id, b->alignment);
    }
    if (b->fixed && b->alignment != 0 && b->fixed_offset % b->alignment != 0) {
        return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "buffer %" PRIu32 " is fixed at %" PRIu64
                               ", which is no multiple of its alignment %" PRIu64,
                               b->id, b->fixed_offset, b->alignment);
    }
    return AEGIS_OK;
}

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static aegis_status check_ids(const aegis_plan_buffer *buffers,
                              size_t count,
                              const aegis_allocator *allocator,
                              aegis_error *err)
{
    uint32_t *ids = aegis_allocate_zeroed(allocator, count, sizeof *ids);
    if (ids == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %zu ids", count);
    }
    for (size_t i = 0; i < count; i++) {
        ids[i] = buffers[i].id;
    }
    qsort(ids, count, sizeof *ids, compare_ids);
    aegis_status status = AEGIS_OK;
    for (size_t i = 1; i < count && status == AEGIS_OK; i++) {
        if (ids[i] == ids[i - 1]) {
            status =
                aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_INVALID_ARGUMENT,
                                "two buffers have the id %" PRIu32 ": ids must be unique", ids[i]);
        }
    }
    aegis_deallocate(allocator, ids, count, sizeof *ids);
    return status;
}

/* Fixed buffers must leave each other alone. */
static aegis_status check_fixed(const aegis_plan_buffer *buffers,
                                size_t count,
                                const aegis_allocator *allocator,
                                aegis_error *err)
{
    size_t fixed = 0;
    for (size_t i = 0; i < count; i++) {
        fixed += buffers[i].fixed;
    }
    if (fixed < 2) {
        return AEGIS_OK;
    }
    aegis_plan_buffer *copies = aegis_allocate_zeroed(allocator, fixed, sizeof *copies);
    uint64_t *offsets = aegis_allocate_zeroed(allocator, fixed, sizeof *offsets);
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    if (copies == NULL || offsets == NULL) {
        aegis_error_set(err, AEGIS_HERE("resource.plan"), status,
                        "no host memory for %zu fixed buffers", fixed);
    } else {
        for (size_t i = 0, k = 0; i < count; i++) {
            if (buffers[i].fixed) {
                copies[k] = buffers[i];
                offsets[k++] = buffers[i].fixed_offset;
            }
        }
        status = aegis_plan_verify(copies, offsets, fixed, UINT64_MAX, allocator, err);
        if (status == AEGIS_ERROR_INTERNAL) { /* the caller's contradiction, not ours */
            char text[sizeof err->message] = "";
            snprintf(text, sizeof text, "%s", err == NULL ? "" : err->message);
            status = aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_INVALID_ARGUMENT,
                                     "fixed %s", text);
        }
    }
    aegis_deallocate(allocator, copies, fixed, sizeof *copies);
    aegis_deallocate(allocator, offsets, fixed, sizeof *offsets);
    return status;
}

static aegis_status check_instance(const aegis_plan_buffer *buffers,
                                   size_t count,
                                   const aegis_allocator *allocator,
                                   aegis_error *err)
{
    if (count > INT32_MAX) {
        return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_OVERFLOW,
                               "%zu buffers: at most %d can be planned together", count, INT32_MAX);
    }
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        aegis_status status = check_buffer(&buffers[i], err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (__builtin_add_overflow(total, buffers[i].size_bytes, &total) ||
            __builtin_add_overflow(total, buffers[i].alignment, &total) ||
            __builtin_add_overflow(total, buffers[i].fixed ? buffers[i].fixed_offset : 0, &total) ||
            total > MAX_TOTAL_BYTES) {
            return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_OVERFLOW,
                                   "sizes, alignments and fixed offsets up to buffer %" PRIu32
                                   " sum to more than 2^61 bytes",
                                   buffers[i].id);
        }
    }
    aegis_status status = check_ids(buffers, count, allocator, err);
    return status == AEGIS_OK ? check_fixed(buffers, count, allocator, err) : status;
}

/* The plan must be valid and must say the truth about itself. */
static aegis_status check_result(const aegis_planner *planner,
                                 const aegis_plan_buffer *buffers,
                                 const uint64_t *offsets,
                                 size_t count,
                                 const aegis_plan_limits *limits,
                                 const aegis_allocator *allocator,
                                 const aegis_plan_result *result,
                                 aegis_error *err)
{
    uint64_t bound, height = 0;
    int64_t at;
    aegis_status status = aegis_plan_verify(buffers, offsets, count, UINT64_MAX, allocator, err);
    if (status == AEGIS_OK) {
        status = aegis_plan_lower_bound(buffers, count, allocator, &bound, &at, err);
    }
    if (status != AEGIS_OK) {
        aegis_error_prefix(err, "planner %s", planner->ops->name);
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t top = offsets[i] + buffers[i].size_bytes;
        height = top > height ? top : height;
    }
    bool fits = height <= limits->capacity_bytes;
    if (height != result->height_bytes || result->lower_bound_bytes > height ||
        result->lower_bound_bytes < bound || fits != (result->verdict == AEGIS_PLAN_FEASIBLE) ||
        (result->optimal && result->lower_bound_bytes != height) ||
        (result->verdict == AEGIS_PLAN_INFEASIBLE &&
         result->lower_bound_bytes <= limits->capacity_bytes)) {
        return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_INTERNAL,
                               "planner %s reports height %" PRIu64 " and lower bound %" PRIu64
                               "; its plan has height %" PRIu64 ", the sweep's bound is %" PRIu64,
                               planner->ops->name, result->height_bytes, result->lower_bound_bytes,
                               height, bound);
    }
    return AEGIS_OK;
}

static aegis_status solve_checked(const aegis_planner *planner,
                                  const aegis_plan_buffer *buffers,
                                  size_t count,
                                  const aegis_plan_limits *limits,
                                  const aegis_allocator *allocator,
                                  uint64_t *ret_offsets,
                                  aegis_plan_result *ret_result,
                                  aegis_error *err)
{
    uint64_t *offsets = aegis_allocate_zeroed(allocator, count, sizeof *offsets);
    if (offsets == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %zu offsets", count);
    }
    aegis_plan_result result = {0};
    aegis_status status = planner->ops->solve(planner->self, buffers, count, limits, allocator,
                                              offsets, &result, err);
    if (status == AEGIS_OK) {
        status = check_result(planner, buffers, offsets, count, limits, allocator, &result, err);
    }
    if (status == AEGIS_OK) {
        memcpy(ret_offsets, offsets, count * sizeof *offsets);
        *ret_result = result;
    }
    aegis_deallocate(allocator, offsets, count, sizeof *offsets);
    return status;
}

aegis_status aegis_planner_solve(const aegis_planner *planner,
                                 const aegis_plan_buffer *buffers,
                                 size_t count,
                                 const aegis_plan_limits *limits,
                                 const aegis_allocator *allocator,
                                 uint64_t *ret_offsets,
                                 aegis_plan_result *ret_result,
                                 aegis_error *err)
{
    if (planner == NULL || planner->ops == NULL || limits == NULL || allocator == NULL ||
        ret_result == NULL || (count > 0 && (buffers == NULL || ret_offsets == NULL))) {
        return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "planner, buffers, limits, allocator and outputs must be given");
    }
    if (planner->ops->version != AEGIS_PLANNER_OPS_VERSION || planner->ops->solve == NULL ||
        planner->ops->name == NULL) {
        return aegis_error_set(
            err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_INVALID_ARGUMENT,
            "planner ops of version %u with name and solve wanted, got version %u",
            AEGIS_PLANNER_OPS_VERSION, planner->ops->version);
    }
    if (count == 0) {
        *ret_result = (aegis_plan_result){.verdict = AEGIS_PLAN_FEASIBLE, .optimal = true};
        return AEGIS_OK;
    }
    aegis_status status = check_instance(buffers, count, allocator, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_plan_limits given = *limits;
    given.threads = given.threads == 0 ? 1 : given.threads;
    return solve_checked(planner, buffers, count, &given, allocator, ret_offsets, ret_result, err);
}

/* ---- the lower bound ---- */

typedef struct change {
    int64_t at;
    bool start;
    uint64_t size;
} change;

/* Ends come before starts of the same instant: lifetimes are half open. */
static int compare_changes(const void *a, const void *b)
{
    const change *x = a, *y = b;
    if (x->at != y->at) {
        return x->at < y->at ? -1 : 1;
    }
    return (int)x->start - (int)y->start;
}

static aegis_status
sweep(const change *changes, size_t count, uint64_t *ret_bytes, int64_t *ret_at, aegis_error *err)
{
    uint64_t live = 0, most = 0;
    int64_t at = count > 0 ? changes[0].at : 0;
    for (size_t i = 0; i < count; i++) {
        if (!changes[i].start) {
            live -= changes[i].size;
        } else if (__builtin_add_overflow(live, changes[i].size, &live)) {
            return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_OVERFLOW,
                                   "the sizes live at %" PRId64 " sum to more than 2^64 bytes",
                                   changes[i].at);
        }
        if (live > most) {
            most = live;
            at = changes[i].at;
        }
    }
    *ret_bytes = most;
    *ret_at = at;
    return AEGIS_OK;
}

aegis_status aegis_plan_lower_bound(const aegis_plan_buffer *buffers,
                                    size_t count,
                                    const aegis_allocator *allocator,
                                    uint64_t *ret_bytes,
                                    int64_t *ret_at,
                                    aegis_error *err)
{
    if ((count > 0 && buffers == NULL) || allocator == NULL || ret_bytes == NULL ||
        ret_at == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "buffers, allocator and outputs must be given");
    }
    for (size_t i = 0; i < count; i++) {
        aegis_status status = check_buffer(&buffers[i], err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    change *changes = aegis_allocate_zeroed(allocator, count, 2 * sizeof *changes);
    if (changes == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.plan"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to sweep over %zu buffers", count);
    }
    for (size_t i = 0; i < count; i++) {
        changes[2 * i] = (change){buffers[i].lower, true, buffers[i].size_bytes};
        changes[2 * i + 1] = (change){buffers[i].upper, false, buffers[i].size_bytes};
    }
    qsort(changes, 2 * count, sizeof *changes, compare_changes);
    aegis_status status = sweep(changes, 2 * count, ret_bytes, ret_at, err);
    aegis_deallocate(allocator, changes, count, 2 * sizeof *changes);
    return status;
}

/* ---- the stacked planner ---- */

static aegis_status solve_stacked(void *self,
                                  const aegis_plan_buffer *buffers,
                                  size_t count,
                                  const aegis_plan_limits *limits,
                                  const aegis_allocator *allocator,
                                  uint64_t *ret_offsets,
                                  aegis_plan_result *ret_result,
                                  aegis_error *err)
{
    (void)self;
    aegis_plan_result result = {0};
    aegis_status status = aegis_plan_lower_bound(buffers, count, allocator,
                                                 &result.lower_bound_bytes, &result.peak_at, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t top = buffers[i].fixed_offset + buffers[i].size_bytes;
        result.height_bytes =
            buffers[i].fixed && top > result.height_bytes ? top : result.height_bytes;
    }
    uint64_t fixed_height = result.height_bytes;
    result.lower_bound_bytes =
        fixed_height > result.lower_bound_bytes ? fixed_height : result.lower_bound_bytes;
    for (size_t i = 0; i < count; i++) {
        uint64_t alignment = buffers[i].alignment == 0 ? 1 : buffers[i].alignment;
        if (buffers[i].fixed) {
            ret_offsets[i] = buffers[i].fixed_offset;
        } else {
            ret_offsets[i] = aegis_align_up(result.height_bytes, alignment);
            result.height_bytes = ret_offsets[i] + buffers[i].size_bytes;
        }
    }
    result.optimal = result.height_bytes == result.lower_bound_bytes;
    result.verdict = result.height_bytes <= limits->capacity_bytes       ? AEGIS_PLAN_FEASIBLE
                     : result.lower_bound_bytes > limits->capacity_bytes ? AEGIS_PLAN_INFEASIBLE
                                                                         : AEGIS_PLAN_UNDECIDED;
    *ret_result = result;
    return AEGIS_OK;
}

aegis_planner aegis_planner_stacked(void)
{
    static const aegis_planner_ops ops = {
        .version = AEGIS_PLANNER_OPS_VERSION, .name = "stacked", .solve = solve_stacked};
    return (aegis_planner){.ops = &ops};
}
