/* SPDX-License-Identifier: Apache-2.0 */
/* The bounds against an exhaustive oracle: every behaviour of a small set is explored, that is
 * every legal release at every tick, every jitter, every order of ties. The largest age at which a
 * job completes in any reachable state is the worst response, with nothing of the theory in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "admission_tasks.h"

#include <cmocka.h>

#define MOST 4
#define QUEUE 4
#define STATES (1 << 18)
#define OLDEST 100
#define IDLE 255

typedef struct state {
    struct {
        uint8_t phase; /* since the last nominal release, up to T */
        uint8_t count, ready, done;
        uint8_t ages[QUEUE];
    } task[MOST];
    uint8_t run, left, age, segment; /* the job that executes is not in its queue */
} state;

typedef struct oracle {
    const small_set *set;
    aegis_analysis policy;
    state *states;
    uint32_t *table;
    uint32_t found, next;
    bool too_large;
    int64_t worst[MOST];
} oracle;

static size_t segments_of(const oracle *o, size_t i)
{
    const aegis_task *task = &o->set->tasks[i];
    return o->policy == AEGIS_ANALYSIS_FP ? (size_t)task->execution
           : task->segments != NULL       ? task->segment_count
                                          : 1;
}

static int64_t segment_length(const oracle *o, size_t i, size_t k)
{
    const aegis_task *task = &o->set->tasks[i];
    return o->policy == AEGIS_ANALYSIS_FP ? 1
           : task->segments != NULL       ? task->segments[k]
                                          : task->execution;
}

static void push(oracle *o, const state *s)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    const uint8_t *bytes = (const uint8_t *)s;
    for (size_t i = 0; i < sizeof *s; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    }
    uint32_t at = (uint32_t)(hash ^ (hash >> 29)) & (2 * STATES - 1);
    while (o->table[at] != 0) {
        if (memcmp(&o->states[o->table[at] - 1], s, sizeof *s) == 0) {
            return;
        }
        at = (at + 1) & (2 * STATES - 1);
    }
    if (o->found == STATES) {
        o->too_large = true;
        return;
    }
    o->states[o->found++] = *s;
    o->table[at] = o->found;
}

/* The segment that executes has ended. */
static void end_segment(oracle *o, state *s)
{
    uint8_t i = s->run;
    if ((size_t)s->segment + 1 == segments_of(o, i)) {
        if (s->age > o->worst[i]) {
            o->worst[i] = s->age;
        }
    } else if (s->task[i].count == QUEUE) {
        o->too_large = true;
    } else {
        memmove(s->task[i].ages + 1, s->task[i].ages, s->task[i].count);
        s->task[i].ages[0] = s->age;
        s->task[i].count++;
        s->task[i].ready++;
        s->task[i].done = (uint8_t)(s->segment + 1);
    }
    s->run = IDLE;
    s->age = s->segment = 0;
}

static void advance(oracle *o, const state *from)
{
    state s = *from;
    for (int i = 0; i < o->set->count; i++) {
        if (s.task[i].phase < o->set->tasks[i].period) {
            s.task[i].phase++;
        }
        for (int k = 0; k < s.task[i].count; k++) {
            o->too_large = o->too_large || ++s.task[i].ages[k] > OLDEST;
        }
    }
    if (s.run != IDLE) {
        s.age++;
        if (--s.left == 0) {
            end_segment(o, &s);
        }
    }
    push(o, &s);
}

/* Smaller goes first; equal: every order is explored. */
static int64_t key_of(const oracle *o, const state *s, int i)
{
    int64_t age = s->task[i].ages[0];
    switch (o->policy) {
    case AEGIS_ANALYSIS_NP_EDF:
    case AEGIS_ANALYSIS_EDF:
        return o->set->tasks[i].deadline - age;
    case AEGIS_ANALYSIS_FIFO:
        return -age;
    case AEGIS_ANALYSIS_NP_FP:
    case AEGIS_ANALYSIS_FP:
    case AEGIS_ANALYSIS_FPP:
        break;
    }
    return i;
}

