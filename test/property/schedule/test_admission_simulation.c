/* SPDX-License-Identifier: Apache-2.0 */
/* The analysis against a tick-by-tick simulator on larger sets than the exhaustive oracle can take:
 * random legal releases never pass a bound, the worst patterns reach it, the witnesses of refusals
 * miss, and verdicts agree with plain enumerations of the published conditions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "admission_tasks.h"

#include <cmocka.h>

#define MAX_JOBS 600
#define WITNESS_JOBS 1024

/* ---- the simulator ---- */

typedef struct job {
    int task;
    int64_t nominal, ready, execution; /* `nominal` orders EDF, with D */
} job;

typedef struct schedule {
    const small_set *set;
    aegis_analysis policy;
    int victim; /* loses every tie */
    int count;
    job jobs[WITNESS_JOBS];
    int64_t left[WITNESS_JOBS], until_cut[WITNESS_JOBS];
    int segment[WITNESS_JOBS];
    int64_t worst[MAX_TASKS];
    bool missed;
} schedule;

static void add_job(schedule *s, int task, int64_t nominal, int64_t ready)
{
    assert_true(s->count < WITNESS_JOBS);
    s->jobs[s->count++] = (job){task, nominal, ready, s->set->tasks[task].execution};
}

static int64_t priority_of(const schedule *s, int k)
{
    const job *j = &s->jobs[k];
    switch (s->policy) {
    case AEGIS_ANALYSIS_NP_EDF:
    case AEGIS_ANALYSIS_EDF:
        return 2 * (j->nominal + s->set->tasks[j->task].deadline) + (j->task == s->victim);
    case AEGIS_ANALYSIS_FIFO:
        return 2 * j->ready + (j->task == s->victim);
    case AEGIS_ANALYSIS_NP_FP:
    case AEGIS_ANALYSIS_FP:
    case AEGIS_ANALYSIS_FPP:
        break;
    }
    return j->task;
}

static bool comes_before(const schedule *s, int a, int b)
{
    int64_t pa = priority_of(s, a), pb = priority_of(s, b);
    return pa < pb || (pa == pb && s->jobs[a].nominal < s->jobs[b].nominal);
}

static int64_t cut_after(const schedule *s, int k, int segment)
{
    const aegis_task *task = &s->set->tasks[s->jobs[k].task];
    bool cut = s->policy == AEGIS_ANALYSIS_FPP || s->policy == AEGIS_ANALYSIS_NP_EDF;
    if (s->policy == AEGIS_ANALYSIS_FP || s->policy == AEGIS_ANALYSIS_EDF) {
        return 1;
    }
    return cut && task->segments != NULL && s->jobs[k].execution == task->execution
               ? task->segments[segment]
               : s->left[k];
}

/* Runs all jobs to their ends. Jobs are few: the next one is searched for. */
static void simulate(schedule *s)
{
    int done = 0, running = -1;
    int64_t now = INT64_MAX;
    for (int k = 0; k < s->count; k++) {
        s->left[k] = s->jobs[k].execution;
        s->segment[k] = 0;
        now = s->jobs[k].ready < now ? s->jobs[k].ready : now;
    }
    for (; done < s->count; now++) {
        for (int k = 0; running < 0 && k < s->count; k++) {
            if (s->left[k] > 0 && s->jobs[k].ready <= now) {
                int best = k;
                for (int other = k + 1; other < s->count; other++) {
                    if (s->left[other] > 0 && s->jobs[other].ready <= now &&
                        comes_before(s, other, best)) {
                        best = other;
                    }
                }
                running = best;
                s->until_cut[best] = cut_after(s, best, s->segment[best]++);
            }
        }
        if (running < 0) {
            continue;
        }
        s->left[running]--;
        if (s->left[running] == 0) {
            const job *j = &s->jobs[running];
            int64_t response = now + 1 - j->nominal;
            s->worst[j->task] = response > s->worst[j->task] ? response : s->worst[j->task];
            s->missed = s->missed || response > s->set->tasks[j->task].deadline;
            done++;
            running = -1;
        } else if (--s->until_cut[running] == 0) {
            running = -1;
        }
    }
}

