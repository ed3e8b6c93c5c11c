/* SPDX-License-Identifier: Apache-2.0 */
/* The checker, all of it, from the bytes on. It trusts neither the certificate nor the analysis:
 * what the certificate says is put into the inequalities below, every instant and job number is
 * enumerated here, and job sets are simulated. Sums are formed in 128 bits and stick at PAST, which
 * is larger than any claim, so that overflow refuses. What is left out reads as 0.
 */
#include "base/base.h"

#include <aegisrt/certificate.h>

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__extension__ typedef __int128 wide;
#define LARGEST ((wide)INT64_MAX)
#define PAST ((wide)1 << 64)

typedef struct task {
    int64_t cost, period, deadline, jitter;
    int64_t response;     /* no job's is larger; -1: nothing is said */
    wide first, segments; /* its segments among those of all */
    wide longest, last;   /* of them */
    wide at, jobs, start; /* among the instants: its next one; jobs due now; s of this one */
    wide segment, left, next, end; /* simulated: what is left of a segment; jobs not done */
} task;

typedef struct checker {
    aegis_certificate_report *report;
    const char *policy, *verdict, *proof; /* as in the file, all these; NULL or 0: left out */
    json_t *names, *C, *T, *D, *J, *segments, *miss;
    json_t *responses, *reached, *busy, *points; /* ends of busy periods; w(q) of task after task */
    json_t *demand;                              /* t, demand + blocking, t, ... */
    json_int_t horizon, instants, multiple, first, task, at, bound;
    task *tasks;
    size_t count;
    uint64_t left;                      /* steps */
    aegis_status status;                /* when not OK no answer counts */
    bool edf, fifo, preemptive, speaks; /* the instants are the verdict */
    wide listed, blocked, length;       /* points used; as check_due left them */
} checker;

/* A check ends with the first claim that does not hold, which it reports. */
AEGIS_PRINTF(3, 4) static bool that(checker *k, bool holds, const char *claim, ...)
{
    va_list arguments;
    va_start(arguments, claim);
    if (!holds) {
        vsnprintf(k->report->statement, sizeof k->report->statement, claim, arguments);
    }
    va_end(arguments);
    return holds;
}

static wide number(const json_t *list, wide n)
{
    return json_integer_value(json_array_get(list, (size_t)n));
}

static wide size(const json_t *list)
{
    return (wide)json_array_size(list);
}

static wide least(wide a, wide b)
{
    return a < b ? a : b;
}

static wide largest(wide a, wide b)
{
    return a < b ? b : a;
}

static long long shown(wide value)
{
    return (long long)least(value, LARGEST);
}

static bool spend(checker *k, uint64_t looks)
{
    k->left -= k->left < looks ? k->left : looks;
    k->status = k->left == 0 ? AEGIS_ERROR_UNDECIDED : k->status;
    return that(k, k->left > 0, "the steps allowed are used up");
}

/* sum + jobs * cost for jobs up to 2^64 - 1. */
static wide add(wide sum, wide jobs, int64_t cost)
{
    wide more = jobs * cost;
    return more > LARGEST || sum + more > LARGEST ? PAST : sum + more;
}

static wide segment(const checker *k, const task *t, wide s)
{
    return t->segments > 1 ? number(k->segments, t->first + s) : t->cost;
}

static wide first_deadline(const task *t)
{
    return (wide)t->deadline - t->jitter;
}

/* The longest segment of the tasks from `from` on that are not due by t, less one tick: the
 * blocker has started before. */
static wide blocking(const checker *k, size_t from, wide t)
{
    wide longest = 1;
    for (size_t i = from; i < k->count && !k->preemptive && !k->fifo; i++) {
        bool blocks = first_deadline(&k->tasks[i]) > t;
        longest = largest(longest, blocks ? k->tasks[i].longest : 0);
    }
    return longest - 1;
}

/* f(w) = base + the work of the first `count` tasks, without `skip`, that can be there in [0, w),
 * or [0, w] if `closed`; with `due` of the jobs due now alone. */
typedef struct demand {
    size_t count, skip;
    bool closed, due;
    wide base;
} demand;

