/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The product's planner: dynamic storage allocation, exact within a budget of search nodes.
 *
 * 1. Decompose (decompose.c). The instance falls apart where no buffer spans an instant, and a
 *    buffer that overlaps all others of its part can lie at the bottom. What is left is "pieces".
 * 2. Bound. The sum of live sizes over time, strengthened by alignment and by the common divisor
 *    of all sizes: heights of plans that cannot be pushed down are multiples of it.
 * 3. Greedy plans (greedy.c) give the first height. Where it equals the bound, all is said.
 *    Otherwise the buffers are coalesced (coalesce.c): a plan of fewer that stand for all.
 * 4. Search (search.c), after the ideas of Moffitt, "MiniMalloc: A Lightweight Memory Allocator for
 *    Hardware-Accelerated Machine Learning", ASPLOS 2023. Depth first over *canonical* plans, in
 *    which no buffer can be moved down: each lies at 0 or on another, and they are placed in the
 *    order of their offsets, so that each such plan has one sequence (monotonic floor). A placement
 *    that leaves a hole which an open buffer could drop into is dominated. Sections (maximal sets
 *    of buffers live together) infer: what is open in a section must fit above the floor. Where
 *    open buffers fall apart in time, the parts are solved one by one, and a part without a plan
 *    sends the search back to the placement that cut it off, whatever was tried in between.
 *    Beyond the paper, a section is checked as a one-machine schedule with release times, which
 *    counts every hole below each buffer and not only the lowest.
 *    Orders are made anew when a window falls apart: by then other sections are the full ones.
 *    Fixed buffers are placed in the order of their offsets like all others; whatever would leave
 *    one behind or lift it is cut off.
 * 5. Race (race.c): five orders and three tracks of disturbed restarts, each of what is coalesced
 *    and of the buffers as they are, over as many threads as are allowed. The plan is the same on
 *    every machine and with any number.
 *
 * Everything is iterative; the depth of the search is the number of buffers, on the heap.
 */

#include <aegisrt/ext/planner_ops.h>
#include <aegisrt/memory_plan.h>

#include "base/base.h"
#include "decompose.h"
#include "greedy.h"
#include "race.h"

#include <string.h>
#include <time.h>

#define DEFAULT_NODES UINT64_C(1000000)
#define DEFAULT_NODES_TIMES_COUNT (DEFAULT_NODES * 400)

/* A part that must be planned by itself, above `base`. */
typedef struct piece {
    const aegis_plan_buffer *buffers;
    uint64_t *offsets; /* the best plan, from 0 */
    size_t count;
    uint64_t base, height, bound;
    aegis_coalesced coalesced; /* made when the greedy plans do not do */
    aegis_race *race;          /* made when first needed */
} piece;

typedef struct solver {
    const aegis_allocator *allocator;
    aegis_decomposition parts;
    piece *pieces;
    uint64_t divisor;
    uint64_t low, high; /* proved bound and best height of the whole */
    uint64_t nodes_left;
    uint64_t deadline_ns;
    unsigned threads;
} solver;

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Offsets that arise by stacking and aligning, and so the heights, are multiples of this. */
static uint64_t common_divisor(const aegis_plan_buffer *buffers, size_t count)
{
    uint64_t divisor = 0;
    for (size_t i = 0; i < count; i++) {
        divisor = greatest_common_divisor(buffers[i].size_bytes, divisor);
    }
    for (size_t i = 0; i < count; i++) {
        if (buffers[i].alignment > 1 && divisor % buffers[i].alignment != 0) {
            divisor = greatest_common_divisor(divisor, buffers[i].alignment);
        }
        if (buffers[i].fixed) {
            divisor = greatest_common_divisor(buffers[i].fixed_offset, divisor);
        }
    }
    return divisor;
}

static uint64_t round_up(uint64_t value, uint64_t divisor)
{
    return (value + divisor - 1) / divisor * divisor;
}

/* ---- bounds and first plans ---- */

/* With every alignment at least `a`, all live buffers but the topmost take their size rounded up
 * to `a`; the topmost saves at most the largest rounding. */
