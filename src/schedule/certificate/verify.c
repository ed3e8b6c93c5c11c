/* SPDX-License-Identifier: Apache-2.0 */
/* The checker of a verdict, all of it, from the bytes on. It trusts neither the certificate nor the
 * analysis: what the certificate says is put into the inequalities below, every instant and job
 * number is enumerated here, and job sets are simulated. Sums are formed in 128 bits and stick at
 * PAST, which is larger than any claim, so that overflow refuses. What is missing reads as 0, and
 * the verdict is proved of the tasks so read; that nothing is missing verify_form.c sees to.
 */
#include "schedule/certificate/checker.h"

#include <string.h>

/* The blocker has started one tick before. */
wide aegis_checker_blocking(const checker *k, size_t from, wide t)
{
    wide longest = 1;
    for (size_t i = from; i < k->count; i++) {
        longest = largest(longest, k->tasks[i].first > t ? k->tasks[i].longest : 0);
    }
    return longest - 1;
}

wide aegis_checker_work(const checker *k, const demand *f, wide w)
{
    wide sum = f->base;
    for (size_t j = 0; j < f->count && sum < PAST; j++) {
        const task *t = &k->tasks[j];
        wide jobs = (w + t->jitter + t->period - (f->closed ? 0 : 1)) / t->period;
        sum = add(sum, jobs, t->cost);
    }
    return sum;
}

bool aegis_checker_settle(checker *k, const demand *f, bool given, wide *w)
{
    wide next = *w;
    do {
        *w = next;
        next = aegis_checker_work(k, f, *w);
    } while (spend(k, f->count + 1) && next > *w && !given);
    /* Nothing is settled at PAST, where a sum sticks. */
    return k->status == AEGIS_OK &&
           that(k, next <= least(*w, LARGEST), "%zu tasks: w = %lld, but f(w) = %lld", f->count,
                shown(*w), shown(next));
}

bool aegis_checker_ends(checker *k, size_t count, wide length, wide base)
{
    const demand all = {.count = count, .base = base};
    return that(k, length > 0, "no busy period ends by 0") &&
           aegis_checker_settle(k, &all, true, &length);
}

wide aegis_checker_share(const checker *k, size_t count, wide m, bool *ret_whole)
{
    wide sum = 0;
    *ret_whole = m > 0;
    for (size_t i = 0; i < count && sum <= m; i++) {
        sum += m * k->tasks[i].cost / k->tasks[i].period;
        *ret_whole = *ret_whole && m % k->tasks[i].period == 0;
    }
    return sum;
}

static bool check_overload(checker *k)
{
    wide m = value(k, "multiple");
    bool whole;
    return that(k, aegis_checker_share(k, k->count, m, &whole) > m, "U is below 1");
}

/* Fixed priorities, one fixed point a job, from number *next on if they are given: policies differ
 * by what blocks and by the segment after which nobody waits. */
static bool check_level(checker *k, size_t i, wide *next)
{
    const task *t = &k->tasks[i];
    const json_t *points = list(k, "points");
    demand above = {.count = i, .closed = !k->preemptive};
    wide length = number(list(k, "busy"), (wide)i), w = 0;
    wide jobs = (length + t->jitter + t->period - 1) / t->period;
    wide b = aegis_checker_blocking(k, i + 1, -PAST);
    bool holds = aegis_checker_ends(k, i + 1, length, b), given = json_array_size(points) > 0;
    for (wide q = 0; holds && q < jobs; q++, ++*next) {
        above.base = add(b - t->last, q + 1, t->cost);
        w = given ? number(points, *next) : largest(w, above.base);
        holds = aegis_checker_settle(k, &above, given, &w) &&
                that(k, w + t->last - q * t->period + t->jitter <= t->response,
                     "task %zu, job %lld: R is past %lld", i, shown(q), shown(t->response));
        k->report->points++;
    }
    return holds;
}

