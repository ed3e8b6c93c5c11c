/* SPDX-License-Identifier: Apache-2.0 */
/* Worst np-edf responses of nearly full and full sets of up to 24 tasks against a plain search:
 * every deadline of the longest busy period, for every task a fixed point from its beginning. What
 * the analysis passes over or settles by a bound, this one computes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "admission_tasks.h"

#include <cmocka.h>

#define MOST 24
#define LONGEST_BUSY 20000
#define MULTIPLE 5040
/* Units of utilisation; exact where the periods divide MULTIPLE. */
#define WHOLE (MULTIPLE * INT64_C(100000000))

typedef struct large_set {
    size_t count;
    aegis_task tasks[MOST];
    int64_t segments[MOST][MAX_SEGMENTS];
} large_set;

typedef enum deadlines {
    EQUAL,
    NEARLY_EQUAL,
    SHORTER,
    LONGER,
    MIXED,
    DEADLINES
} deadlines;

static int64_t at_least(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t floor_divided(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t first_deadline(const aegis_task *task)
{
    return task->deadline - task->jitter;
}

static int64_t last_segment(const aegis_task *task)
{
    return task->segments == NULL ? task->execution : task->segments[task->segment_count - 1];
}

static int64_t largest_segment(const aegis_task *task)
{
    int64_t largest = task->segments == NULL ? task->execution : 0;
    for (size_t k = 0; task->segments != NULL && k < task->segment_count; k++) {
        largest = task->segments[k] > largest ? task->segments[k] : largest;
    }
    return largest;
}

/* ---- the plain search ---- */

static int64_t jobs_due(const aegis_task *task, int64_t d)
{
    return d < first_deadline(task) ? 0 : floor_divided(d - first_deadline(task), task->period) + 1;
}

static int64_t blocking_at(const large_set *set, int64_t d)
{
    int64_t blocking = 0;
    for (size_t k = 0; k < set->count; k++) {
        int64_t segment = largest_segment(&set->tasks[k]) - 1;
        blocking = first_deadline(&set->tasks[k]) > d && segment > blocking ? segment : blocking;
    }
    return blocking;
}

/* Least s of the formula above edf_response.c, for the job of `i` due at d. */
static int64_t start_at(const large_set *set, size_t i, int64_t d)
{
    const aegis_task *task = &set->tasks[i];
    const int64_t base =
        blocking_at(set, d) + jobs_due(task, d) * task->execution - last_segment(task);
    int64_t due[MOST], s = 0, next = base;
    for (size_t j = 0; j < set->count; j++) {
        due[j] = jobs_due(&set->tasks[j], d);
    }
    do {
        s = next;
        next = base;
        for (size_t j = 0; j < set->count; j++) {
            const aegis_task *other = &set->tasks[j];
            int64_t ready = (s + other->jitter) / other->period + 1;
            next += j == i ? 0 : (ready < due[j] ? ready : due[j]) * other->execution;
        }
    } while (next > s);
    return s;
}

/* Of all tasks, behind the longest blocker if `blocked`; LONGEST_BUSY when that long or longer. */
static int64_t busy_length(const large_set *set, bool blocked)
{
    int64_t longest = 0, length = 0, next = 1;
    for (size_t i = 0; blocked && i < set->count; i++) {
        int64_t segment = largest_segment(&set->tasks[i]) - 1;
        longest = segment > longest ? segment : longest;
    }
    while (next > length && next < LONGEST_BUSY) {
        length = next;
        next = longest;
        for (size_t i = 0; i < set->count; i++) {
            const aegis_task *task = &set->tasks[i];
            next += ((length + task->jitter - 1) / task->period + 1) * task->execution;
        }
    }
    return next > length ? LONGEST_BUSY : length;
}

static void take_deadline(const large_set *set, int64_t d, int64_t *responses)
{
    for (size_t i = 0; i < set->count; i++) {
        const aegis_task *task = &set->tasks[i];
        if (jobs_due(task, d) > 0) {
            int64_t response = start_at(set, i, d) + last_segment(task) - (d - task->deadline);
            responses[i] = response > responses[i] ? response : responses[i];
        }
    }
}

/* A job is in its busy period if it is released before its end; behind max(D - J) nothing blocks.
 */
static void plain_search(const large_set *set, int64_t end, int64_t *responses)
{
    int64_t latest = 0;
    for (size_t i = 0; i < set->count; i++) {
        const aegis_task *task = &set->tasks[i];
        latest = task->deadline > latest ? task->deadline : latest;
        responses[i] = 0;
    }
    for (size_t k = 0; k < set->count; k++) {
        const aegis_task *task = &set->tasks[k];
        for (int64_t d = first_deadline(task); d < end + latest; d += task->period) {
            take_deadline(set, d, responses);
        }
    }
}

/* ---- sets ---- */

/* U in units of 1/WHOLE, rounded up. */
static int64_t load_of(const large_set *set)
{
    int64_t load = 0;
    for (size_t i = 0; i < set->count; i++) {
        const aegis_task *task = &set->tasks[i];
        load += (task->execution * WHOLE - 1) / task->period + 1;
    }
    return load;
}

static int64_t draw_deadline(uint64_t *seed, deadlines kind, int64_t execution, int64_t period)
{
    switch (kind) {
    case NEARLY_EQUAL:
        return at_least(execution, period - pick(seed, 0, period / 50));
    case SHORTER:
        return pick(seed, at_least(execution, period / 2), period);
    case LONGER:
        return pick(seed, period, 2 * period);
    case MIXED:
        return pick(seed, execution, 2 * period);
    case EQUAL:
    case DEADLINES:
        break;
    }
    return period;
}

/* Divisors of MULTIPLE, where the busy period of a full set ends. */
static int64_t draw_period(uint64_t *seed, bool full)
{
    static const int64_t divisors[] = {36,  40,  42,  48,   56,   60,   63,  70,  72,  80,
                                       84,  90,  105, 112,  120,  126,  140, 144, 168, 180,
                                       210, 240, 252, 280,  315,  336,  360, 420, 504, 560,
                                       630, 720, 840, 1008, 1260, 1680, 2520};
    return full ? divisors[pick(seed, 0, (int64_t)AEGIS_ARRAY_LENGTH(divisors) - 1)]
                : pick(seed, 40, pick(seed, 0, 1) == 0 ? 200 : 2000);
}

/* Raises one execution time after another while the load allows it. */
static void fill_up(uint64_t *seed, large_set *set, int64_t load)
{
    for (int tries = 0; tries < 100; tries++) {
        aegis_task *task = &set->tasks[pick(seed, 0, (int64_t)set->count - 1)];
        task->execution++;
        task->execution -= load_of(set) > load || task->execution > task->deadline;
    }
}

/* What is left of the processor becomes a task of the longest period. */
static void complete(large_set *set)
{
    int64_t left = (WHOLE - load_of(set)) / (WHOLE / MULTIPLE);
    if (left > 0) {
        set->tasks[set->count++] =
            (aegis_task){.period = MULTIPLE, .execution = left, .deadline = MULTIPLE};
    }
}

static void draw_large(uint64_t *seed, bool full, bool cut, large_set *set)
{
    deadlines kind = (deadlines)pick(seed, 0, DEADLINES - 1);
    int64_t jitter = full || pick(seed, 0, 1) == 0 ? 0 : 30;
    int64_t load = full ? WHOLE : WHOLE / 1000 * pick(seed, 800, 995);
    int64_t longest = pick(seed, 0, 1) == 0 ? 8 : 60;
    set->count = (size_t)pick(seed, 4, MOST - 1);
    for (size_t i = 0; i < set->count; i++) {
        int64_t period = draw_period(seed, full), fair = 2 * period / (int64_t)set->count;
        int64_t most = fair < longest ? fair : longest;
        set->tasks[i] = (aegis_task){
            .period = period, .execution = pick(seed, 1, most), .jitter = pick(seed, 0, jitter)};
        set->tasks[i].deadline = draw_deadline(seed, kind, set->tasks[i].execution, period);
    }
    for (size_t i = 0; load_of(set) > load; i = (i + 1) % set->count) {
        set->tasks[i].execution -= set->tasks[i].execution > 1;
    }
    fill_up(seed, set, load);
    if (full) {
        complete(set);
    }
    for (size_t i = 0; cut && i < set->count; i++) {
        cut_task(seed, &set->tasks[i], set->segments[i]);
    }
}

static void print_large(uint64_t seed, const large_set *set)
{
    fprintf(stderr, "seed 0x%llx, tasks (C,T,D,J;last):", (unsigned long long)seed);
    for (size_t i = 0; i < set->count; i++) {
        const aegis_task *task = &set->tasks[i];
        fprintf(stderr, " (%lld,%lld,%lld,%lld;%lld)", (long long)task->execution,
                (long long)task->period, (long long)task->deadline, (long long)task->jitter,
                (long long)last_segment(task));
    }
    fprintf(stderr, "\n");
}

/* ---- the comparison ---- */

/* From scratch, or of a set of which all but the last task were tested before. */
static aegis_admission_result analyse(const large_set *set, bool grown)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result;
    if (!grown) {
        assert_int_equal(aegis_admission_test(AEGIS_ANALYSIS_NP_EDF, set->tasks, set->count, NULL,
                                              &allocator, &result, NULL),
                         AEGIS_OK);
        return result;
    }
    aegis_admission_set *growing;
    assert_int_equal(aegis_admission_set_create(AEGIS_ANALYSIS_NP_EDF, &allocator, &growing, NULL),
                     AEGIS_OK);
    for (size_t i = 0; i < set->count; i++) {
        if (i == set->count - 1) {
            assert_int_equal(aegis_admission_set_test(growing, NULL, &result, NULL), AEGIS_OK);
            aegis_admission_result_finish(&result, &allocator);
        }
        assert_int_equal(aegis_admission_set_add(growing, &set->tasks[i], i, NULL), AEGIS_OK);
    }
    assert_int_equal(aegis_admission_set_test(growing, NULL, &result, NULL), AEGIS_OK);
    aegis_admission_set_destroy(growing);
    return result;
}

static void compare(uint64_t seed, const large_set *set, bool grown, const int64_t *responses)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result = analyse(set, grown);
    for (size_t i = 0; i < set->count; i++) {
        if (result.tasks[i].response != responses[i]) {
            print_large(seed, set);
            fail_msg("task %zu: %lld, by the plain search %lld", i,
                     (long long)result.tasks[i].response, (long long)responses[i]);
        }
    }
    aegis_admission_result_finish(&result, &allocator);
}