/* ---- release patterns ---- */

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Jobs of `task` nominally from start - J on, every T, up to `last`, ready from `start` on. */
static void add_from(schedule *s, int task, int64_t start, int64_t last)
{
    const aegis_task *t = &s->set->tasks[task];
    for (int64_t r = start - t->jitter; r <= last && s->count < MAX_JOBS; r += t->period) {
        add_job(s, task, r, later(start, r));
    }
}

static int64_t largest_segment(const small_set *set, int task, aegis_analysis policy)
{
    const aegis_task *t = &set->tasks[task];
    int64_t largest = 0;
    if (t->segments == NULL || policy == AEGIS_ANALYSIS_NP_FP) {
        return t->execution;
    }
    for (size_t k = 0; k < t->segment_count; k++) {
        largest = later(largest, t->segments[k]);
    }
    return largest;
}

/* What of a job runs before its largest segment starts. */
static int64_t before_largest(const small_set *set, int task, aegis_analysis policy)
{
    const aegis_task *t = &set->tasks[task];
    int64_t before = 0;
    for (size_t k = 0; largest_segment(set, task, policy) != t->execution; k++) {
        if (t->segments[k] == largest_segment(set, task, policy)) {
            break;
        }
        before += t->segments[k];
    }
    return before;
}

/* The synchronous pattern of priority `level` and above behind the worst blocker below it. */
static int64_t
worst_by_pattern_fp(const small_set *set, aegis_analysis policy, int level, int64_t span)
{
    static schedule s;
    s = (schedule){.set = set, .policy = policy, .victim = level};
    int blocker = -1;
    for (int k = level + 1; k < set->count && policy != AEGIS_ANALYSIS_FP; k++) {
        if (blocker < 0 ||
            largest_segment(set, k, policy) > largest_segment(set, blocker, policy)) {
            blocker = k;
        }
    }
    int64_t start = 0;
    if (blocker >= 0) {
        start = before_largest(set, blocker, policy) + 1;
        add_job(&s, blocker, 0, 0);
    }
    for (int i = 0; i <= level; i++) {
        add_from(&s, i, start, start + span);
    }
    simulate(&s);
    return s.worst[level];
}

/* np-edf: the victim nominally at `a` after the start of the busy period, the others synchronous,
 * and the worst blocker one tick earlier. */
static int64_t worst_by_pattern_edf(const small_set *set, int victim, int64_t a)
{
    static schedule s;
    s = (schedule){.set = set, .policy = AEGIS_ANALYSIS_NP_EDF, .victim = victim};
    const aegis_task *task = &set->tasks[victim];
    int64_t due = a + task->deadline;
    int blocker = -1;
    for (int k = 0; k < set->count; k++) {
        const aegis_task *t = &set->tasks[k];
        if (t->deadline - t->jitter > due &&
            (blocker < 0 || t->execution > set->tasks[blocker].execution)) {
            blocker = k;
        }
    }
    if (blocker >= 0) {
        add_job(&s, blocker, 0, 0);
    }
    for (int64_t r = a; r >= -task->jitter && s.count < MAX_JOBS; r -= task->period) {
        add_job(&s, victim, 1 + r, 1 + later(0, r));
    }
    for (int j = 0; j < set->count; j++) {
        if (j != victim && j != blocker) {
            add_from(&s, j, 1, 1 + due - set->tasks[j].deadline);
        }
    }
    simulate(&s);
    return s.worst[victim];
}

/* Random sporadic releases: gaps from T on, often exactly T, delays up to J in order. */
static void random_releases(uint64_t *seed, schedule *s, int jobs_each)
{
    for (int i = 0; i < s->set->count; i++) {
        const aegis_task *task = &s->set->tasks[i];
        int64_t nominal = pick(seed, 0, 2 * task->period), ready = 0;
        for (int k = 0; k < jobs_each; k++) {
            int64_t delay =
                pick(seed, 0, 2) == 0 ? pick(seed, 0, task->jitter) : (k == 0 ? task->jitter : 0);
            ready = later(ready, nominal + delay);
            add_job(s, i, nominal, ready);
            nominal += task->period + (pick(seed, 0, 3) == 0 ? pick(seed, 1, task->period) : 0);
        }
    }
}