bool aegis_checker_levels(checker *k)
{
    bool verdict = strcmp(k->report->kind, "responses") == 0, holds = true;
    wide next = 0;
    for (size_t i = 0; i < k->count && holds; i++) {
        wide response = k->tasks[i].response;
        holds = that(k, !verdict || (response > 0 && response <= k->tasks[i].deadline),
                     "task %zu: R is %lld, past D", i, shown(response)) &&
                (response == 0 || check_level(k, i, &next));
    }
    return holds &&
           that(k, next == value(k, "fixed_points"), "there are %lld fixed points", shown(next));
}

wide aegis_checker_next(checker *k)
{
    wide at = PAST;
    for (const task *t = k->tasks; t < k->tasks + k->count; t++) {
        at = least(at, t->at);
    }
    for (task *t = k->tasks; t < k->tasks + k->count; t++) {
        bool now = t->at == at;
        k->work = now ? add(k->work, 1, t->cost) : k->work;
        t->at += now ? t->period : 0;
        t->jobs += now;
    }
    return at;
}

/* EDF: demand and blocking fit at every deadline. FIFO: no arrival waits longer than D - J; one
 * before 0 is seen at 0. Nothing is violated behind the horizon if a busy period ends by it, as
 * from F, the largest D - J, on a violation shows up to its end; or under EDF behind F + M if U <=
 * 1 and all periods divide the horizon M, as from F on h(t + M) = h(t) + U M. */
static bool check_instants(checker *k)
{
    const json_t *given = list(k, "demand");
    wide horizon = value(k, "horizon"), latest = -PAST, earliest = PAST, count = 0;
    bool whole, periodic = aegis_checker_share(k, k->count, horizon, &whole) <= horizon && whole;
    for (task *t = k->tasks; t < k->tasks + k->count; t++) {
        t->at = k->edf ? t->first : -(wide)t->jitter;
        latest = largest(latest, t->first);
        earliest = least(earliest, t->first);
    }
    bool holds = (k->edf && periodic) || aegis_checker_ends(k, k->count, horizon, 0);
    wide end = k->fifo ? horizon : periodic ? latest + horizon : largest(latest, horizon);
    for (wide at = aegis_checker_next(k); holds && at <= end; at = aegis_checker_next(k)) {
        wide total = k->work + aegis_checker_blocking(k, 0, at);
        wide most = k->edf ? at : earliest + largest(at, 0);
        bool right = json_array_size(given) == 0 ||
                     (number(given, count) == at && number(given, count + 1) == total);
        holds = that(k, total <= most && right, "at %lld there is work for %lld", shown(at),
                     shown(total)) &&
                spend(k, k->count);
        count += 2;
        k->report->points++;
    }
    return holds &&
           that(k, count == 2 * value(k, "instants"), "there are %lld instants", shown(count / 2));
}

/* Jobs to be simulated: of each its task, nominal release and instant when ready, by task, and as
 * released. The tasks permit them: minimum distance, jitter, order. Lays them out by task. The form
 * sees to it that there is such a task; a number past the last would read as another one's. */
static bool permits(checker *k, const json_t *set)
{
    bool permitted = json_array_size(set) > 0;
    for (task *t = k->tasks; t < k->tasks + k->count; t++) {
        t->next = t->end = t->segment = 0;
        t->left = number(t->cut, 0);
    }
    for (wide n = 0; n < json_array_size(set) && permitted; n += 3) {
        wide nominal = number(set, n + 1), ready = number(set, n + 2);
        task *t = &k->tasks[(size_t)number(set, n) % k->count];
        permitted = ready >= nominal && ready - nominal <= t->jitter &&
                    !(t->end > 0 && (t->end != n || ready < number(set, n - 1) ||
                                     nominal < number(set, n - 2) + t->period));
        t->next = t->end > 0 ? t->next : n;
        t->end = n + 3;
    }
    return that(k, permitted, "the tasks do not permit these jobs");
}

