/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fewest cuts under a tolerance. Points 0..n+1 are the beginning of the model, its candidates
 * and its end; a choice is a path over them whose every step is a segment that is short enough.
 */
#include <aegisrt/cuts.h>

#include "base/base.h"

#include <assert.h>

__extension__ typedef unsigned __int128 cut_wide;

#define COMPONENT "schedule.cuts"
#define MOST_CUTS 1024u

/* The best path to one point. */
typedef struct path {
    size_t segments; /* SIZE_MAX: none */
    uint64_t live_bytes;
    size_t from;
} path;

typedef struct chooser {
    const aegis_cut_problem *problem;
    path *paths;
    size_t points;
} chooser;

static uint64_t elapsed_at(const aegis_cut_problem *problem, size_t point)
{
    if (point == 0) {
        return 0;
    }
    uint64_t elapsed = point <= problem->candidate_count ? problem->candidates[point - 1].elapsed_ns
                                                         : problem->elapsed_ns;
    return elapsed < problem->elapsed_ns ? elapsed : problem->elapsed_ns;
}

/* What the segment between two points is expected to occupy its lane for. Times are measured, so
 * they need not ascend: a step back counts as nothing. */
static uint64_t length_of(const aegis_cut_problem *problem, size_t from, size_t to)
{
    uint64_t begin = elapsed_at(problem, from), end = elapsed_at(problem, to);
    assert(problem->elapsed_ns > 0); /* check() saw to it */
    cut_wide scaled = end > begin ? (cut_wide)(end - begin) * problem->bound_ns : 0;
    scaled = (scaled + problem->elapsed_ns - 1) / problem->elapsed_ns;
    uint64_t length = scaled > UINT64_MAX ? UINT64_MAX : (uint64_t)scaled;
    length = aegis_add_saturating(length, from > 0 ? problem->crossing_ns : 0);
    length =
        aegis_add_saturating(length, problem->stretch_ns < length ? problem->stretch_ns : length);
    return aegis_add_saturating(length, problem->overhead_ns);
}

static bool is_better(const path *a, const path *b)
{
    if (a->segments != b->segments) {
        return a->segments < b->segments;
    }
    return a->live_bytes < b->live_bytes;
}

/* Points are met in ascending order and only a better path replaces one, so that among equals the
 * earliest cuts stay. */
static void find_paths(chooser *c, uint64_t tolerance_ns)
{
    const aegis_cut_problem *problem = c->problem;
    c->paths[0] = (path){0};
    for (size_t to = 1; to < c->points; to++) {
        uint64_t bytes = to + 1 < c->points ? problem->candidates[to - 1].live_bytes : 0;
        c->paths[to] = (path){.segments = SIZE_MAX};
        for (size_t from = 0; from < to; from++) {
            if (c->paths[from].segments == SIZE_MAX ||
                length_of(problem, from, to) > tolerance_ns) {
                continue;
            }
            path longer = {.segments = c->paths[from].segments + 1,
                           .live_bytes = aegis_add_saturating(c->paths[from].live_bytes, bytes),
                           .from = from};
            if (is_better(&longer, &c->paths[to])) {
                c->paths[to] = longer;
            }
        }
    }
}

static void read_choice(const chooser *c, size_t *ret_cuts, aegis_cut_choice *ret_choice)
{
    size_t point = c->points - 1;
    const path *end = &c->paths[point];
    aegis_cut_choice choice = {
        .found = true, .count = end->segments - 1, .live_bytes = end->live_bytes};
    for (size_t at = choice.count;; at--) {
        size_t from = c->paths[point].from;
        uint64_t length = length_of(c->problem, from, point);
        choice.longest_ns = length > choice.longest_ns ? length : choice.longest_ns;
        choice.sum_ns = aegis_add_saturating(choice.sum_ns, length);
        if (from == 0) {
            break;
        }
        ret_cuts[at - 1] = from - 1;
        point = from;
    }
    *ret_choice = choice;
}

static aegis_status check(const aegis_cut_problem *problem, size_t room, aegis_error *err)
{
    if (problem->elapsed_ns == 0 || problem->bound_ns == 0 || room >= MOST_CUTS) {
        aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                        "choosing cuts needs a measured time, a bound and fewer than %u cuts",
                        MOST_CUTS);
        return AEGIS_ERROR_INVALID_ARGUMENT;
    }
    for (size_t i = 1; i < problem->candidate_count; i++) {
        if (problem->candidates[i].position <= problem->candidates[i - 1].position) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                                   "candidate %zu (position %u) does not come after the one "
                                   "before it",
                                   i, problem->candidates[i].position);
        }
    }
    return AEGIS_OK;
}

static aegis_status chooser_init(chooser *c,
                                 const aegis_cut_problem *problem,
                                 size_t room,
                                 const aegis_allocator *allocator,
                                 aegis_error *err)
{
    aegis_status status = check(problem, room, err);
    if (status != AEGIS_OK) {
        return status;
    }
    *c = (chooser){.problem = problem, .points = problem->candidate_count + 2};
    c->paths = aegis_allocate_zeroed(allocator, c->points, sizeof *c->paths);
    return c->paths != NULL ? AEGIS_OK
                            : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                              "no host memory to choose among %zu cuts",
                                              problem->candidate_count);
}

/* True when some choice of at most `segments` keeps to the tolerance. */
static bool fits(chooser *c, uint64_t tolerance_ns, size_t segments)
{
    find_paths(c, tolerance_ns);
    return c->paths[c->points - 1].segments <= segments;
}

/* Leaves in the chooser the paths with the least tolerance that `segments` can keep to. The whole
 * model in one segment always does. */
static void find_even(chooser *c, size_t segments)
{
    uint64_t good = length_of(c->problem, 0, c->points - 1), bad = 0;
    while (good - bad > 1) {
        uint64_t middle = bad + (good - bad) / 2;
        if (fits(c, middle, segments)) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    find_paths(c, good);
}

aegis_status aegis_cuts_choose(const aegis_cut_problem *problem,
                               uint64_t tolerance_ns,
                               size_t room,
                               const aegis_allocator *allocator,
                               size_t *ret_cuts,
                               aegis_cut_choice *ret_choice,
                               aegis_error *err)
{
    chooser c;
    aegis_status status = chooser_init(&c, problem, room, allocator, err);
    if (status != AEGIS_OK) {
        return status;
    }
    bool found = fits(&c, tolerance_ns, room + 1);
    if (!found) {
        find_even(&c, room + 1);
    }
    read_choice(&c, ret_cuts, ret_choice);
    ret_choice->found = found;
    aegis_deallocate(allocator, c.paths, c.points, sizeof *c.paths);
    return AEGIS_OK;
}

aegis_status aegis_cuts_even(const aegis_cut_problem *problem,
                             size_t segments,
                             const aegis_allocator *allocator,
                             size_t *ret_cuts,
                             aegis_cut_choice *ret_choice,
                             aegis_error *err)
{
    chooser c;
    if (segments == 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "a model has at least one segment");
    }
    aegis_status status = chooser_init(&c, problem, segments - 1, allocator, err);
    if (status == AEGIS_OK) {
        find_even(&c, segments);
        read_choice(&c, ret_cuts, ret_choice);
        aegis_deallocate(allocator, c.paths, c.points, sizeof *c.paths);
    }
    return status;
}
