/* SPDX-License-Identifier: Apache-2.0 */
/* A set of admitted tasks that grows and shrinks, and what its last test found.
 *
 * Every number that a test computes is the least solution of an equation that only grows with the
 * tasks and with the blocking, or a maximum over such. So what holds for a set bounds it for every
 * larger one from below: the next test begins there instead of at nothing. Under fixed priorities a
 * response is even final as long as the tasks above it and the blocking are the same. A task that
 * leaves takes with it all that may have counted it. */
#include "schedule/admission/internal.h"

#include "base/base.h"

#include <string.h>

#define FIRST_ROOM 8

struct aegis_admission_set {
    aegis_allocator allocator;
    aegis_analysis analysis;
    size_t count, room;
    aegis_atask *tasks;
    uint64_t *blocking;
    aegis_known known;
};

static aegis_status no_memory(aegis_error *err)
{
    return aegis_outcome_status(AEGIS_OUTCOME_NO_MEMORY, err);
}

static aegis_admission_set *create_empty(aegis_analysis analysis, const aegis_allocator *allocator)
{
    aegis_admission_set *set = aegis_allocate_zeroed(allocator, 1, sizeof *set);
    if (set != NULL) {
        set->allocator = *allocator;
        set->analysis = analysis;
    }
    return set;
}

aegis_status aegis_admission_set_create(aegis_analysis analysis,
                                        const aegis_allocator *allocator,
                                        aegis_admission_set **ret_set,
                                        aegis_error *err)
{
    aegis_status status = aegis_admission_check_analysis(analysis, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_admission_set *set = create_empty(analysis, allocator);
    if (set == NULL) {
        return no_memory(err);
    }
    *ret_set = set;
    return AEGIS_OK;
}

static void free_arrays(const aegis_admission_set *set)
{
    aegis_deallocate(&set->allocator, set->tasks, set->room, sizeof *set->tasks);
    aegis_deallocate(&set->allocator, set->blocking, set->room, sizeof *set->blocking);
    aegis_deallocate(&set->allocator, set->known.tasks, set->room, sizeof *set->known.tasks);
}

void aegis_admission_set_destroy(aegis_admission_set *set)
{
    if (set != NULL) {
        aegis_allocator allocator = set->allocator;
        free_arrays(set);
        aegis_deallocate(&allocator, set, 1, sizeof *set);
    }
}

size_t aegis_admission_set_count(const aegis_admission_set *set)
{
    return set->count;
}

/* Twice the room, the tasks as they are. */
static bool grow(aegis_admission_set *set)
{
    aegis_admission_set larger = *set;
    larger.room = set->room == 0 ? FIRST_ROOM : 2 * set->room;
    larger.tasks = aegis_allocate_zeroed(&set->allocator, larger.room, sizeof *larger.tasks);
    larger.blocking = aegis_allocate_zeroed(&set->allocator, larger.room, sizeof *larger.blocking);
    larger.known.tasks =
        aegis_allocate_zeroed(&set->allocator, larger.room, sizeof *larger.known.tasks);
    if (larger.tasks == NULL || larger.blocking == NULL || larger.known.tasks == NULL) {
        free_arrays(&larger);
        return false;
    }
    if (set->count > 0) {
        memcpy(larger.tasks, set->tasks, set->count * sizeof *set->tasks);
        memcpy(larger.known.tasks, set->known.tasks, set->count * sizeof *set->known.tasks);
    }
    free_arrays(set);
    *set = larger;
    return true;
}

aegis_status aegis_admission_set_add(aegis_admission_set *set,
                                     const aegis_task *task,
                                     size_t at,
                                     aegis_error *err)
{
    aegis_atask added;
    if (at > set->count) {
        return aegis_error_set(err, AEGIS_HERE("schedule.admission"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "place %zu in a set of %zu tasks: use 0 to %zu", at, set->count,
                               set->count);
    }
    aegis_status status = aegis_admission_convert(set->analysis, task, at, &added, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (set->count == set->room && !grow(set)) {
        return no_memory(err);
    }
    size_t below = set->count - at;
    memmove(&set->tasks[at + 1], &set->tasks[at], below * sizeof *set->tasks);
    memmove(&set->known.tasks[at + 1], &set->known.tasks[at], below * sizeof *set->known.tasks);
    set->tasks[at] = added;
    set->known.tasks[at] = (aegis_known_task){.settled = false};
    set->count++;
    for (size_t i = at + 1; i < set->count; i++) {
        set->known.tasks[i].settled = false;
    }
    return AEGIS_OK;
}

/* Which of the tasks the set holds, in this order: `ret_known[i]` is the place, SIZE_MAX none.
 * False when it holds others too. Looking for each at the first place that is left finds all there
 * are. */
static bool
match(const aegis_admission_set *set, const aegis_atask *tasks, size_t count, size_t *ret_known)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        bool same = at < set->count && memcmp(&set->tasks[at], &tasks[i], sizeof *tasks) == 0;
        ret_known[i] = same ? at : SIZE_MAX;
        at += same;
    }
    return at == set->count;
}

static aegis_status convert_all(aegis_analysis analysis,
                                const aegis_task *tasks,
                                size_t count,
                                aegis_atask *ret_tasks,
                                aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < count && status == AEGIS_OK; i++) {
        status = aegis_admission_convert(analysis, &tasks[i], i, &ret_tasks[i], err);
    }
    return status;
}