static aegis_status bound_aligned(const piece *p,
                                  const aegis_allocator *allocator,
                                  uint64_t *ret_bound,
                                  aegis_error *err)
{
    uint64_t least = UINT64_MAX, slack = 0;
    for (size_t i = 0; i < p->count; i++) {
        uint64_t alignment = p->buffers[i].alignment == 0 ? 1 : p->buffers[i].alignment;
        least = alignment < least ? alignment : least;
    }
    *ret_bound = 0;
    if (least == 1) {
        return AEGIS_OK;
    }
    aegis_plan_buffer *rounded = aegis_allocate_zeroed(allocator, p->count, sizeof *rounded);
    if (rounded == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.solver"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to bound %zu buffers", p->count);
    }
    for (size_t i = 0; i < p->count; i++) {
        rounded[i] = p->buffers[i];
        rounded[i].size_bytes = aegis_align_up(rounded[i].size_bytes, least);
        uint64_t more = rounded[i].size_bytes - p->buffers[i].size_bytes;
        slack = more > slack ? more : slack;
    }
    int64_t at;
    uint64_t bound;
    aegis_status status = aegis_plan_lower_bound(rounded, p->count, allocator, &bound, &at, err);
    if (status == AEGIS_OK) {
        *ret_bound = bound - slack;
    }
    aegis_deallocate(allocator, rounded, p->count, sizeof *rounded);
    return status;
}

static aegis_status
bound_piece(piece *p, uint64_t divisor, const aegis_allocator *allocator, aegis_error *err)
{
    int64_t at;
    uint64_t aligned;
    aegis_status status =
        aegis_plan_lower_bound(p->buffers, p->count, allocator, &p->bound, &at, err);
    if (status == AEGIS_OK) {
        status = bound_aligned(p, allocator, &aligned, err);
    }
    if (status == AEGIS_OK) {
        p->bound = p->bound > aligned ? p->bound : aligned;
        for (size_t i = 0; i < p->count; i++) {
            uint64_t top = p->buffers[i].fixed_offset + p->buffers[i].size_bytes;
            p->bound = p->buffers[i].fixed && top > p->bound ? top : p->bound;
        }
        p->bound = round_up(p->bound, divisor);
    }
    return status;
}

static void update_high(solver *s)
{
    s->high = s->parts.settled_height;
    for (size_t i = 0; i < s->parts.piece_count; i++) {
        uint64_t top = s->pieces[i].base + s->pieces[i].height;
        s->high = top > s->high ? top : s->high;
    }
}

/* The lower of the greedy plans for the buffers as they are and coalesced. */
static aegis_status
plan_greedily(piece *p, uint64_t enough, const aegis_allocator *allocator, aegis_error *err)
{
    aegis_status status = aegis_greedy_plan(p->buffers, p->count, enough - p->base, allocator,
                                            p->offsets, &p->height, err);
    if (status != AEGIS_OK || p->base + p->height <= enough) {
        return status;
    }
    status = aegis_coalesce(p->buffers, p->count, allocator, &p->coalesced, err);
    if (status != AEGIS_OK || p->coalesced.count == p->count) {
        return status;
    }
    uint64_t height,
        *offsets = aegis_allocate_zeroed(allocator, p->coalesced.count, sizeof *offsets);
    if (offsets == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.solver"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to plan %zu buffers", p->count);
    }
    status = aegis_greedy_plan(p->coalesced.buffers, p->coalesced.count, enough - p->base,
                               allocator, offsets, &height, err);
    if (status == AEGIS_OK && height < p->height) {
        p->height = height;
        aegis_coalesced_offsets(&p->coalesced, offsets, p->offsets);
    }
    aegis_deallocate(allocator, offsets, p->coalesced.count, sizeof *offsets);
    return status;
}