static void campaign(uint64_t seed, int sets, bool full, bool cut)
{
    int met = 0, missed = 0, long_ones = 0;
    const int count = scaled(sets);
    for (int n = 0; n < count;) {
        uint64_t start = seed;
        large_set set;
        int64_t responses[MOST];
        bool meets = true;
        draw_large(&seed, full, cut, &set);
        int64_t end = busy_length(&set, !full);
        if (end == LONGEST_BUSY) {
            long_ones++;
            continue;
        }
        plain_search(&set, end, responses);
        compare(start, &set, false, responses);
        compare(start, &set, true, responses);
        for (size_t i = 0; i < set.count; i++) {
            meets = meets && responses[i] <= set.tasks[i].deadline;
        }
        met += meets;
        missed += !meets;
        n++;
    }
    printf("%s%s: %d sets equal, %d meet, %d miss, %d too long to search\n",
           full ? "full" : "nearly full", cut ? ", cut" : "", count, met, missed, long_ones);
    assert_true(met > count / 20 && missed > count / 20);
}

static void nearly_full_sets_equal_the_plain_search(void **unused)
{
    (void)unused;
    campaign(1000, 200, false, false);
    campaign(1100, 200, false, true);
}

static void full_sets_equal_the_plain_search(void **unused)
{
    (void)unused;
    campaign(1200, 100, true, false);
    campaign(1300, 100, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearly_full_sets_equal_the_plain_search),
        cmocka_unit_test(full_sets_equal_the_plain_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
