/* SPDX-License-Identifier: Apache-2.0 */
/* Verdicts and responses against exhaustive simulation at the critical instants: 200,000 random
 * sets, each simulated over its whole busy period or hyperperiod, for every task as the victim,
 * every lower or later task as the blocker and, where the deadline of the victim matters, every
 * offset of its release. Periods are small integers with small common multiples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "admission_lane.h"

#include <cmocka.h>

#define LONGEST_BUSY 120

typedef struct tally {
    int sets, accepted, refused, equal, below, witnesses, skipped;
} tally;

static int all_sets;

static void require(bool holds, const char *what, uint64_t seed, const small_set *set)
{
    if (!holds) {
        print_set(what, seed, set);
        fail_msg("%s", what);
    }
}

static aegis_admission_result
analyse(aegis_analysis policy, uint64_t seed, const small_set *set, tally *count)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result;
    aegis_error err = {0};
    aegis_status status = aegis_admission_test(policy, set->tasks, (size_t)set->count, NULL,
                                               &allocator, &result, &err);
    require(status == AEGIS_OK, err.message, seed, set);
    bool ok = result.verdict == AEGIS_SCHEDULABLE;
    require(ok || result.verdict == AEGIS_NOT_SCHEDULABLE, "an open verdict", seed, set);
    const aegis_simple_bounds *bounds = &result.bounds;
    require(ok || !(bounds->liu_layland || bounds->hyperbolic || bounds->density),
            "a sufficient bound accepts a refused set", seed, set);
    count->sets++;
    count->accepted += ok;
    count->refused += !ok;
    all_sets++;
    return result;
}

static void finish(aegis_admission_result *result)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result_finish(result, &allocator);
}

/* Sets whose periods have a common multiple of at most 120. */
static void draw_harmonious(uint64_t *seed, int jitter, bool cut, bool full, small_set *set)
{
    static const int64_t periods[] = {2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 24, 30};
    small_shape shape = {.min_tasks = 2,
                         .max_tasks = 4,
                         .min_period = 2,
                         .max_period = 30,
                         .max_execution = 8,
                         .max_jitter = jitter,
                         .extra = pick(seed, 0, 3) == 0 ? -1 : 8,
                         .cut = cut};
    do {
        draw_set(seed, &shape, full, set);
        for (int i = 0; i < set->count; i++) {
            aegis_task *task = &set->tasks[i];
            int64_t nearest = periods[0];
            for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(periods); k++) {
                nearest = periods[k] <= task->period ? periods[k] : nearest;
            }
            task->deadline =
                larger(1, shape.extra < 0 ? nearest : task->deadline + nearest - task->period);
            task->period = nearest;
        }
    } while (!fits_processor(set, full));
}

/* Length of the longest busy period, behind the longest blocker; at most LONGEST_BUSY. */
static int64_t busy_length(const small_set *set)
{
    int64_t length = 0, next = 1, blocker = 0;
    for (int i = 0; i < set->count; i++) {
        blocker = larger(blocker, set->tasks[i].execution);
    }
    while (next > length && length < LONGEST_BUSY) {
        length = next;
        next = blocker;
        for (int i = 0; i < set->count; i++) {
            const aegis_task *t = &set->tasks[i];
            next += (length + t->jitter + t->period - 1) / t->period * t->execution;
        }
    }
    return length < LONGEST_BUSY ? length : LONGEST_BUSY;
}

static lane_pattern pattern_of(const small_set *set, aegis_analysis policy, int victim, int blocker)
{
    lane_pattern p = {
        .set = set, .policy = policy, .victim = victim, .blocker = blocker, .watched = NEVER};
    for (int i = 0; i < MAX_TASKS; i++) {
        p.first[i] = NEVER;
        p.latest[i] = NEVER - 1000;
    }
    if (blocker >= 0) {
        p.first[blocker] = 0;
        p.latest[blocker] = 0;
        p.start = lane_before_largest(&p, blocker) + 1;
    }
    return p;
}