/* Pieces, bounds, and greedy plans no better than the whole can use. */
static aegis_status prepare(solver *s, uint64_t capacity, aegis_error *err)
{
    s->low = s->parts.settled_height;
    for (size_t i = 0; i < s->parts.piece_count; i++) {
        const aegis_part *part = &s->parts.parts[i];
        piece *p = &s->pieces[i];
        *p = (piece){.buffers = s->parts.buffers + part->first,
                     .offsets = s->parts.offsets + part->first,
                     .count = part->count,
                     .base = part->base};
        aegis_status status = bound_piece(p, s->divisor, s->allocator, err);
        if (status != AEGIS_OK) {
            return status;
        }
        s->low = p->base + p->bound > s->low ? p->base + p->bound : s->low;
    }
    uint64_t enough = capacity != UINT64_MAX && capacity > s->low ? capacity : s->low;
    for (size_t i = 0; i < s->parts.piece_count; i++) {
        aegis_status status = plan_greedily(&s->pieces[i], enough, s->allocator, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    update_high(s);
    return AEGIS_OK;
}

/* ---- search ---- */

static bool out_of_time(const solver *s)
{
    if (s->deadline_ns == 0) {
        return false;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * AEGIS_NS_PER_S + (uint64_t)now.tv_nsec >= s->deadline_ns;
}

static uint64_t plan_height(const piece *p)
{
    uint64_t height = 0;
    for (size_t i = 0; i < p->count; i++) {
        uint64_t top = p->offsets[i] + p->buffers[i].size_bytes;
        height = top > height ? top : height;
    }
    return height;
}

/* One piece within `target`, for at most `*nodes`. */
static aegis_status search_piece(solver *s,
                                 piece *p,
                                 uint64_t target,
                                 uint64_t *nodes,
                                 aegis_search_outcome *ret_outcome,
                                 aegis_error *err)
{
    if (p->race == NULL) {
        aegis_status status = aegis_race_create(
            p->buffers, p->count, p->coalesced.count < p->count ? &p->coalesced : NULL, s->threads,
            s->allocator, &p->race, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    *ret_outcome = aegis_race_run(p->race, target - p->base, s->deadline_ns, nodes, p->offsets);
    if (*ret_outcome == AEGIS_SEARCH_NO_MEMORY) {
        return aegis_error_set(err, AEGIS_HERE("resource.solver"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to go on searching %zu buffers", p->count);
    }
    if (*ret_outcome == AEGIS_SEARCH_FOUND) {
        p->height = plan_height(p);
    }
    return AEGIS_OK;
}

static size_t count_above(const solver *s, uint64_t target)
{
    size_t above = 0;
    for (size_t i = 0; i < s->parts.piece_count; i++) {
        above += s->pieces[i].base + s->pieces[i].height > target;
    }
    return above;
}

/* Brings every piece to `target` or below. EXHAUSTED as soon as one is proved not to fit. What easy
 * pieces leave of their shares goes to the others, until nothing is left. */
static aegis_status search_all(
    solver *s, uint64_t target, uint64_t nodes, aegis_search_outcome *ret_outcome, aegis_error *err)
{
    nodes = nodes < s->nodes_left ? nodes : s->nodes_left;
    *ret_outcome = AEGIS_SEARCH_FOUND;
    size_t above = count_above(s, target), next = 0;
    for (bool more = above > 0; more; next = 0) {
        uint64_t start = nodes;
        for (size_t left = above; left > 0; next++) {
            piece *p = &s->pieces[next];
            if (p->base + p->height <= target) {
                continue;
            }
            uint64_t share = nodes / left--, kept = share;
            aegis_search_outcome outcome;
            aegis_status status = search_piece(s, p, target, &share, &outcome, err);
            if (status != AEGIS_OK) {
                return status;
            }
            nodes -= kept - share;
            s->nodes_left -= kept - share;
            if (outcome == AEGIS_SEARCH_EXHAUSTED) {
                *ret_outcome = outcome;
                update_high(s);
                return AEGIS_OK;
            }
        }
        above = count_above(s, target);
        more = above > 0 && nodes >= above && nodes < start && !out_of_time(s);
    }
    *ret_outcome = above == 0 ? AEGIS_SEARCH_FOUND : AEGIS_SEARCH_LIMIT;
    update_high(s);
    return AEGIS_OK;
}

/* A plan within `capacity`, or the proof that there is none, or neither. */
static aegis_status fit(solver *s, uint64_t capacity, aegis_error *err)
{
    if (s->low > capacity || s->high <= capacity) {
        return AEGIS_OK;
    }
    aegis_search_outcome outcome;
    aegis_status status = search_all(s, capacity, s->nodes_left, &outcome, err);
    if (status == AEGIS_OK && outcome == AEGIS_SEARCH_EXHAUSTED) {
        s->low = round_up(capacity + 1, s->divisor);
    }
    return status;
}

/* One try at `target`. `*failed` is where heights start that have not failed, proved or not. */
static aegis_status
step_down(solver *s, uint64_t target, uint64_t nodes, uint64_t *failed, aegis_error *err)
{
    aegis_search_outcome outcome;
    aegis_status status = search_all(s, target, nodes, &outcome, err);
    if (status == AEGIS_OK && outcome == AEGIS_SEARCH_EXHAUSTED) {
        s->low = target + s->divisor;
    }
    if (status == AEGIS_OK && outcome != AEGIS_SEARCH_FOUND) {
        *failed = target + s->divisor;
    }
    return status;
}

/* The proved bound, where most plans are, for `first` nodes, and then halving what lies between the
 * last height that failed and the best one known, for `later` nodes a step. */
static aegis_status descend(solver *s, uint64_t first, uint64_t later, aegis_error *err)
{
    uint64_t failed = s->low;
    aegis_status status = AEGIS_OK;
    while (status == AEGIS_OK && failed < s->high && s->nodes_left > 0 && !out_of_time(s)) {
        bool at_bound = failed == s->low;
        uint64_t target =
            at_bound ? s->low : failed + (s->high - failed) / 2 / s->divisor * s->divisor;
        status = step_down(s, target, at_bound ? first : later, &failed, err);
    }
    return status;
}

/* The least height: a quick descent for a good plan early, then half of the budget for the bound
 * and the rest for what lies between. */
static aegis_status minimise(solver *s, aegis_error *err)
{
    uint64_t quick = s->nodes_left / 48 + 1;
    aegis_status status = descend(s, quick, quick, err);
    if (status == AEGIS_OK) {
        status = descend(s, s->nodes_left / 2 + 1, s->nodes_left / 12 + 1, err);
    }
    return status;
}

/* ---- the planner ---- */

static uint64_t nodes_of(const aegis_plan_limits *limits, size_t count)
{
    if (limits->nodes != 0) {
        return limits->nodes;
    }
    uint64_t scaled = DEFAULT_NODES_TIMES_COUNT / count;
    return scaled < DEFAULT_NODES ? scaled : DEFAULT_NODES;
}

static void report(const solver *s,
                   uint64_t capacity,
                   uint64_t nodes,
                   int64_t peak_at,
                   aegis_plan_result *ret_result)
{
    *ret_result = (aegis_plan_result){
        .verdict = s->high <= capacity ? AEGIS_PLAN_FEASIBLE
                   : s->low > capacity ? AEGIS_PLAN_INFEASIBLE
                                       : AEGIS_PLAN_UNDECIDED,
        .height_bytes = s->high,
        .lower_bound_bytes = s->low,
        .optimal = s->high == s->low,
        .peak_at = peak_at,
        .nodes = nodes - s->nodes_left,
    };
}

static aegis_status solve(void *self,
                          const aegis_plan_buffer *buffers,
                          size_t count,
                          const aegis_plan_limits *limits,
                          const aegis_allocator *allocator,
                          uint64_t *ret_offsets,
                          aegis_plan_result *ret_result,
                          aegis_error *err)
{
    (void)self;
    uint64_t capacity = limits->capacity_bytes, nodes = nodes_of(limits, count), sum;
    int64_t peak_at;
    solver s = {.allocator = allocator, .nodes_left = nodes, .threads = limits->threads};
    if (limits->timeout_ns != 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        s.deadline_ns = (uint64_t)now.tv_sec * AEGIS_NS_PER_S + (uint64_t)now.tv_nsec;
        s.deadline_ns = limits->timeout_ns < UINT64_MAX - s.deadline_ns
                            ? s.deadline_ns + limits->timeout_ns
                            : 0;
    }
    s.divisor = common_divisor(buffers, count);
    aegis_status status = aegis_plan_lower_bound(buffers, count, allocator, &sum, &peak_at, err);
    if (status == AEGIS_OK) {
        status = aegis_decompose(buffers, count, allocator, &s.parts, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    s.pieces = aegis_allocate_zeroed(allocator, s.parts.piece_count, sizeof *s.pieces);
    if (s.pieces == NULL) {
        status = aegis_error_set(err, AEGIS_HERE("resource.solver"), AEGIS_ERROR_NO_MEMORY,
                                 "no host memory for %zu pieces", s.parts.piece_count);
        goto done;
    }
    status = prepare(&s, capacity, err);
    if (status == AEGIS_OK) {
        status = capacity == UINT64_MAX ? minimise(&s, err) : fit(&s, capacity, err);
    }
    if (status == AEGIS_OK) {
        aegis_decomposition_offsets(&s.parts, ret_offsets);
        report(&s, capacity, nodes, peak_at, ret_result);
    }
    for (size_t i = 0; i < s.parts.piece_count; i++) {
        aegis_race_destroy(s.pieces[i].race);
        aegis_coalesced_finish(&s.pieces[i].coalesced, allocator);
    }
    aegis_deallocate(allocator, s.pieces, s.parts.piece_count, sizeof *s.pieces);
done:
    aegis_decomposition_finish(&s.parts, allocator);
    return status;
}

aegis_planner aegis_planner_default(void)
{
    static const aegis_planner_ops ops = {
        .version = AEGIS_PLANNER_OPS_VERSION, .name = "exact", .solve = solve};
    return (aegis_planner){.ops = &ops};
}
