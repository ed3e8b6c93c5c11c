/* SPDX-License-Identifier: Apache-2.0 */
/* A set that grows and shrinks gives the numbers of a test from scratch, all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "admission_tasks.h"

#include <cmocka.h>

#define MOST 10

typedef struct mirror {
    aegis_analysis policy;
    aegis_admission_set *set;
    aegis_admission_set *derived; /* from the set before the last task was added; may be NULL */
    size_t count;
    aegis_task tasks[MOST]; /* what the set should hold */
    int64_t *segments[MOST];
} mirror;

static void require(bool holds, const char *what, const mirror *m, uint64_t seed)
{
    if (!holds) {
        fprintf(stderr, "%s: %s, seed 0x%llx, tasks (C,T,D,J):", what,
                aegis_analysis_name(m->policy), (unsigned long long)seed);
        for (size_t i = 0; i < m->count; i++) {
            const aegis_task *t = &m->tasks[i];
            fprintf(stderr, " (%lld,%lld,%lld,%lld)", (long long)t->execution, (long long)t->period,
                    (long long)t->deadline, (long long)t->jitter);
        }
        fprintf(stderr, "\n");
        fail_msg("%s", what);
    }
}

static bool same_tasks(const aegis_admission_result *a, const aegis_admission_result *b)
{
    for (size_t i = 0; i < a->task_count; i++) {
        const aegis_task_result *x = &a->tasks[i], *y = &b->tasks[i];
        if (x->response != y->response || x->blocking != y->blocking || x->meets != y->meets) {
            return false;
        }
    }
    return a->task_count == b->task_count;
}

static bool same_witness(const aegis_admission_result *a, const aegis_admission_result *b)
{
    if (a->has_violation != b->has_violation || a->witness_count != b->witness_count ||
        a->witness_total != b->witness_total || a->violation_at != b->violation_at ||
        a->violation_demand != b->violation_demand) {
        return false;
    }
    for (size_t k = 0; k < a->witness_count; k++) {
        const aegis_witness_job *x = &a->witness[k], *y = &b->witness[k];
        if (x->task != y->task || x->release != y->release || x->deadline != y->deadline ||
            x->execution != y->execution || x->blocks != y->blocks) {
            return false;
        }
    }
    return true;
}

static aegis_admission_verdict compare(const mirror *m, uint64_t seed)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result grown, fresh;
    assert_int_equal(aegis_admission_set_count(m->set), m->count);
    assert_int_equal(aegis_admission_set_test(m->set, NULL, &grown, NULL), AEGIS_OK);
    assert_int_equal(
        aegis_admission_test(m->policy, m->tasks, m->count, NULL, &allocator, &fresh, NULL),
        AEGIS_OK);
    require(grown.verdict == fresh.verdict, "another verdict", m, seed);
    require(grown.utilisation_ppm == fresh.utilisation_ppm &&
                memcmp(&grown.utilisation, &fresh.utilisation, sizeof grown.utilisation) == 0,
            "another utilisation", m, seed);
    require(grown.bounds.liu_layland == fresh.bounds.liu_layland &&
                grown.bounds.hyperbolic == fresh.bounds.hyperbolic &&
                grown.bounds.density == fresh.bounds.density,
            "other bounds", m, seed);
    require(grown.first_miss == fresh.first_miss, "another first miss", m, seed);
    require(same_tasks(&grown, &fresh), "other responses", m, seed);
    require(same_witness(&grown, &fresh), "another witness", m, seed);
    aegis_admission_verdict verdict = grown.verdict, alone = AEGIS_ADMISSION_UNDECIDED;
    aegis_admission_result_finish(&grown, &allocator);
    if (m->derived != NULL) {
        assert_int_equal(aegis_admission_set_test(m->derived, NULL, &grown, NULL), AEGIS_OK);
        require(same_tasks(&grown, &fresh) && grown.verdict == fresh.verdict, "derived otherwise",
                m, seed);
        aegis_admission_result_finish(&grown, &allocator);
    }
    assert_int_equal(
        aegis_admission_decide(m->policy, m->tasks, m->count, NULL, &allocator, &alone, NULL),
        AEGIS_OK);
    require(alone == verdict || verdict == AEGIS_ADMISSION_UNDECIDED, "another verdict alone", m,
            seed);
    aegis_admission_result_finish(&fresh, &allocator);
    return verdict;
}