/* Length of the longest busy period, behind the longest blocker; at most `most`. */
static int64_t busy_length(const small_set *set, int64_t most)
{
    int64_t length = 0, next = 1, blocker = 0;
    for (int i = 0; i < set->count; i++) {
        blocker = later(blocker, set->tasks[i].execution);
    }
    while (next > length && length < most) {
        length = next;
        next = blocker;
        for (int i = 0; i < set->count; i++) {
            const aegis_task *t = &set->tasks[i];
            next += (length + t->jitter + t->period - 1) / t->period * t->execution;
        }
    }
    return length < most ? length : most;
}

/* ---- the tests ---- */

#define LONGEST_BUSY 150

static aegis_admission_result analyse(aegis_analysis policy, const small_set *set)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result;
    aegis_error err = {0};
    if (aegis_admission_test(policy, set->tasks, (size_t)set->count, NULL, &allocator, &result,
                             &err) != AEGIS_OK) {
        fail_msg("%s", err.message);
    }
    return result;
}

static void finish(aegis_admission_result *result)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result_finish(result, &allocator);
}

static const small_shape wide = {.min_tasks = 1,
                                 .max_tasks = 5,
                                 .min_period = 3,
                                 .max_period = 24,
                                 .max_execution = 9,
                                 .max_jitter = 5,
                                 .extra = 10};
static const aegis_analysis policies[] = {AEGIS_ANALYSIS_NP_FP, AEGIS_ANALYSIS_NP_EDF,
                                          AEGIS_ANALYSIS_FP,    AEGIS_ANALYSIS_EDF,
                                          AEGIS_ANALYSIS_FPP,   AEGIS_ANALYSIS_FIFO};

static void require(bool holds, const char *what, uint64_t seed, const small_set *set)
{
    if (!holds) {
        print_set(what, seed, set);
        fail_msg("%s", what);
    }
}

static small_shape varied(uint64_t *seed)
{
    small_shape shape = wide;
    uint64_t bits = aegis_random_next(seed);
    shape.cut = (bits & 1) != 0;
    shape.same_jitter = (bits & 2) != 0;
    shape.max_jitter = (bits & 12) == 0 ? 0 : wide.max_jitter;
    shape.extra = (bits & 48) == 0 ? -1 : wide.extra;
    return shape;
}

static void no_release_passes_a_bound(void **unused)
{
    (void)unused;
    uint64_t seed = 1000;
    static schedule s;
    int accepted = 0, sets = scaled(20000);
    for (int n = 0; n < sets; n++) {
        uint64_t start = seed;
        small_shape shape = varied(&seed);
        small_set set;
        draw_set(&seed, &shape, true, &set);
        aegis_analysis policy = policies[(unsigned)n % AEGIS_ARRAY_LENGTH(policies)];
        aegis_admission_result result = analyse(policy, &set);
        bool ok = result.verdict == AEGIS_SCHEDULABLE;
        accepted += ok;
        require(
            ok || !(result.bounds.liu_layland || result.bounds.hyperbolic || result.bounds.density),
            "a sufficient bound accepts a refused set", start, &set);
        s = (schedule){.set = &set, .policy = policy, .victim = (int)pick(&seed, 0, set.count - 1)};
        random_releases(&seed, &s, 12);
        simulate(&s);
        require(!(ok && s.missed), "an accepted set misses", start, &set);
        for (int i = 0; i < set.count; i++) {
            int64_t bound = result.tasks[i].response;
            require(bound < 0 || s.worst[i] <= bound, "a response passes its bound", start, &set);
            require(bound < 0 || result.tasks[i].meets == (bound <= set.tasks[i].deadline),
                    "meets and response disagree", start, &set);
        }
        finish(&result);
    }
    printf("%d sets, %d accepted\n", sets, accepted);
    assert_true(accepted > sets / 20);
}