/* ---- fixed priorities ---- */

/* Everything of the level and above at once, behind each lower task in turn and behind none. */
static int64_t worst_at_level(const small_set *set, aegis_analysis policy, int level)
{
    int64_t worst = 0;
    for (int blocker = level; blocker < set->count; blocker++) {
        lane_pattern p = pattern_of(set, policy, level, blocker == level ? -1 : blocker);
        if (policy == AEGIS_ANALYSIS_FP && p.blocker >= 0) {
            continue;
        }
        for (int i = 0; i <= level; i++) {
            p.first[i] = p.start - set->tasks[i].jitter;
        }
        worst = larger(worst, lane_run(&p, 10 * LONGEST_BUSY).worst[level]);
    }
    return worst;
}

static void compare_level(aegis_analysis policy, uint64_t seed, const small_set *set, tally *count)
{
    aegis_admission_result result = analyse(policy, seed, set, count);
    bool full = !fits_processor(set, false), meets = true;
    for (int i = 0; i < set->count; i++) {
        int64_t bound = result.tasks[i].response, worst = worst_at_level(set, policy, i);
        bool diverges = full && i == set->count - 1 && bound == AEGIS_RESPONSE_DIVERGES;
        require(diverges || bound == worst, "the simulation gives another response", seed, set);
        require(diverges || result.tasks[i].meets == (worst <= set->tasks[i].deadline),
                "meets is wrong", seed, set);
        meets = meets && !diverges && worst <= set->tasks[i].deadline;
        count->equal += !diverges;
    }
    require(meets == (result.verdict == AEGIS_SCHEDULABLE), "another verdict", seed, set);
    finish(&result);
}

static void report(aegis_analysis policy, const char *kind, const tally *count)
{
    printf("%s%s: %d sets, %d accepted, %d refused, %d responses equal, %d safe, %d witnesses "
           "miss, %d sets too long\n",
           aegis_analysis_name(policy), kind, count->sets, count->accepted, count->refused,
           count->equal, count->below, count->witnesses, count->skipped);
    assert_true(count->accepted > count->sets / 20 && count->refused > count->sets / 20);
}

static void fixed_campaign(aegis_analysis policy, uint64_t seed, int sets)
{
    tally count = {0};
    for (int n = scaled(sets); n > 0; n--) {
        uint64_t start = seed;
        small_set set;
        draw_harmonious(&seed, n % 2 == 0 ? 0 : 4, policy == AEGIS_ANALYSIS_FPP, n % 16 == 0, &set);
        compare_level(policy, start, &set, &count);
    }
    report(policy, "", &count);
    assert_true(count.equal >= scaled(10000));
}

static void np_fp_equals_simulation(void **unused)
{
    (void)unused;
    fixed_campaign(AEGIS_ANALYSIS_NP_FP, 100, 35000);
}

static void fpp_equals_simulation(void **unused)
{
    (void)unused;
    fixed_campaign(AEGIS_ANALYSIS_FPP, 200, 35000);
}

static void fp_equals_simulation(void **unused)
{
    (void)unused;
    fixed_campaign(AEGIS_ANALYSIS_FP, 300, 30000);
}

/* ---- earliest deadline first ---- */

/* The victim nominally released `a` after the start, all others at once, behind a blocker. */
static int64_t response_at(const small_set *set, int victim, int64_t a, int blocker)
{
    lane_pattern p = pattern_of(set, AEGIS_ANALYSIS_NP_EDF, victim, blocker);
    const aegis_task *task = &set->tasks[victim];
    for (int j = 0; j < set->count; j++) {
        if (j != victim && j != blocker) {
            p.first[j] = p.start - set->tasks[j].jitter;
        }
    }
    p.watched = p.start + a;
    p.first[victim] = p.watched - (a + task->jitter) / task->period * task->period;
    p.latest[victim] = p.watched;
    return lane_run(&p, 10 * LONGEST_BUSY).worst[victim];
}

