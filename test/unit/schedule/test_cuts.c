/* SPDX-License-Identifier: Apache-2.0 */
/* Tolerances of small sets by hand, and the fewest cuts against all choices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aegisrt/cuts.h>

#include "base/base.h"
#include "support/test_allocator.h"

#include <string.h>

#define POINTS 9u

static void edf_tolerance_is_the_least_slack_before_the_deadline(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    /* Slack: 8 at 10, 16 - 5 = ... at 20: 20 - 2*2 - 5 = 11, at 15: 15 - 2 - 5 = 8. */
    const aegis_task tasks[] = {{.execution = 2, .period = 10, .deadline = 10},
                                {.execution = 5, .period = 30, .deadline = 15},
                                {.execution = 9, .period = 100, .deadline = 100}};
    aegis_cut_tolerance t[3];
    aegis_error err = {0};
    assert_int_equal(
        aegis_cut_tolerances(AEGIS_ANALYSIS_NP_EDF, tasks, 3, NULL, &allocator, t, &err), AEGIS_OK);
    assert_true(t[0].segment == AEGIS_CUT_ANY_LENGTH);
    assert_true(t[0].limited_by == SIZE_MAX);
    assert_int_equal(t[1].segment, 9);
    assert_int_equal(t[1].limited_by, 0);
    assert_int_equal(t[1].at, 10);
    assert_int_equal(t[2].segment, 9);
    assert_int_equal(t[2].slack, 8);
}

static void fixed_priority_tolerance_by_hand(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_task tasks[] = {{.execution = 2, .period = 10, .deadline = 6},
                                {.execution = 3, .period = 20, .deadline = 20},
                                {.execution = 9, .period = 100, .deadline = 100}};
    aegis_cut_tolerance t[3];
    aegis_error err = {0};
    assert_int_equal(aegis_cut_tolerances(AEGIS_ANALYSIS_FPP, tasks, 3, NULL, &allocator, t, &err),
                     AEGIS_OK);
    assert_true(t[0].segment == AEGIS_CUT_ANY_LENGTH);
    /* The first ends at B + 2 <= 6. */
    assert_int_equal(t[1].segment, 5);
    assert_int_equal(t[1].limited_by, 0);
    /* The second would bear 13, so that the first one's 4 stands. */
    assert_int_equal(t[2].segment, 5);
    assert_int_equal(t[2].limited_by, 0);
}

static void a_set_that_misses_anyway_tolerates_nothing(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_task tasks[] = {{.execution = 7, .period = 10, .deadline = 5},
                                {.execution = 1, .period = 100, .deadline = 100}};
    aegis_cut_tolerance t[2];
    aegis_error err = {0};
    const aegis_analysis both[] = {AEGIS_ANALYSIS_NP_EDF, AEGIS_ANALYSIS_NP_FP};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(aegis_cut_tolerances(both[i], tasks, 2, NULL, &allocator, t, &err),
                         AEGIS_OK);
        assert_int_equal(t[1].segment, 0);
        assert_int_equal(t[1].limited_by, 0);
    }
}

static void fifo_and_single_tasks_tolerate_anything(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_task tasks[] = {{.execution = 7, .period = 10, .deadline = 9},
                                {.execution = 1, .period = 100, .deadline = 100}};
    aegis_cut_tolerance t[2];
    aegis_error err = {0};
    assert_int_equal(aegis_cut_tolerances(AEGIS_ANALYSIS_FIFO, tasks, 2, NULL, &allocator, t, &err),
                     AEGIS_OK);
    assert_true(t[1].segment == AEGIS_CUT_ANY_LENGTH);
    assert_int_equal(
        aegis_cut_tolerances(AEGIS_ANALYSIS_NP_EDF, tasks, 1, NULL, &allocator, t, &err), AEGIS_OK);
    assert_true(t[0].segment == AEGIS_CUT_ANY_LENGTH);
}