static void dispatch(oracle *o, const state *from)
{
    int64_t best = INT64_MAX;
    for (int i = 0; i < o->set->count; i++) {
        if (from->task[i].ready > 0 && key_of(o, from, i) < best) {
            best = key_of(o, from, i);
        }
    }
    if (from->run != IDLE || best == INT64_MAX) {
        advance(o, from);
        return;
    }
    for (int i = 0; i < o->set->count; i++) {
        if (from->task[i].ready == 0 || key_of(o, from, i) != best) {
            continue;
        }
        state s = *from;
        s.run = (uint8_t)i;
        s.age = s.task[i].ages[0];
        s.segment = s.task[i].done;
        s.left = (uint8_t)segment_length(o, (size_t)i, s.segment);
        s.task[i].count--;
        s.task[i].ready--;
        s.task[i].done = 0;
        memmove(s.task[i].ages, s.task[i].ages + 1, s.task[i].count);
        s.task[i].ages[s.task[i].count] = 0;
        advance(o, &s);
    }
}

/* Task i and those behind it: release or not, and how many become ready. */
static void choose(oracle *o, const state *from, int i)
{
    if (i >= o->set->count || i >= MOST) {
        dispatch(o, from);
        return;
    }
    const aegis_task *task = &o->set->tasks[i];
    for (int release = 0; release <= (from->task[i].phase == task->period); release++) {
        state s = *from;
        if (release == 1) {
            if (s.task[i].count == QUEUE) {
                o->too_large = true;
                return;
            }
            s.task[i].ages[s.task[i].count++] = 0;
            s.task[i].phase = 0;
        }
        for (; s.task[i].ready <= s.task[i].count; s.task[i].ready++) {
            bool waits = s.task[i].ready < s.task[i].count &&
                         s.task[i].ages[s.task[i].ready] >= task->jitter;
            if (!waits) { /* nobody is later than J */
                choose(o, &s, i + 1);
            }
        }
    }
}

static bool explore(oracle *o, const small_set *set, aegis_analysis policy)
{
    o->set = set;
    o->policy = policy;
    o->found = o->next = 0;
    o->too_large = false;
    memset(o->worst, 0, sizeof o->worst);
    memset(o->table, 0, 2 * STATES * sizeof *o->table);
    state first;
    memset(&first, 0, sizeof first);
    first.run = IDLE;
    for (int i = 0; i < set->count; i++) {
        first.task[i].phase = (uint8_t)set->tasks[i].period;
    }
    push(o, &first);
    while (o->next < o->found && !o->too_large) {
        state s = o->states[o->next++];
        choose(o, &s, 0);
    }
    return !o->too_large;
}

static void compare(const oracle *o, uint64_t seed, bool exact, int *cases, int *unequal)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result;
    aegis_error err = {0};
    aegis_status status = aegis_admission_test(o->policy, o->set->tasks, (size_t)o->set->count,
                                               NULL, &allocator, &result, &err);
    assert_int_equal(status, AEGIS_OK);
    bool meets = true;
    for (int i = 0; i < o->set->count; i++) {
        int64_t bound = result.tasks[i].response;
        bool wrong = bound < o->worst[i] || (exact && bound != o->worst[i]);
        if (wrong) {
            print_set(aegis_analysis_name(o->policy), seed, o->set);
            fprintf(stderr, "task %d: bound %lld, oracle %lld\n", i, (long long)bound,
                    (long long)o->worst[i]);
        }
        assert_false(wrong);
        (*cases)++;
        *unequal += bound != o->worst[i];
        meets = meets && o->worst[i] <= o->set->tasks[i].deadline;
    }
    /* An exact bound gives an exact verdict; any other errs to the safe side only. */
    if (exact) {
        assert_int_equal(result.verdict, meets ? AEGIS_SCHEDULABLE : AEGIS_NOT_SCHEDULABLE);
    } else if (!meets) {
        assert_int_equal(result.verdict, AEGIS_NOT_SCHEDULABLE);
    }
    aegis_admission_result_finish(&result, &allocator);
}

typedef struct campaign {
    aegis_analysis policy;
    small_shape shape;
    int sets;
    bool exact;
} campaign;