/* The task to run now, NULL: none, and the next arrival. A tie goes against the last job's task. */
static task *choose(const checker *k, const json_t *set, wide now, wide *ret_arrival)
{
    task *best = NULL;
    wide smallest = PAST;
    *ret_arrival = PAST;
    for (task *t = k->tasks; t < k->tasks + k->count; t++) {
        wide nominal = number(set, t->next + 1), ready = number(set, t->next + 2);
        wide key = k->edf ? nominal + t->deadline : k->fifo ? ready : t - k->tasks;
        if (t->next < t->end && ready > now) {
            *ret_arrival = least(*ret_arrival, ready);
        } else if (t->next < t->end) {
            bool yields = best != NULL && key == smallest && best->end == json_array_size(set);
            best = key < smallest || yields ? t : best;
            smallest = least(smallest, key);
        }
    }
    return best;
}

bool aegis_checker_runs(checker *k, const json_t *set, wide response)
{
    wide now = 0, arrival;
    bool holds = permits(k, set), found = false;
    for (; holds && !found; k->report->points++) {
        task *t = choose(k, set, now, &arrival);
        bool until = t == NULL || (k->preemptive && now + t->left > arrival);
        wide run = until ? arrival - now : t->left;
        holds = spend(k, k->count) &&
                that(k, t != NULL || arrival < PAST, "simulated, these jobs do not end as is said");
        now += run;
        if (t == NULL || (t->left -= run) > 0) {
            continue;
        }
        t->segment = (t->segment + 1) % json_array_size(t->cut);
        t->left = number(t->cut, t->segment);
        if (t->segment == 0) {
            wide took = now - number(set, t->next + 1);
            t->next += 3;
            found = response == PAST ? took > t->deadline
                                     : took == response && t->next == json_array_size(set);
        }
    }
    return holds;
}

static bool check_miss(checker *k)
{
    return aegis_checker_runs(k, list(k, "miss"), PAST);
}

#define LEVELS 1
#define EDF 2
#define FIFO 4
#define ALL (LEVELS | EDF | FIFO)

/* What each kind of proof speaks about. */
static const struct {
    const char *name, *verdict;
    int policies;
    bool (*check)(checker *k);
} kinds[] = {{"responses", "schedulable", LEVELS, aegis_checker_levels},
             {"demand", "schedulable", EDF, check_instants},
             {"queue", "schedulable", FIFO, check_instants},
             {"miss", "not-schedulable", ALL, check_miss},
             {"overload", "not-schedulable", ALL, check_overload},
             {"no-end", "refused", LEVELS | FIFO, aegis_checker_no_end},
             {"bound", "refused", FIFO, aegis_checker_bound},
             {"reached", "none", ALL, NULL}};

static const char *const policies[] = {
    [AEGIS_ANALYSIS_NP_FP] = "np-fp", [AEGIS_ANALYSIS_NP_EDF] = "np-edf",
    [AEGIS_ANALYSIS_FP] = "fp",       [AEGIS_ANALYSIS_EDF] = "edf",
    [AEGIS_ANALYSIS_FPP] = "fpp",     [AEGIS_ANALYSIS_FIFO] = "fifo"};

static bool read_tasks(checker *k, bool cuts)
{
    bool right = true;
    for (size_t i = 0; i < k->count && right; i++) {
        task *t = &k->tasks[i];
        wide sum = 0;
        t->cut = json_array_get(list(k, "C"), i);
        t->period = (int64_t)number(list(k, "T"), (wide)i);
        t->deadline = (int64_t)number(list(k, "D"), (wide)i);
        t->jitter = (int64_t)largest(number(list(k, "J"), (wide)i), 0);
        t->response = number(list(k, "response"), (wide)i);
        t->first = (wide)t->deadline - t->jitter;
        for (wide s = 0; s < json_array_size(t->cut); s++) {
            wide length = number(t->cut, s);
            sum = length > 0 ? add(sum, length, 1) : PAST;
            t->last = k->preemptive || k->fifo ? 0 : length;
            t->longest = largest(t->longest, t->last);
        }
        t->cost = (int64_t)least(sum, LARGEST);
        right = that(
            k,
            sum > 0 && sum <= LARGEST && (cuts || json_array_size(t->cut) == 1) && t->period > 0 &&
                t->deadline > 0,
            "task %zu: C, T and D must be 1 at least, and C one segment or of a cut policy", i);
    }
    return right;
}