static void refused_arguments_and_limits(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_task tasks[] = {{.execution = 2, .period = 10, .deadline = 10},
                          {.execution = 1, .period = 100000, .deadline = 100000}};
    const aegis_admission_limits few = {.steps = 3};
    const volatile bool cancelled = true;
    const aegis_admission_limits stopped = {.cancel = &cancelled};
    aegis_cut_tolerance t[2];
    aegis_error err = {0};
    assert_int_equal(aegis_cut_tolerances(AEGIS_ANALYSIS_EDF, tasks, 2, NULL, &allocator, t, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(
        aegis_cut_tolerances(AEGIS_ANALYSIS_NP_EDF, tasks, 2, &few, &allocator, t, &err),
        AEGIS_ERROR_UNDECIDED);
    assert_int_equal(
        aegis_cut_tolerances(AEGIS_ANALYSIS_NP_EDF, tasks, 2, &stopped, &allocator, t, &err),
        AEGIS_ERROR_UNDECIDED);
    assert_int_equal(aegis_cut_tolerances(AEGIS_ANALYSIS_FPP, tasks, 2, &few, &allocator, t, &err),
                     AEGIS_ERROR_UNDECIDED);
    tasks[1].execution = 0;
    assert_int_equal(
        aegis_cut_tolerances(AEGIS_ANALYSIS_NP_EDF, tasks, 2, NULL, &allocator, t, &err),
        AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "task 1"));
}

/* What the lower task may block for is asked of the exact test, whose times do not fit. */
static void tolerances_past_the_integers_are_none(void **state)
{
    (void)state;
    const int64_t big = INT64_C(1) << 62;
    test_allocator counting = {0};
    const aegis_allocator allocator = test_allocator_make(&counting);
    const aegis_task tasks[] = {
        {.execution = big - 1, .period = big, .deadline = big - 1, .jitter = big - 1},
        {.execution = 1, .period = big, .deadline = big - 1}};
    aegis_cut_tolerance t[2];
    aegis_error err = {0};
    assert_int_equal(aegis_cut_tolerances(AEGIS_ANALYSIS_FPP, tasks, 2, NULL, &allocator, t, &err),
                     AEGIS_ERROR_OVERFLOW);
    assert_non_null(strstr(err.message, "use larger ticks"));
    assert_int_equal(counting.blocks, 0);
}

static void tolerances_need_memory(void **state)
{
    (void)state;
    const aegis_task tasks[] = {{.execution = 2, .period = 10, .deadline = 6},
                                {.execution = 3, .period = 20, .deadline = 20}};
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    for (uint64_t nth = 1; status != AEGIS_OK; nth++) {
        test_allocator counting = {.fail_at = nth};
        const aegis_allocator allocator = test_allocator_make(&counting);
        aegis_cut_tolerance t[2];
        aegis_error err = {0};
        status = aegis_cut_tolerances(AEGIS_ANALYSIS_NP_FP, tasks, 2, NULL, &allocator, t, &err);
        assert_true(status == (counting.calls < nth ? AEGIS_OK : AEGIS_ERROR_NO_MEMORY));
        assert_true(status == err.status && (status != AEGIS_OK || nth > 2));
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
    }
}

/* ---- choosing ---- */

static void random_problem(uint64_t *seed, aegis_cut_candidate *candidates, aegis_cut_problem *p)
{
    uint64_t elapsed = 0;
    for (uint32_t i = 0; i < POINTS; i++) {
        elapsed += aegis_random_next(seed) % 20;
        candidates[i] = (aegis_cut_candidate){.position = 2 * i + 1,
                                              .live_tensors = 1,
                                              .live_bytes = aegis_random_next(seed) % 4,
                                              .elapsed_ns = elapsed};
    }
    *p = (aegis_cut_problem){.candidates = candidates,
                             .candidate_count = POINTS,
                             .elapsed_ns = elapsed + 1 + aegis_random_next(seed) % 20,
                             .bound_ns = 1 + aegis_random_next(seed) % 300,
                             .crossing_ns = aegis_random_next(seed) % 5,
                             .stretch_ns = aegis_random_next(seed) % 30,
                             .overhead_ns = aegis_random_next(seed) % 5};
}

static uint64_t segment_length(const aegis_cut_problem *p, size_t from, size_t to)
{
    uint64_t begin = from == 0 ? 0 : p->candidates[from - 1].elapsed_ns;
    uint64_t end = to > POINTS ? p->elapsed_ns : p->candidates[to - 1].elapsed_ns;
    uint64_t length = ((end - begin) * p->bound_ns + p->elapsed_ns - 1) / p->elapsed_ns;
    length += from > 0 ? p->crossing_ns : 0;
    length += p->stretch_ns < length ? p->stretch_ns : length;
    return length + p->overhead_ns;
}

typedef struct best {
    bool found;
    size_t cuts;
    uint64_t bytes, longest;
} best;

/* The longest segment and the bytes of one set of cuts, bit i for candidate i. */
static best measure(const aegis_cut_problem *p, unsigned set)
{
    best one = {.found = true};
    size_t from = 0;
    for (size_t i = 1; i <= POINTS + 1; i++) {
        if (i <= POINTS && (set >> (i - 1) & 1) == 0) {
            continue;
        }
        uint64_t length = segment_length(p, from, i);
        one.longest = length > one.longest ? length : one.longest;
        one.cuts += i <= POINTS;
        one.bytes += i <= POINTS ? p->candidates[i - 1].live_bytes : 0;
        from = i;
    }
    return one;
}

static best best_of_all(const aegis_cut_problem *p, uint64_t tolerance, size_t room)
{
    best found = {0};
    for (unsigned set = 0; set < 1u << POINTS; set++) {
        best one = measure(p, set);
        if (one.longest <= tolerance && one.cuts <= room &&
            (!found.found || one.cuts < found.cuts ||
             (one.cuts == found.cuts && one.bytes < found.bytes))) {
            found = one;
        }
    }
    return found;
}

static uint64_t least_longest(const aegis_cut_problem *p, size_t segments)
{
    uint64_t least = UINT64_MAX;
    for (unsigned set = 0; set < 1u << POINTS; set++) {
        best one = measure(p, set);
        least = one.cuts < segments && one.longest < least ? one.longest : least;
    }
    return least;
}

static unsigned set_of(const size_t *cuts, size_t count)
{
    unsigned set = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || cuts[i] > cuts[i - 1]);
        set |= 1u << cuts[i];
    }
    return set;
}