static wide work(const checker *k, const demand *f, wide w)
{
    wide sum = f->base;
    for (size_t j = 0; j < f->count && sum < PAST; j++) {
        const task *t = &k->tasks[j];
        wide jobs = (w + t->jitter + t->period - (f->closed ? 0 : 1)) / t->period;
        jobs = f->due ? least(jobs, t->jobs) : jobs;
        sum = j == f->skip ? sum : add(sum, jobs, t->cost);
    }
    return sum;
}

/* Some w with f(w) <= w, beyond which no solution is needed: *w if it is given as such, else the
 * least from *w on, reached from below. */
static bool settle(checker *k, const demand *f, bool given, wide *w)
{
    wide next = *w;
    do {
        *w = next;
        next = work(k, f, *w);
    } while (spend(k, f->count + 1) && next > *w && next < PAST && !given);
    return k->status == AEGIS_OK && that(k, next <= *w, "%zu tasks: w = %lld, but f(w) = %lld",
                                         f->count, shown(*w), shown(next));
}

/* A busy period that begins with `base` ends by `length`. */
static bool ends(checker *k, size_t count, wide length, wide base)
{
    const demand all = {.count = count, .skip = SIZE_MAX, .base = base};
    return that(k, length > 0, "no busy period ends by 0") && settle(k, &all, true, &length);
}

/* M C / T rounded down, summed over the first tasks: above M only if U > 1; exact if `ret_whole`,
 * that is if all periods divide M. */
static wide share(const checker *k, size_t count, wide m, bool *ret_whole)
{
    wide sum = 0;
    *ret_whole = m > 0;
    for (size_t i = 0; i < count && sum <= m; i++) {
        sum += m * k->tasks[i].cost / k->tasks[i].period;
        *ret_whole = *ret_whole && m % k->tasks[i].period == 0;
    }
    return sum;
}

/* U > 1; or no end: with U = 1 and jitter, ceil(J / T) jobs are there at 0. */
static bool check_first_tasks(checker *k)
{
    wide m = k->multiple, count = least(largest(k->first, 0), (wide)k->count);
    const demand all = {.count = (size_t)count, .skip = SIZE_MAX};
    bool whole, over = strcmp(k->proof, "overload") == 0;
    wide sum = share(k, all.count, m, &whole);
    return that(k, m > 0 && (over ? sum > m : whole && sum == m && work(k, &all, 0) > 0),
                "U of the first %zu tasks is another", all.count);
}

/* Fixed priorities, one fixed point a job: segments differ by what blocks and by their tail, which
 * is 0 when preemptive. */
static bool check_level(checker *k, size_t i)
{
    const task *t = &k->tasks[i];
    demand above = {.count = i, .skip = SIZE_MAX, .closed = !k->preemptive};
    wide w = 0, b = blocking(k, i + 1, -PAST), last = k->preemptive ? 0 : t->last;
    wide length = number(k->busy, i);
    wide jobs = (length + t->jitter + t->period - 1) / t->period;
    bool holds = k->preemptive || ends(k, i + 1, length, b), busy = true;
    for (wide q = 0; holds && (k->preemptive ? busy : q < jobs); q++) {
        wide release = q * t->period - t->jitter;
        bool listed = k->listed < size(k->points);
        above.base = add(b - last, q + 1, t->cost);
        w = listed ? number(k->points, k->listed++) : largest(w, above.base);
        holds = settle(k, &above, listed, &w) &&
                that(k, w + last - release <= t->response, "task %zu, job %lld: R is past %lld", i,
                     shown(q), shown(t->response));
        k->report->points++;
        busy = w > release + t->period; /* the next job meets work of this one */
    }
    return holds;
}

/* The last instant to look at: the horizon, at least every task's first deadline; and for responses
 * the last deadline of a job released before the busy period of all ends, which b = 0 from F on.
 * Nothing is violated behind the horizon if a busy period ends by it, as from F, the largest D - J,
 * on a violation shows up to its end; or under EDF if U <= 1, M is a multiple of the periods and
 * the horizon F + M, as from F on h(t + M) = h(t) + U M. */