static void patterns_reach_fixed_priority_bounds(void **unused)
{
    (void)unused;
    static const aegis_analysis fixed[] = {AEGIS_ANALYSIS_NP_FP, AEGIS_ANALYSIS_FP,
                                           AEGIS_ANALYSIS_FPP};
    uint64_t seed = 2000;
    int cases = 0, skipped = 0;
    for (int n = scaled(6000); n > 0; n--) {
        uint64_t start = seed;
        small_shape shape = varied(&seed);
        small_set set;
        draw_set(&seed, &shape, false, &set);
        aegis_analysis policy = fixed[n % 3];
        aegis_admission_result result = analyse(policy, &set);
        int64_t busy = busy_length(&set, LONGEST_BUSY);
        skipped += busy == LONGEST_BUSY; /* slow to simulate */
        for (int i = 0; i < set.count && busy < LONGEST_BUSY; i++) {
            int64_t reached = worst_by_pattern_fp(&set, policy, i, busy);
            require(reached == result.tasks[i].response, "the pattern gives another response",
                    start, &set);
            cases++;
        }
        finish(&result);
    }
    printf("%d task cases equal, %d sets left out\n", cases, skipped);
    assert_true(cases > skipped);
}

static void patterns_reach_np_edf_responses(void **unused)
{
    (void)unused;
    uint64_t seed = 3000;
    int cases = 0, skipped = 0, at_one = 0;
    for (int n = scaled(4000); n > 0; n--) {
        uint64_t start = seed;
        small_shape shape = varied(&seed);
        small_set set;
        shape.cut = false;
        draw_set(&seed, &shape, true, &set);
        aegis_admission_result result = analyse(AEGIS_ANALYSIS_NP_EDF, &set);
        bool all = true, full = !fits_processor(&set, false);
        int64_t busy = full ? LONGEST_BUSY / 2 : busy_length(&set, LONGEST_BUSY);
        skipped += busy == LONGEST_BUSY; /* slow to simulate */
        for (int i = 0; i < set.count && busy < LONGEST_BUSY; i++) {
            int64_t bound = result.tasks[i].response, reached = 0;
            /* Every release in the busy period, not only those that the analysis looks at. At U = 1
             * it has no end and the part looked at gives a lower bound. */
            for (int64_t a = -set.tasks[i].jitter; a < busy; a++) {
                reached = later(reached, worst_by_pattern_edf(&set, i, a));
            }
            require(full ? bound == AEGIS_RESPONSE_UNSETTLED || reached <= bound : reached == bound,
                    "the patterns give another response", start, &set);
            cases += !full;
            all = all && bound <= set.tasks[i].deadline;
        }
        require(busy == LONGEST_BUSY || result.tasks[0].response == AEGIS_RESPONSE_UNSETTLED ||
                    all == (result.verdict == AEGIS_SCHEDULABLE),
                "responses and verdict disagree", start, &set);
        at_one += full;
        finish(&result);
    }
    printf("%d task cases equal, %d sets left out, %d at U = 1\n", cases, skipped, at_one);
    assert_true(cases > skipped);
    assert_true(at_one > 0);
}