static void fewest_cuts_against_all_choices(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    uint64_t seed = 7;
    size_t accepted = 0;
    for (int i = 0; i < 600; i++) {
        aegis_cut_candidate candidates[POINTS];
        aegis_cut_problem p;
        aegis_cut_choice choice;
        size_t cuts[POINTS + 1], room = aegis_random_next(&seed) % (POINTS + 1);
        aegis_error err = {0};
        random_problem(&seed, candidates, &p);
        uint64_t tolerance = aegis_random_next(&seed) % (p.bound_ns + 40);
        best wanted = best_of_all(&p, tolerance, room);
        assert_int_equal(aegis_cuts_choose(&p, tolerance, room, &allocator, cuts, &choice, &err),
                         AEGIS_OK);
        best got = measure(&p, set_of(cuts, choice.count));
        assert_int_equal(choice.found, wanted.found);
        assert_int_equal(choice.longest_ns, got.longest);
        assert_int_equal(choice.live_bytes, got.bytes);
        assert_true(choice.count <= room);
        if (wanted.found) {
            assert_int_equal(choice.count, wanted.cuts);
            assert_int_equal(choice.live_bytes, wanted.bytes);
            accepted += choice.count > 0;
        } else {
            assert_int_equal(got.longest, least_longest(&p, room + 1));
        }
    }
    assert_true(accepted > 50);
}