static void run_campaign(const campaign *c, uint64_t seed)
{
    static const char *const exactness[] = {"bounded", "equal"};
    oracle o = {.states = malloc(STATES * sizeof *o.states),
                .table = malloc(2 * STATES * sizeof *o.table)};
    assert_non_null(o.states);
    assert_non_null(o.table);
    int sets = scaled(c->sets), explored = 0, cases = 0, unequal = 0;
    uint64_t states = 0;
    for (int k = 0; k < sets; k++) {
        uint64_t start = seed;
        small_set set;
        memset(&set, 0, sizeof set);
        draw_set(&seed, &c->shape, false, &set);
        if (explore(&o, &set, c->policy)) {
            explored++;
            states += o.found;
            compare(&o, start, c->exact, &cases, &unequal);
        }
    }
    printf("%s, J to %d%s: %d of %d sets explored (%llu states), %d task cases %s, %d above\n",
           aegis_analysis_name(c->policy), c->shape.max_jitter, c->shape.cut ? ", cut" : "",
           explored, sets, (unsigned long long)states, cases, exactness[c->exact], unequal);
    assert_true(explored * 2 > sets);
    free(o.states);
    free(o.table);
}

#define SMALL(jitter, same, segments) \
    {.min_tasks = 2,                  \
     .max_tasks = 4,                  \
     .min_period = 2,                 \
     .max_period = 10,                \
     .max_execution = 5,              \
     .max_jitter = (jitter),          \
     .extra = 5,                      \
     .same_jitter = (same),           \
     .cut = (segments)}

static void np_fp_equals_the_oracle(void **unused)
{
    (void)unused;
    run_campaign(&(campaign){AEGIS_ANALYSIS_NP_FP, SMALL(0, false, false), 600, true}, 11);
    run_campaign(&(campaign){AEGIS_ANALYSIS_NP_FP, SMALL(2, false, false), 300, true}, 12);
}

static void fp_equals_the_oracle(void **unused)
{
    (void)unused;
    run_campaign(&(campaign){AEGIS_ANALYSIS_FP, SMALL(0, false, false), 300, true}, 21);
    run_campaign(&(campaign){AEGIS_ANALYSIS_FP, SMALL(2, false, false), 200, true}, 22);
}

static void fpp_equals_the_oracle(void **unused)
{
    (void)unused;
    run_campaign(&(campaign){AEGIS_ANALYSIS_FPP, SMALL(0, false, true), 400, true}, 31);
    run_campaign(&(campaign){AEGIS_ANALYSIS_FPP, SMALL(2, false, true), 200, true}, 32);
}

static void np_edf_equals_the_oracle(void **unused)
{
    (void)unused;
    run_campaign(&(campaign){AEGIS_ANALYSIS_NP_EDF, SMALL(0, false, false), 600, true}, 41);
    run_campaign(&(campaign){AEGIS_ANALYSIS_NP_EDF, SMALL(2, false, false), 300, true}, 42);
    run_campaign(&(campaign){AEGIS_ANALYSIS_NP_EDF, SMALL(3, true, false), 200, true}, 43);
}

static void cut_np_edf_is_bounded(void **unused)
{
    (void)unused;
    run_campaign(&(campaign){AEGIS_ANALYSIS_NP_EDF, SMALL(0, false, true), 400, false}, 51);
    run_campaign(&(campaign){AEGIS_ANALYSIS_NP_EDF, SMALL(2, true, true), 200, false}, 52);
}

static void fifo_is_bounded(void **unused)
{
    (void)unused;
    run_campaign(&(campaign){AEGIS_ANALYSIS_FIFO, SMALL(0, false, false), 300, true}, 61);
    run_campaign(&(campaign){AEGIS_ANALYSIS_FIFO, SMALL(2, false, false), 200, false}, 62);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(np_fp_equals_the_oracle), cmocka_unit_test(fp_equals_the_oracle),
        cmocka_unit_test(fpp_equals_the_oracle),   cmocka_unit_test(np_edf_equals_the_oracle),
        cmocka_unit_test(cut_np_edf_is_bounded),   cmocka_unit_test(fifo_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