static void every_witness_misses(void **unused)
{
    (void)unused;
    uint64_t seed = 4000;
    static schedule s;
    int refused = 0;
    for (int n = scaled(10000); n > 0; n--) {
        uint64_t start = seed;
        small_shape shape = varied(&seed);
        small_set set;
        draw_set(&seed, &shape, true, &set);
        if (n % 4 == 0) { /* overload */
            set.tasks[0].execution += set.tasks[0].period;
            set.tasks[0].segments = NULL;
        }
        aegis_analysis policy = n % 2 == 0 ? AEGIS_ANALYSIS_NP_EDF : AEGIS_ANALYSIS_EDF;
        aegis_admission_result result = analyse(policy, &set);
        require(result.has_violation == (result.verdict == AEGIS_NOT_SCHEDULABLE),
                "a refusal without a violation", start, &set);
        if (result.has_violation) {
            require(result.witness_total == result.witness_count, "a long witness", start, &set);
            int64_t work = 0, from = 0, previous[MAX_TASKS];
            memset(previous, -1, sizeof previous);
            s = (schedule){.set = &set, .policy = policy, .victim = -1};
            for (size_t k = 0; k < result.witness_count; k++) {
                const aegis_witness_job *w = &result.witness[k];
                const aegis_task *task = &set.tasks[w->task];
                int64_t nominal = w->deadline - task->deadline;
                from = w->blocks ? 1 : from;
                require(w->release >= later(0, nominal) && w->release <= nominal + task->jitter,
                        "a witness released against the rules", start, &set);
                require(previous[w->task] < 0 || w->deadline - previous[w->task] >= task->period,
                        "witnesses too close", start, &set);
                require(w->blocks == (w->deadline > from + result.violation_at) || w->blocks,
                        "a witness that is due later", start, &set);
                previous[w->task] = w->deadline;
                work += w->execution;
                add_job(&s, (int)w->task, nominal, w->release);
                s.jobs[s.count - 1].execution = w->execution;
            }
            require(work - from == result.violation_demand &&
                        result.violation_demand > result.violation_at,
                    "the demand is not the sum of the witnesses", start, &set);
            simulate(&s);
            require(s.missed, "the witness misses nothing", start, &set);
            refused++;
        }
        finish(&result);
    }
    printf("%d refusals\n", refused);
    assert_true(refused > 300);
}

/* George's and Zhang's condition, every integer t up to two common multiples and more. */
static bool meets_plainly(const small_set *set, bool blocks)
{
    int64_t multiple = 1, end = 0;
    for (int i = 0; i < set->count; i++) {
        int64_t a = multiple, b = set->tasks[i].period;
        while (b != 0) {
            int64_t rest = a % b;
            a = b;
            b = rest;
        }
        multiple = multiple / a * set->tasks[i].period;
        end = later(end, set->tasks[i].deadline);
    }
    for (int64_t t = -10; t <= end + 2 * multiple; t++) {
        int64_t demand = 0, blocking = 0;
        for (int i = 0; i < set->count; i++) {
            const aegis_task *task = &set->tasks[i];
            int64_t past = t + task->jitter - task->deadline;
            if (past >= 0) {
                demand += (past / task->period + 1) * task->execution;
            } else if (blocks) {
                blocking = later(blocking, largest_segment(set, i, AEGIS_ANALYSIS_NP_EDF) - 1);
            }
        }
        if (demand > 0 && demand + blocking > t) {
            return false;
        }
    }
    return true;
}

static void edf_verdicts_equal_plain_enumeration(void **unused)
{
    (void)unused;
    uint64_t seed = 5000;
    int accepted = 0, at_one = 0, sets = scaled(10000);
    for (int n = 0; n < sets; n++) {
        uint64_t start = seed;
        small_shape shape = varied(&seed);
        shape.max_period = 12;
        shape.max_tasks = 4;
        small_set set;
        draw_set(&seed, &shape, true, &set);
        bool blocks = n % 2 == 0;
        aegis_admission_result result =
            analyse(blocks ? AEGIS_ANALYSIS_NP_EDF : AEGIS_ANALYSIS_EDF, &set);
        bool meets = meets_plainly(&set, blocks);
        require(result.verdict == (meets ? AEGIS_SCHEDULABLE : AEGIS_NOT_SCHEDULABLE),
                "another verdict than the enumeration", start, &set);
        accepted += meets;
        at_one += meets && !fits_processor(&set, false);
        finish(&result);
    }
    printf("%d sets, %d accepted, %d of them at U = 1\n", sets, accepted, at_one);
    assert_true(accepted > sets / 20);
    assert_true(at_one > 0);
}

/* At U = 1 with jitter no busy period ends, and the instants to look at reach over a whole common
 * multiple of the periods. */