static bool find_end(checker *k, wide *ret_end)
{
    wide horizon = k->speaks ? k->horizon : 0, m = k->multiple, last = -PAST;
    wide busy = (k->responses != NULL) ? number(k->busy, 0) : 0;
    bool whole, holds = k->responses == NULL || ends(k, k->count, busy, 0);
    *ret_end = largest(horizon, busy);
    for (const task *t = k->tasks; t < k->tasks + k->count; t++) {
        wide due = (k->responses != NULL) ? busy + t->deadline : first_deadline(t);
        *ret_end = k->edf ? largest(*ret_end, due) : *ret_end;
        last = largest(last, first_deadline(t));
    }
    if (k->edf && m > 0 && k->speaks) {
        return holds && that(k, share(k, k->count, m, &whole) <= m && whole && horizon - last >= m,
                             "U > 1, or %lld is below largest D - J + lcm(T)", shown(horizon));
    }
    return holds && (!k->speaks || ends(k, k->count, horizon, 0));
}

/* np-edf: no job due now ends later than its R allows. All of them end by L; where that does not
 * say enough, its last segment starts at the least s, when all that is due and there has run. */
static bool check_due(checker *k, wide now, wide b)
{
    demand due = {k->count, .skip = SIZE_MAX, .closed = true, .due = true, .base = b};
    for (size_t i = 0; i < k->count && b != k->blocked; i++) {
        k->tasks[i].start = k->length = 0;
    }
    k->blocked = b;
    bool holds = settle(k, &due, false, &k->length);
    for (size_t i = 0; i < k->count && holds; i++) {
        task *t = &k->tasks[i];
        wide latest = now - t->deadline + t->response;
        if (t->response >= 0 && t->jobs > 0 && k->length > latest) {
            due.skip = i;
            due.base = add(b - t->last, t->jobs, t->cost);
            t->start = largest(t->start, due.base);
            holds = settle(k, &due, false, &t->start) &&
                    that(k, t->start + t->last <= latest,
                         "task %zu: the job due at %lld responds later than %lld", i, shown(now),
                         shown(t->response));
        }
    }
    return holds;
}

/* EDF: demand and blocking fit at every deadline. FIFO: no arrival waits longer than D - J; one
 * before 0 is seen at 0. And the responses hold. */
static bool check_instants(checker *k)
{
    wide end, at = PAST, sum = 0, longest = k->edf && k->speaks ? 0 : PAST, count = 0;
    for (task *t = k->tasks; t < k->tasks + k->count; t++) {
        t->at = k->edf ? first_deadline(t) : -(wide)t->jitter;
        at = least(at, t->at);
        longest = k->fifo && k->speaks ? least(longest, first_deadline(t)) : longest;
        longest = k->fifo && t->response >= 0 ? least(longest, t->at + t->response) : longest;
    }
    bool holds = find_end(k, &end) && spend(k, k->count);
    for (wide next; holds && at <= end; at = next) {
        next = PAST;
        for (task *t = k->tasks; t < k->tasks + k->count; t++) {
            bool now = t->at == at;
            sum = now ? add(sum, 1, t->cost) : sum;
            t->at += now ? t->period : 0;
            t->jobs += now;
            next = least(next, t->at);
        }
        wide b = blocking(k, 0, at), total = sum + b;
        bool right = 2 * count >= size(k->demand) || (number(k->demand, 2 * count) == at &&
                                                      number(k->demand, 2 * count + 1) == total);
        holds = that(k, total <= longest + (k->edf || at > 0 ? at : 0) && right,
                     "at %lld there is work for %lld", shown(at), shown(total)) &&
                (k->fifo || k->responses == NULL || check_due(k, at, b)) && spend(k, k->count);
        k->report->points++;
        count++;
    }
    bool listed = size(k->demand) == 0 || size(k->demand) == 2 * count;
    return holds && that(k, !k->speaks || (count == k->instants && listed),
                         "there are %lld instants", shown(count));
}