static bool check(checker *k, const aegis_allocator *allocator)
{
    size_t p = 0, n = 0;
    const char *policy = text(k, "policy"), *proof = text(k, "proof");
    while (p < AEGIS_ARRAY_LENGTH(policies) && strcmp(policy, policies[p]) != 0) {
        p++;
    }
    while (n < AEGIS_ARRAY_LENGTH(kinds) && strcmp(proof, kinds[n].name) != 0) {
        n++;
    }
    k->edf = p == AEGIS_ANALYSIS_EDF || p == AEGIS_ANALYSIS_NP_EDF;
    k->fifo = p == AEGIS_ANALYSIS_FIFO;
    k->preemptive = p == AEGIS_ANALYSIS_FP || p == AEGIS_ANALYSIS_EDF;
    k->count = json_array_size(list(k, "C"));
    int group = k->edf ? EDF : k->fifo ? FIFO : LEVELS;
    if (!aegis_checker_form(k) ||
        !that(k,
              p < AEGIS_ARRAY_LENGTH(policies) && n < AEGIS_ARRAY_LENGTH(kinds) &&
                  (kinds[n].policies & group) != 0 &&
                  strcmp(text(k, "verdict"), kinds[n].verdict) == 0,
              "\"%s\" does not prove \"%s\" under \"%s\"", proof, text(k, "verdict"), policy)) {
        return false;
    }
    k->report->policy = (aegis_analysis)p;
    k->report->kind = kinds[n].name;
    k->report->task_count = k->count;
    k->report->schedulable = strcmp(kinds[n].verdict, "schedulable") == 0;
    k->tasks = aegis_allocate_zeroed(allocator, k->count, sizeof *k->tasks);
    k->status = k->tasks == NULL ? AEGIS_ERROR_NO_MEMORY : k->status;
    bool holds = that(k, k->tasks != NULL, "no memory for its %zu tasks", k->count) &&
                 read_tasks(k, p == AEGIS_ANALYSIS_FPP || p == AEGIS_ANALYSIS_NP_EDF);
    k->status = holds ? AEGIS_OK : k->status;
    holds = holds && (kinds[n].check == NULL || kinds[n].check(k)) && aegis_checker_responses(k);
    aegis_deallocate(allocator, k->tasks, k->count, sizeof *k->tasks);
    return holds;
}

aegis_status aegis_certificate_verify(const char *text,
                                      size_t size,
                                      const char *origin,
                                      uint64_t steps,
                                      const aegis_allocator *allocator,
                                      aegis_certificate_report *ret_report,
                                      aegis_error *err)
{
    const uint64_t allowed = steps == 0 ? AEGIS_CERTIFICATE_STEPS : steps;
    json_error_t problem;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    aegis_certificate_report report = {.statement = ""};
    checker k = {.report = &report, .file = root, .left = allowed, .status = AEGIS_ERROR_CONFIG};
    if (root == NULL) {
        return aegis_error_set(err, AEGIS_HERE("schedule.verify"), AEGIS_ERROR_PARSE,
                               "%s:%d:%d: not JSON: %s", origin, problem.line, problem.column,
                               problem.text);
    }
    report.holds = check(&k, allocator);
    report.steps = allowed - k.left;
    json_decref(root);
    if (k.status != AEGIS_OK) {
        return aegis_error_set(err, AEGIS_HERE("schedule.verify"), k.status, "%s: %s%s", origin,
                               report.statement,
                               k.status == AEGIS_ERROR_CONFIG ? "; let admit write it anew" : "");
    }
    *ret_report = report;
    return AEGIS_OK;
}