static int64_t worst_edf(const small_set *set, int victim, int64_t busy)
{
    const aegis_task *task = &set->tasks[victim];
    int64_t worst = 0;
    for (int64_t a = -task->jitter; a < busy; a++) {
        worst = larger(worst, response_at(set, victim, a, -1));
        for (int k = 0; k < set->count; k++) {
            if (k != victim && set->tasks[k].deadline > a + task->deadline) {
                worst = larger(worst, response_at(set, victim, a, k));
            }
        }
    }
    return worst;
}

/* The witness run as it stands: the releases are legal and one of the jobs is late. Cut blockers
 * stand for their longest segment. */
static bool
witness_misses(aegis_analysis policy, const small_set *set, const aegis_admission_result *result)
{
    small_set shown = *set;
    lane_pattern p = pattern_of(&shown, policy, -1, -1);
    int64_t previous[MAX_TASKS];
    for (size_t k = 0; k < result->witness_count; k++) {
        const aegis_witness_job *job = &result->witness[k];
        const aegis_task *task = &set->tasks[job->task];
        int64_t nominal = job->deadline - task->deadline;
        bool first = p.first[job->task] == NEVER;
        if (job->release > nominal + task->jitter || job->release < nominal || job->release < 0 ||
            (!first && nominal != previous[job->task] + task->period)) {
            return false;
        }
        if (job->blocks) {
            aegis_task *cut = &shown.tasks[job->task];
            cut->execution = job->execution;
            cut->segments = NULL;
            p.blocker = (int)job->task;
            p.start = 1;
        }
        p.first[job->task] = first ? nominal : p.first[job->task];
        p.latest[job->task] = previous[job->task] = nominal;
    }
    lane_result run = lane_run(&p, NEVER - 1);
    return run.missed;
}

static void check_refusal(aegis_analysis policy,
                          uint64_t seed,
                          const small_set *set,
                          const aegis_admission_result *result,
                          tally *count)
{
    if (result->verdict == AEGIS_NOT_SCHEDULABLE) {
        require(result->has_violation && result->witness_total == result->witness_count,
                "a refusal without its witness", seed, set);
        require(witness_misses(policy, set, result), "the witness misses nothing", seed, set);
        count->witnesses++;
    }
}

static void np_edf_campaign(uint64_t seed, int sets, bool cut)
{
    tally count = {0};
    for (int n = scaled(sets); n > 0;) {
        uint64_t start = seed;
        small_set set;
        draw_harmonious(&seed, n % 2 == 0 ? 0 : 4, cut, false, &set);
        int64_t busy = busy_length(&set);
        if (busy == LONGEST_BUSY) { /* slow to simulate */
            count.skipped++;
            continue;
        }
        n--;
        aegis_admission_result result = analyse(AEGIS_ANALYSIS_NP_EDF, start, &set, &count);
        bool meets = true;
        for (int i = 0; i < set.count; i++) {
            int64_t bound = result.tasks[i].response, worst = worst_edf(&set, i, busy);
            require(bound >= worst && (cut || bound == worst),
                    "the simulation gives another response", start, &set);
            meets = meets && worst <= set.tasks[i].deadline;
            count.equal += bound == worst;
            count.below += bound > worst;
        }
        require(meets || result.verdict == AEGIS_NOT_SCHEDULABLE, "an unsound acceptance", start,
                &set);
        require(cut || !meets || result.verdict == AEGIS_SCHEDULABLE, "a needless refusal", start,
                &set);
        check_refusal(AEGIS_ANALYSIS_NP_EDF, start, &set, &result, &count);
        finish(&result);
    }
    report(AEGIS_ANALYSIS_NP_EDF, cut ? ", cut" : "", &count);
    assert_true(count.equal >= scaled(10000));
    assert_int_equal(count.witnesses, count.refused);
}

static void np_edf_equals_simulation(void **unused)
{
    (void)unused;
    np_edf_campaign(400, 30000, false);
}