/* FIFO with jitter: what the test counts at one instant, although no behaviour may show it. */
static bool check_bound(checker *k)
{
    const demand all = {.count = k->count, .skip = SIZE_MAX, .closed = true};
    wide at = largest(k->at, 0);
    const task *t = &k->tasks[(uint64_t)k->task % k->count];
    wide bound = work(k, &all, at) + t->jitter - at;
    return that(k, bound == k->bound && bound > t->deadline, "the bound at %lld is %lld", shown(at),
                shown(bound));
}

/* Jobs to be simulated, in a list: the task and the segment that started at 0, so that the jobs are
 * ready at 1 or later, or -1 and 0; where in the list the job begins that it is about; then of each
 * job its task, nominal release and instant when ready; by task, and as released. */
#define JOBS 3

/* Minimum distance, jitter, order; nothing is ready when one blocks. Lays the jobs out by task. */
static bool permits(checker *k, const json_t *set, wide blocker)
{
    wide cut = number(set, 1);
    bool permitted = size(set) % 3 == 0 && size(set) > JOBS && blocker < (wide)k->count;
    permitted = permitted &&
                (blocker < 0 || (!k->preemptive && cut >= 0 && cut < k->tasks[blocker].segments));
    for (task *t = k->tasks; t < k->tasks + k->count; t++) {
        t->segment = t->next = t->end = 0;
        t->left = segment(k, t, 0);
    }
    for (wide n = JOBS; n < size(set) && permitted; n += 3) {
        wide i = number(set, n), nominal = number(set, n + 1), ready = number(set, n + 2);
        task *t = &k->tasks[i < 0 || i >= (wide)k->count ? 0 : i];
        bool again = t->end > 0;
        permitted = i == t - k->tasks && ready >= nominal && ready - nominal <= t->jitter &&
                    ready >= (blocker >= 0) && i != blocker &&
                    !(again && (t->end != n || ready < number(set, n - 1) ||
                                nominal < number(set, n - 2) + t->period));
        t->next = again ? t->next : n;
        t->end = n + 3;
    }
    return that(k, permitted, "the tasks do not permit these jobs");
}

/* The task to run now, NULL: none, and the next arrival. A tie goes against the target. */
static task *choose(const checker *k, const json_t *set, wide now, wide *ret_arrival)
{
    task *best = NULL;
    wide smallest = PAST, target = number(set, number(set, 2));
    *ret_arrival = PAST;
    for (task *t = k->tasks; t < k->tasks + k->count; t++) {
        wide nominal = number(set, t->next + 1), ready = number(set, t->next + 2);
        wide key = k->edf ? nominal + t->deadline : k->fifo ? ready : t - k->tasks;
        if (t->next < t->end && ready > now) {
            *ret_arrival = least(*ret_arrival, ready);
        } else if (t->next < t->end) {
            best = key < smallest || (key == smallest && best - k->tasks == target) ? t : best;
            smallest = least(smallest, key);
        }
    }
    return best;
}

/* The tasks permit the jobs, and simulated, that job has the response; PAST: some job ends late. */
static bool runs(checker *k, const json_t *set, wide response)
{
    wide b = number(set, 0), now = 0, arrival;
    bool holds = permits(k, set, b), found = false;
    now = holds && b >= 0 ? segment(k, &k->tasks[b], number(set, 1)) : 0;
    for (; holds && !found; k->report->points++) {
        task *t = choose(k, set, now, &arrival);
        wide run = t == NULL                                  ? arrival - now
                   : k->preemptive && now + t->left > arrival ? arrival - now
                                                              : t->left;
        holds = spend(k, k->count) &&
                that(k, t != NULL || arrival < PAST, "simulated, these jobs do not end as is said");
        now += run;
        if (t == NULL || (t->left -= run) > 0) {
            continue;
        }
        t->segment = (t->segment + 1) % t->segments;
        t->left = segment(k, t, t->segment);
        if (t->segment == 0) {
            wide took = now - number(set, t->next + 1);
            found = response == PAST ? took > t->deadline
                                     : took == response && t->next == number(set, 2);
            t->next += 3;
        }
    }
    return holds;
}

static bool check_miss(checker *k)
{
    return runs(k, k->miss, PAST);
}