/* Under fixed priorities what was settled stays so above the first task that is new. */
static void inherit(aegis_admission_set *set, const aegis_admission_set *from, const size_t *known)
{
    bool settled = true;
    for (size_t i = 0; i < set->count; i++) {
        settled = settled && known[i] != SIZE_MAX;
        if (known[i] != SIZE_MAX) {
            set->known.tasks[i] = from->known.tasks[known[i]];
            set->known.tasks[i].settled = set->known.tasks[i].settled && settled;
        }
    }
    set->known.spans = from->known.spans;
}

static bool make_room(aegis_admission_set *set, size_t count)
{
    const aegis_allocator *allocator = &set->allocator;
    set->room = count;
    set->tasks = aegis_allocate_zeroed(allocator, count, sizeof *set->tasks);
    set->blocking = aegis_allocate_zeroed(allocator, count, sizeof *set->blocking);
    set->known.tasks = aegis_allocate_zeroed(allocator, count, sizeof *set->known.tasks);
    return set->tasks != NULL && set->blocking != NULL && set->known.tasks != NULL;
}

/* A set with room for the tasks, and for each the place of another set; NULL: no memory. */
static aegis_admission_set *create_with_room(aegis_analysis analysis,
                                             size_t count,
                                             const aegis_allocator *allocator,
                                             size_t **ret_known)
{
    aegis_admission_set *set = create_empty(analysis, allocator);
    size_t *known = aegis_allocate_zeroed(allocator, count, sizeof *known);
    if (set == NULL || known == NULL || !make_room(set, count)) {
        aegis_deallocate(allocator, known, count, sizeof *known);
        aegis_admission_set_destroy(set);
        return NULL;
    }
    *ret_known = known;
    return set;
}

aegis_status aegis_admission_set_derive(aegis_analysis analysis,
                                        const aegis_admission_set *from,
                                        const aegis_task *tasks,
                                        size_t count,
                                        const aegis_allocator *allocator,
                                        aegis_admission_set **ret_set,
                                        aegis_error *err)
{
    size_t *known = NULL;
    aegis_status status = aegis_admission_check_analysis(analysis, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_admission_set *set = create_with_room(analysis, count, allocator, &known);
    if (set == NULL) {
        return no_memory(err);
    }
    status = convert_all(analysis, tasks, count, set->tasks, err);
    if (status == AEGIS_OK) {
        set->count = count;
        if (from != NULL && from->analysis == analysis && match(from, set->tasks, count, known)) {
            inherit(set, from, known);
        }
        *ret_set = set;
    } else {
        aegis_admission_set_destroy(set);
    }
    aegis_deallocate(allocator, known, count, sizeof *known);
    return status;
}

size_t aegis_admission_set_lacks(const aegis_admission_set *set,
                                 aegis_analysis analysis,
                                 const aegis_task *tasks,
                                 size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < count && set->analysis == analysis; i++) {
        aegis_atask task;
        bool valid = aegis_admission_convert(analysis, &tasks[i], i, &task, NULL) == AEGIS_OK;
        at += valid && at < set->count && memcmp(&set->tasks[at], &task, sizeof task) == 0;
    }
    return set->analysis == analysis && at == set->count ? count - at : SIZE_MAX;
}

static bool by_priority(aegis_analysis analysis)
{
    return analysis == AEGIS_ANALYSIS_NP_FP || analysis == AEGIS_ANALYSIS_FPP ||
           analysis == AEGIS_ANALYSIS_FP;
}

aegis_status aegis_admission_set_remove(aegis_admission_set *set, size_t at, aegis_error *err)
{
    if (at >= set->count) {
        return aegis_error_set(err, AEGIS_HERE("schedule.admission"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "there is no task %zu in a set of %zu: count from 0", at,
                               set->count);
    }
    size_t below = set->count - at - 1;
    memmove(&set->tasks[at], &set->tasks[at + 1], below * sizeof *set->tasks);
    memmove(&set->known.tasks[at], &set->known.tasks[at + 1], below * sizeof *set->known.tasks);
    set->count--;
    /* Those above it lost blocking at most, which the next test compares. */
    for (size_t i = by_priority(set->analysis) ? at : 0; i < set->count; i++) {
        set->known.tasks[i] = (aegis_known_task){.settled = false};
    }
    set->known.spans = (aegis_spans){0, 0};
    return AEGIS_OK;
}

aegis_status aegis_admission_set_test(aegis_admission_set *set,
                                      const aegis_admission_limits *limits,
                                      aegis_admission_result *ret_result,
                                      aegis_error *err)
{
    aegis_analysis_run run = {.analysis = set->analysis,
                              .tasks = set->tasks,
                              .blocking = set->blocking,
                              .count = set->count,
                              .budget = aegis_budget_of(limits),
                              .allocator = &set->allocator,
                              .known = &set->known};
    return aegis_outcome_status(aegis_admission_execute(&run, ret_result), err);
}