static void cut_np_edf_is_never_below_simulation(void **unused)
{
    (void)unused;
    np_edf_campaign(500, 20000, true);
}

/* All at once over two hyperperiods and the longest deadline. */
static void edf_equals_simulation(void **unused)
{
    (void)unused;
    tally count = {0};
    uint64_t seed = 600;
    for (int n = scaled(35000); n > 0; n--) {
        uint64_t start = seed;
        small_set set;
        draw_harmonious(&seed, n % 2 == 0 ? 0 : 4, false, n % 4 != 0, &set);
        aegis_admission_result result = analyse(AEGIS_ANALYSIS_EDF, start, &set, &count);
        lane_pattern p = pattern_of(&set, AEGIS_ANALYSIS_EDF, -1, -1);
        for (int i = 0; i < set.count; i++) {
            p.first[i] = -set.tasks[i].jitter;
        }
        bool missed = lane_run(&p, 300).missed;
        require(missed == (result.verdict == AEGIS_NOT_SCHEDULABLE), "another verdict", start,
                &set);
        check_refusal(AEGIS_ANALYSIS_EDF, start, &set, &result, &count);
        finish(&result);
    }
    report(AEGIS_ANALYSIS_EDF, "", &count);
    assert_int_equal(count.witnesses, count.refused);
}

/* ---- first in, first out ---- */

/* The victim ready at `a`, behind all that came before or with it. */
static int64_t worst_fifo(const small_set *set, int victim, int64_t busy)
{
    int64_t worst = 0;
    for (int64_t a = 0; a < busy; a++) {
        const aegis_task *task = &set->tasks[victim];
        lane_pattern p = pattern_of(set, AEGIS_ANALYSIS_FIFO, victim, -1);
        for (int i = 0; i < set->count; i++) {
            p.first[i] = -set->tasks[i].jitter;
        }
        p.watched = a;
        p.first[victim] = a - (a + task->jitter) / task->period * task->period;
        p.latest[victim] = a;
        worst = larger(worst, lane_run(&p, 10 * LONGEST_BUSY).worst[victim]);
    }
    return worst;
}

static void fifo_is_never_below_simulation(void **unused)
{
    (void)unused;
    tally count = {0};
    uint64_t seed = 700;
    for (int n = scaled(15000); n > 0;) {
        uint64_t start = seed;
        small_set set;
        draw_harmonious(&seed, n % 2 == 0 ? 0 : 4, false, false, &set);
        int64_t busy = busy_length(&set);
        if (busy == LONGEST_BUSY) {
            count.skipped++;
            continue;
        }
        aegis_admission_result result = analyse(AEGIS_ANALYSIS_FIFO, start, &set, &count);
        for (int i = 0; i < set.count; i++) {
            int64_t bound = result.tasks[i].response, worst = worst_fifo(&set, i, busy);
            require(bound >= worst && (n % 2 != 0 || bound == worst),
                    "the simulation gives another response", start, &set);
            require(worst <= set.tasks[i].deadline || result.verdict == AEGIS_NOT_SCHEDULABLE,
                    "an unsound acceptance", start, &set);
            count.equal += bound == worst;
            count.below += bound > worst;
        }
        finish(&result);
        n--;
    }
    report(AEGIS_ANALYSIS_FIFO, "", &count);
}

static void two_hundred_thousand_sets_were_held_against_simulation(void **unused)
{
    (void)unused;
    printf("%d random sets in all\n", all_sets);
    assert_true(all_sets >= scaled(200000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(np_fp_equals_simulation),
        cmocka_unit_test(fpp_equals_simulation),
        cmocka_unit_test(fp_equals_simulation),
        cmocka_unit_test(np_edf_equals_simulation),
        cmocka_unit_test(cut_np_edf_is_never_below_simulation),
        cmocka_unit_test(edf_equals_simulation),
        cmocka_unit_test(fifo_is_never_below_simulation),
        cmocka_unit_test(two_hundred_thousand_sets_were_held_against_simulation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