static void add(mirror *m, uint64_t *seed)
{
    size_t at = (size_t)pick(seed, 0, (int64_t)m->count);
    int64_t period = pick(seed, 20, 400), most = period / (int64_t)(m->count + 2) + 1;
    aegis_task task = {.period = period, .execution = pick(seed, 1, most)};
    task.deadline =
        pick(seed, 0, 2) == 0 ? period : pick(seed, task.execution, period + period / 2);
    task.jitter = pick(seed, 0, 3) == 0 ? pick(seed, 0, 40) : 0;
    int64_t *segments = NULL;
    if (pick(seed, 0, 1) == 0) {
        segments = malloc(MAX_SEGMENTS * sizeof *segments);
        assert_non_null(segments);
        cut_task(seed, &task, segments);
    }
    aegis_allocator allocator = aegis_allocator_default();
    memmove(&m->tasks[at + 1], &m->tasks[at], (m->count - at) * sizeof *m->tasks);
    memmove(&m->segments[at + 1], &m->segments[at], (m->count - at) * sizeof *m->segments);
    m->tasks[at] = task;
    m->segments[at] = segments;
    m->count++;
    aegis_admission_set_destroy(m->derived);
    assert_int_equal(aegis_admission_set_derive(m->policy, m->set, m->tasks, m->count, &allocator,
                                                &m->derived, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_admission_set_add(m->set, &task, at, NULL), AEGIS_OK);
}

static void take_out(mirror *m, size_t at)
{
    assert_int_equal(aegis_admission_set_remove(m->set, at, NULL), AEGIS_OK);
    aegis_admission_set_destroy(m->derived);
    m->derived = NULL;
    free(m->segments[at]);
    m->count--;
    memmove(&m->tasks[at], &m->tasks[at + 1], (m->count - at) * sizeof *m->tasks);
    memmove(&m->segments[at], &m->segments[at + 1], (m->count - at) * sizeof *m->segments);
}

static void a_changing_set_equals_a_fresh_one(void **unused)
{
    (void)unused;
    uint64_t seed = 8000;
    int accepted = 0, refused = 0;
    aegis_allocator allocator = aegis_allocator_default();
    for (int n = scaled(600); n > 0; n--) {
        mirror m = {.policy = (aegis_analysis)(n % 6)};
        uint64_t start = seed;
        assert_int_equal(aegis_admission_set_create(m.policy, &allocator, &m.set, NULL), AEGIS_OK);
        for (int step = 0; step < 30; step++) {
            if (m.count > 0 && (m.count == MOST - 1 || pick(&seed, 0, 3) == 0)) {
                take_out(&m, (size_t)pick(&seed, 0, (int64_t)m.count - 1));
            } else {
                add(&m, &seed);
            }
            if (pick(&seed, 0, 4) == 0) {
                continue; /* two changes at once */
            }
            bool ok = compare(&m, start) == AEGIS_SCHEDULABLE;
            accepted += ok;
            refused += !ok;
            if (!ok && pick(&seed, 0, 1) == 0) {
                take_out(&m, (size_t)pick(&seed, 0, (int64_t)m.count - 1));
            }
        }
        while (m.count > 0) {
            take_out(&m, m.count - 1);
        }
        aegis_admission_set_destroy(m.set);
    }
    printf("%d tests of changed sets equal, %d accepted, %d refused\n", accepted + refused,
           accepted, refused);
    assert_true(accepted > refused / 10 && refused > accepted / 10);
}

/* Steps are counted, so that "costs what it must" has a number: fewer than from scratch. */
static uint64_t steps_needed(const mirror *m, bool fresh)
{
    aegis_allocator allocator = aegis_allocator_default();
    uint64_t low = 0, high = 1;
    for (;;) {
        uint64_t steps = high - low > 1 ? low + (high - low) / 2 : high;
        aegis_admission_limits limits = {.steps = steps};
        aegis_admission_result result;
        aegis_admission_set *set = NULL;
        aegis_status status;
        if (fresh) {
            status = aegis_admission_test(m->policy, m->tasks, m->count, &limits, &allocator,
                                          &result, NULL);
        } else { /* all but the last tested, then the last added */
            assert_int_equal(aegis_admission_set_create(m->policy, &allocator, &set, NULL),
                             AEGIS_OK);
            for (size_t i = 0; i < m->count; i++) {
                if (i == m->count - 1) {
                    aegis_admission_result before;
                    assert_int_equal(aegis_admission_set_test(set, NULL, &before, NULL), AEGIS_OK);
                    aegis_admission_result_finish(&before, &allocator);
                }
                assert_int_equal(aegis_admission_set_add(set, &m->tasks[i], i, NULL), AEGIS_OK);
            }
            status = aegis_admission_set_test(set, &limits, &result, NULL);
        }
        assert_int_equal(status, AEGIS_OK);
        bool settled = true;
        for (size_t i = 0; i < m->count; i++) {
            settled = settled && result.tasks[i].response != AEGIS_RESPONSE_UNSETTLED;
        }
        aegis_admission_result_finish(&result, &allocator);
        aegis_admission_set_destroy(set);
        if (settled) {
            high = steps;
        } else {
            low = steps;
            high = steps == high ? 2 * high : high;
        }
        if (settled && high - low <= 1) {
            return high;
        }
        assert_true(high < 1000000);
    }
}

static void adding_takes_fewer_steps_than_starting_over(void **unused)
{
    (void)unused;
    static const aegis_analysis policies[] = {AEGIS_ANALYSIS_NP_FP, AEGIS_ANALYSIS_FP,
                                              AEGIS_ANALYSIS_FPP, AEGIS_ANALYSIS_NP_EDF};
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(policies); k++) {
        mirror m = {.policy = policies[k], .count = MOST};
        for (size_t i = 0; i < MOST; i++) {
            int64_t period = 1000 + 731 * (int64_t)i;
            m.tasks[i] = (aegis_task){
                .execution = period / 11, .period = period, .deadline = period, .jitter = 3};
        }
        uint64_t fresh = steps_needed(&m, true), added = steps_needed(&m, false);
        printf("%s: %llu steps for the last of %d tasks, %llu for all\n",
               aegis_analysis_name(m.policy), (unsigned long long)added, MOST,
               (unsigned long long)fresh);
        assert_true(added < fresh);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_changing_set_equals_a_fresh_one),
        cmocka_unit_test(adding_takes_fewer_steps_than_starting_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