/* What is said about the responses, which under fixed priorities may be the verdict: no job has a
 * larger one, and the jobs given have it; or, as a proof of nothing else, only that they have it.
 */
static bool check_responses(checker *k)
{
    bool levels = !k->edf && !k->fifo, verdict = strcmp(k->proof, "responses") == 0;
    bool reached = strcmp(k->proof, "reached") == 0, holds = levels || k->speaks || reached;
    holds = holds || check_instants(k);
    for (size_t i = 0; i < k->count && holds; i++) {
        const json_t *set = json_array_get(k->reached, i);
        wide response = k->tasks[i].response;
        bool said = response >= 0, met = said && response <= k->tasks[i].deadline;
        holds = that(k, met || !verdict, "task %zu: R is %lld, past D", i, shown(response)) &&
                (!levels || !said || reached || check_level(k, i)) &&
                (size(set) == 0 || (number(set, number(set, 2)) == (wide)i
                                        ? runs(k, set, response)
                                        : that(k, false, "task %zu: the job is of another", i)));
        k->report->responses += said;
        k->report->reached += holds && size(set) > 0;
    }
    return holds && that(k, k->listed == size(k->points), "there are not so many points");
}

#define LEVELS 1
#define EDF 2
#define FIFO 4

/* What each kind of proof speaks about. */
static const struct {
    const char *name, *verdict;
    int policies;
    bool (*check)(checker *k);
} kinds[] = {{"responses", "schedulable", LEVELS, check_responses},
             {"demand", "schedulable", EDF, check_instants},
             {"queue", "schedulable", FIFO, check_instants},
             {"miss", "not-schedulable", LEVELS | EDF | FIFO, check_miss},
             {"overload", "not-schedulable", LEVELS | EDF | FIFO, check_first_tasks},
             {"no-end", "not-schedulable", LEVELS | FIFO, check_first_tasks},
             {"bound", "not-schedulable", FIFO, check_bound},
             {"reached", "none", LEVELS | EDF | FIFO, check_responses}};

static const char *const policies[] = {
    [AEGIS_ANALYSIS_NP_FP] = "np-fp", [AEGIS_ANALYSIS_NP_EDF] = "np-edf",
    [AEGIS_ANALYSIS_FP] = "fp",       [AEGIS_ANALYSIS_EDF] = "edf",
    [AEGIS_ANALYSIS_FPP] = "fpp",     [AEGIS_ANALYSIS_FIFO] = "fifo"};

/* The segments of all, task after task, sum to the C of each. */
static bool read_tasks(checker *k)
{
    wide next = 0, count = (wide)k->count;
    bool right = that(k, size(k->T) == count && size(k->D) == count && size(k->J) == count,
                      "\"T\", \"D\" and \"J\" must be as long as \"C\"");
    for (size_t i = 0; i < k->count && right; i++) {
        task *t = &k->tasks[i];
        t->cost = (int64_t)number(k->C, i);
        t->period = (int64_t)number(k->T, i);
        t->deadline = (int64_t)number(k->D, i);
        t->jitter = (int64_t)number(k->J, i);
        t->response = k->responses == NULL ? -1 : (int64_t)number(k->responses, i);
        t->first = next;
        wide left = k->segments == NULL ? 0 : t->cost;
        for (; left > 0 && next < size(k->segments) && right; left -= t->last) {
            t->last = number(k->segments, next++);
            t->longest = largest(t->longest, t->last);
            right = t->last > 0;
        }
        right =
            right && left == 0 && t->cost > 0 && t->period > 0 && t->deadline > 0 && t->jitter >= 0;
        that(k, right, "task %zu: C, T and D must be 1 at least, J 0, segments sum to C", i);
        t->segments = largest(next - t->first, 1);
        t->last = k->segments == NULL ? t->cost : t->last;
        t->longest = largest(t->longest, t->last);
    }
    return right &&
           that(k, next == size(k->segments), "\"segments\" are more than those of all tasks");
}