static void edf_verdicts_hold_at_full_utilisation(void **unused)
{
    (void)unused;
    uint64_t seed = 5500;
    int sets = scaled(3000), accepted = 0;
    for (int n = 0; n < sets; n++) {
        uint64_t start = seed;
        small_shape shape = wide;
        shape.max_period = 10;
        shape.min_tasks = 2;
        shape.max_tasks = 3;
        small_set set;
        do {
            draw_set(&seed, &shape, true, &set);
        } while (fits_processor(&set, false));
        bool blocks = n % 2 == 0;
        for (int i = 0; i < set.count; i++) { /* generous, so that misses come late */
            set.tasks[i].deadline = set.tasks[i].period + pick(&seed, 0, 6);
        }
        aegis_admission_result result =
            analyse(blocks ? AEGIS_ANALYSIS_NP_EDF : AEGIS_ANALYSIS_EDF, &set);
        bool meets = meets_plainly(&set, blocks);
        require(result.verdict == (meets ? AEGIS_SCHEDULABLE : AEGIS_NOT_SCHEDULABLE),
                "another verdict than the enumeration", start, &set);
        accepted += meets;
        finish(&result);
    }
    printf("%d sets at U = 1, %d accepted\n", sets, accepted);
    assert_true(accepted > sets / 20 && accepted < sets - sets / 20);
}

/* Rate-monotonic sets with D = T, where the utilisation bounds speak. */
static void simple_bounds_are_sufficient(void **unused)
{
    (void)unused;
    uint64_t seed = 5800;
    int sets = scaled(10000), layland = 0, hyperbolic = 0, density = 0;
    for (int n = 0; n < sets; n++) {
        uint64_t start = seed;
        small_shape shape = wide;
        shape.max_jitter = 0;
        shape.extra = -1;
        shape.max_execution = 3 + n % 7;
        shape.cut = n % 3 == 0;
        small_set set, sorted;
        size_t order[MAX_TASKS];
        draw_set(&seed, &shape, true, &set);
        aegis_admission_order_rm(set.tasks, (size_t)set.count, order);
        sorted = set;
        for (int i = 0; i < set.count; i++) {
            sorted.tasks[i] = set.tasks[order[i]];
        }
        aegis_admission_result result =
            analyse(policies[(unsigned)n % AEGIS_ARRAY_LENGTH(policies)], &sorted);
        const aegis_simple_bounds *bounds = &result.bounds;
        bool any = bounds->liu_layland || bounds->hyperbolic || bounds->density;
        require(!any || result.verdict == AEGIS_SCHEDULABLE, "a bound accepts a refused set", start,
                &sorted);
        require(!bounds->liu_layland || bounds->hyperbolic,
                "hyperbolic refuses what the older takes", start, &sorted);
        layland += bounds->liu_layland;
        hyperbolic += bounds->hyperbolic;
        density += bounds->density;
        finish(&result);
    }
    printf("%d sets: Liu & Layland %d, hyperbolic %d, density %d\n", sets, layland, hyperbolic,
           density);
    assert_true(layland > sets / 50 && hyperbolic > layland && density > sets / 50);
}

/* Jeffay, Stanat, Martel 1991, D = T, J = 0, tasks by period. */
static bool meets_jeffay(const small_set *set)
{
    for (int i = 1; i < set->count; i++) {
        for (int64_t l = set->tasks[0].period + 1; l < set->tasks[i].period; l++) {
            int64_t demand = set->tasks[i].execution;
            for (int j = 0; j < i; j++) {
                demand += (l - 1) / set->tasks[j].period * set->tasks[j].execution;
            }
            if (demand > l) {
                return false;
            }
        }
    }
    return true;
}