static void even_choices_have_the_shortest_longest_segment(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    uint64_t seed = 11;
    for (int i = 0; i < 300; i++) {
        aegis_cut_candidate candidates[POINTS];
        aegis_cut_problem p;
        aegis_cut_choice choice;
        size_t cuts[POINTS + 1], segments = 1 + aegis_random_next(&seed) % (POINTS + 1);
        aegis_error err = {0};
        random_problem(&seed, candidates, &p);
        assert_int_equal(aegis_cuts_even(&p, segments, &allocator, cuts, &choice, &err), AEGIS_OK);
        assert_true(choice.count < segments);
        assert_int_equal(measure(&p, set_of(cuts, choice.count)).longest,
                         least_longest(&p, segments));
    }
}

static void wrong_problems_are_refused(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_cut_candidate candidates[] = {{.position = 3}, {.position = 3}};
    aegis_cut_problem p = {.candidates = candidates, .candidate_count = 2, .bound_ns = 5};
    aegis_cut_choice choice;
    size_t cuts[2];
    aegis_error err = {0};
    assert_int_equal(aegis_cuts_choose(&p, 1, 2, &allocator, cuts, &choice, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    p.elapsed_ns = 5;
    assert_int_equal(aegis_cuts_choose(&p, 1, 2, &allocator, cuts, &choice, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "candidate 1"));
    assert_int_equal(aegis_cuts_even(&p, 0, &allocator, cuts, &choice, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    p.candidate_count = 0; /* nowhere to cut: whole, whatever is tolerated */
    assert_int_equal(aegis_cuts_choose(&p, 1, 2, &allocator, cuts, &choice, &err), AEGIS_OK);
    assert_false(choice.found);
    assert_int_equal(choice.count, 0);
    assert_int_equal(choice.longest_ns, 5);
}

static void choices_need_memory(void **state)
{
    (void)state;
    const aegis_cut_candidate candidates[] = {{.position = 1, .elapsed_ns = 2}};
    const aegis_cut_problem p = {
        .candidates = candidates, .candidate_count = 1, .bound_ns = 5, .elapsed_ns = 5};
    test_allocator counting = {0};
    const aegis_allocator allocator = test_allocator_make(&counting);
    aegis_cut_choice choice = {.count = 77};
    size_t cuts[2];
    aegis_error err = {0};
    counting.fail_at = 1;
    assert_int_equal(aegis_cuts_choose(&p, 3, 1, &allocator, cuts, &choice, &err),
                     AEGIS_ERROR_NO_MEMORY);
    counting.fail_at = 2;
    assert_int_equal(aegis_cuts_even(&p, 2, &allocator, cuts, &choice, &err),
                     AEGIS_ERROR_NO_MEMORY);
    assert_non_null(strstr(err.message, "1 cuts"));
    assert_int_equal(choice.count, 77);
    assert_int_equal(aegis_cuts_even(&p, 2, &allocator, cuts, &choice, &err), AEGIS_OK);
    assert_int_equal(counting.blocks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edf_tolerance_is_the_least_slack_before_the_deadline),
        cmocka_unit_test(fixed_priority_tolerance_by_hand),
        cmocka_unit_test(a_set_that_misses_anyway_tolerates_nothing),
        cmocka_unit_test(fifo_and_single_tasks_tolerate_anything),
        cmocka_unit_test(refused_arguments_and_limits),
        cmocka_unit_test(tolerances_past_the_integers_are_none),
        cmocka_unit_test(tolerances_need_memory),
        cmocka_unit_test(fewest_cuts_against_all_choices),
        cmocka_unit_test(even_choices_have_the_shortest_longest_segment),
        cmocka_unit_test(wrong_problems_are_refused),
        cmocka_unit_test(choices_need_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