static bool check(checker *k, json_t *root, const aegis_allocator *allocator)
{
    json_error_t problem = {.text = ""};
    const char *what = "";
    int version = 0;
    size_t p = 0, n = 0;
    if (json_unpack_ex(root, &problem, JSON_STRICT,
                       "{si ss s?o ss so so so so s?o ss ss s?I s?I s?o s?I s?I s?I s?I s?I s?o "
                       "s?o s?o s?o s?o}",
                       "schema_version", &version, "what", &what, "names", &k->names, "policy",
                       &k->policy, "C", &k->C, "T", &k->T, "D", &k->D, "J", &k->J, "segments",
                       &k->segments, "verdict", &k->verdict, "proof", &k->proof, "horizon",
                       &k->horizon, "instants", &k->instants, "demand", &k->demand, "multiple",
                       &k->multiple, "tasks", &k->first, "task", &k->task, "at", &k->at, "bound",
                       &k->bound, "miss", &k->miss, "response", &k->responses, "reached",
                       &k->reached, "busy", &k->busy, "points", &k->points) != 0 ||
        version != 3 || strcmp(what, "aegisrt-certificate") != 0) {
        return that(k, false, "no certificate of \"schema_version\" 3, let admit write it: %s",
                    problem.text);
    }
    while (p < AEGIS_ARRAY_LENGTH(policies) && strcmp(k->policy, policies[p]) != 0) {
        p++;
    }
    while (n < AEGIS_ARRAY_LENGTH(kinds) && strcmp(k->proof, kinds[n].name) != 0) {
        n++;
    }
    k->edf = p == AEGIS_ANALYSIS_EDF || p == AEGIS_ANALYSIS_NP_EDF;
    k->fifo = p == AEGIS_ANALYSIS_FIFO;
    k->preemptive = p == AEGIS_ANALYSIS_FP || p == AEGIS_ANALYSIS_EDF;
    k->segments = p == AEGIS_ANALYSIS_FPP || p == AEGIS_ANALYSIS_NP_EDF ? k->segments : NULL;
    k->count = json_array_size(k->C);
    int group = k->edf ? EDF : k->fifo ? FIFO : LEVELS;
    if (!that(k, p < AEGIS_ARRAY_LENGTH(policies) && k->count > 0,
              "no known \"policy\", or no \"C\"") ||
        !that(k,
              n < AEGIS_ARRAY_LENGTH(kinds) && (kinds[n].policies & group) != 0 &&
                  strcmp(k->verdict, kinds[n].verdict) == 0,
              "\"%s\" does not prove \"%s\" under %s", k->proof, k->verdict, k->policy)) {
        return false;
    }
    k->speaks = kinds[n].check == check_instants;
    k->tasks = aegis_allocate_zeroed(allocator, k->count, sizeof *k->tasks);
    k->status = k->tasks == NULL ? AEGIS_ERROR_NO_MEMORY : k->status;
    bool holds = k->tasks != NULL && read_tasks(k);
    k->status = holds ? AEGIS_OK : k->status;
    holds = holds && kinds[n].check(k) &&
            (k->responses == NULL || kinds[n].check == check_responses || check_responses(k));
    aegis_deallocate(allocator, k->tasks, k->count, sizeof *k->tasks);
    k->report->policy = (aegis_analysis)p;
    k->report->kind = kinds[n].name;
    k->report->task_count = k->count;
    k->report->schedulable = strcmp(k->verdict, "schedulable") == 0;
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
    checker k = {.report = &report, .left = allowed, .status = AEGIS_ERROR_CONFIG};
    if (root == NULL) {
        return aegis_error_set(err, AEGIS_HERE("schedule.verify"), AEGIS_ERROR_PARSE,
                               "%s:%d:%d: not JSON: %s", origin, problem.line, problem.column,
                               problem.text);
    }
    report.holds = check(&k, root, allocator);
    report.steps = allowed - k.left;
    json_decref(root);
    if (k.status != AEGIS_OK) {
        return aegis_error_set(err, AEGIS_HERE("schedule.verify"), k.status, "%s: %s", origin,
                               k.status == AEGIS_ERROR_NO_MEMORY ? "no memory" : report.statement);
    }
    *ret_report = report;
    return AEGIS_OK;
}