static void np_edf_agrees_with_jeffay(void **unused)
{
    (void)unused;
    uint64_t seed = 6000;
    int accepted = 0, sets = scaled(5000);
    for (int n = 0; n < sets; n++) {
        uint64_t start = seed;
        small_shape shape = wide;
        shape.max_jitter = 0;
        shape.extra = -1;
        small_set set, sorted;
        size_t order[MAX_TASKS];
        draw_set(&seed, &shape, true, &set);
        aegis_admission_order_rm(set.tasks, (size_t)set.count, order);
        sorted = set;
        for (int i = 0; i < set.count; i++) {
            sorted.tasks[i] = set.tasks[order[i]];
        }
        aegis_admission_result result = analyse(AEGIS_ANALYSIS_NP_EDF, &set);
        require((result.verdict == AEGIS_SCHEDULABLE) == meets_jeffay(&sorted),
                "another verdict than Jeffay's", start, &set);
        accepted += result.verdict == AEGIS_SCHEDULABLE;
        finish(&result);
    }
    printf("%d sets, %d accepted\n", sets, accepted);
    assert_true(accepted > sets / 20);
}

/* ---- what fits ---- */

static bool accepted_with(aegis_analysis policy, const small_set *set)
{
    aegis_admission_result result = analyse(policy, set);
    bool ok = result.verdict == AEGIS_SCHEDULABLE;
    finish(&result);
    return ok;
}

static void set_value(small_set *set, size_t which, int field, int64_t value, bool implicit)
{
    aegis_task *task = &set->tasks[which];
    if (field == 0) {
        task->period = value;
        task->deadline = implicit ? value : task->deadline;
    } else if (field == 1) {
        task->deadline = value;
    } else {
        task->execution = value;
    }
}

/* By trying every value up to one that is as good as endless for sets this small. */
static int64_t fit_plainly(aegis_analysis policy, const small_set *set, size_t which, int field)
{
    const int64_t most = 260;
    bool implicit = set->tasks[which].deadline == set->tasks[which].period;
    int64_t found = 0;
    for (int64_t value = most; value > 0; value--) {
        small_set trial = *set;
        set_value(&trial, which, field, value, implicit);
        bool ok = accepted_with(policy, &trial);
        if (ok && field == 2) {
            return value;
        }
        if (!ok && field != 2) {
            return found;
        }
        found = ok ? value : found;
    }
    return found;
}

static void what_fits_equals_trying_everything(void **unused)
{
    (void)unused;
    uint64_t seed = 7000;
    int fitting = 0;
    for (int n = scaled(400); n > 0; n--) {
        uint64_t start = seed;
        small_shape shape = varied(&seed);
        shape.cut = false;
        shape.max_tasks = 3;
        shape.max_period = 12;
        small_set set;
        draw_set(&seed, &shape, false, &set);
        aegis_analysis policy = policies[n % 6];
        aegis_allocator allocator = aegis_allocator_default();
        size_t which = (size_t)pick(&seed, 0, set.count - 1);
        aegis_fit fit;
        assert_int_equal(aegis_admission_what_fits(policy, set.tasks, (size_t)set.count, which,
                                                   NULL, &allocator, &fit, NULL),
                         AEGIS_OK);
        if (fit.smallest_period > 250 || fit.smallest_deadline > 250) {
            continue;
        }
        require(fit.smallest_period == fit_plainly(policy, &set, which, 0), "another period", start,
                &set);
        require(fit.smallest_deadline == fit_plainly(policy, &set, which, 1), "another deadline",
                start, &set);
        require(fit.largest_execution == fit_plainly(policy, &set, which, 2), "another execution",
                start, &set);
        fitting += fit.smallest_period > 0;
    }
    assert_true(fitting > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_release_passes_a_bound),
        cmocka_unit_test(patterns_reach_fixed_priority_bounds),
        cmocka_unit_test(patterns_reach_np_edf_responses),
        cmocka_unit_test(every_witness_misses),
        cmocka_unit_test(edf_verdicts_equal_plain_enumeration),
        cmocka_unit_test(edf_verdicts_hold_at_full_utilisation),
        cmocka_unit_test(simple_bounds_are_sufficient),
        cmocka_unit_test(np_edf_agrees_with_jeffay),
        cmocka_unit_test(what_fits_equals_trying_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
