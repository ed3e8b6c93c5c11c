/* SPDX-License-Identifier: Apache-2.0 */
/* The checker, all of it but the reading of the file. It trusts neither the certificate nor the
 * analysis: what the certificate says is put into the inequalities below, every instant and job
 * number is enumerated here, and job sets are simulated. Sums are formed in 128 bits and stick at
 * PAST, which is larger than any claim, so that overflow refuses.
 */
#include "schedule/certificate/internal.h"

#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>

__extension__ typedef __int128 wide;
#define LARGEST ((wide)INT64_MAX)
#define PAST ((wide)1 << 64)

typedef struct track {                       /* of a task among the instants, or simulated */
    wide at, jobs, start;                    /* its next one; jobs due now; s of the present one */
    wide left;                               /* of the present segment */
    const aegis_certificate_job *next, *end; /* its jobs that are not done */
    size_t segment;
} track;

typedef struct checker {
    const aegis_certificate *c;
    aegis_certificate_report *report;
    uint64_t left;                      /* steps */
    aegis_status status;                /* when not OK no answer counts */
    bool edf, fifo, preemptive, speaks; /* the instants are the verdict */
    wide sign, multiple, blocked, busy; /* as utilisation and check_due left them */
    track *places;                      /* one a task */
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

static wide least(wide a, wide b)
{
    return a < b ? a : b;
}

static wide largest(wide a, wide b)
{
    return a < b ? b : a;
}

static bool spend(checker *k, uint64_t looks)
{
    k->left -= k->left < looks ? k->left : looks;
    k->status = k->left == 0 ? AEGIS_ERROR_UNDECIDED : k->status;
    return that(k, k->left > 0, "the steps allowed are used up");
}

static long long shown(wide value)
{
    return (long long)least(value, LARGEST);
}

/* sum + jobs * cost for jobs up to 2^64 - 1. */
static wide add(wide sum, wide jobs, int64_t cost)
{
    wide more = jobs * cost;
    return more > LARGEST || sum + more > LARGEST ? PAST : sum + more;
}

/* Of the task as its policy cuts it. */
static size_t segments(const checker *k, size_t i)
{
    bool cuts = k->c->policy == AEGIS_ANALYSIS_FPP || k->c->policy == AEGIS_ANALYSIS_NP_EDF;
    return cuts && k->c->tasks[i].segments != NULL ? k->c->tasks[i].segment_count : 1;
}

static int64_t segment(const checker *k, size_t i, size_t s)
{
    return segments(k, i) > 1 ? k->c->tasks[i].segments[s] : k->c->tasks[i].execution;
}

static wide first_deadline(const checker *k, size_t i)
{
    return (wide)k->c->tasks[i].deadline - k->c->tasks[i].jitter;
}

/* The longest segment of the tasks from `from` on that are not due by t, less one tick: the
 * blocker has started before. */
static wide blocking(const checker *k, size_t from, wide t)
{
    wide longest = 1;
    for (size_t i = from; i < k->c->count && !k->preemptive && !k->fifo; i++) {
        for (size_t s = 0; s < segments(k, i) && first_deadline(k, i) > t; s++) {
            longest = largest(longest, segment(k, i, s));
        }
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
    wide sum = w < 0 ? PAST : f->base;
    for (size_t j = 0; j < f->count && sum < PAST; j++) {
        const aegis_task *task = &k->c->tasks[j];
        wide jobs = (w + task->jitter + task->period - (f->closed ? 0 : 1)) / task->period;
        jobs = f->due ? least(jobs, k->places[j].jobs) : jobs;
        sum = j == f->skip ? sum : add(sum, jobs, task->execution);
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

/* Sign of U - 1 over the first tasks, by U * 2^63 rounded down where that shows U > 1; and the
 * least common multiple of their periods, 0 when it passes 2^125. */
static bool utilisation(checker *k, size_t count)
{
    wide low = 0, sum = 0, one = (wide)1 << 63, multiple = 1;
    for (size_t i = 0; i < count && low <= one; i++) {
        wide period = k->c->tasks[i].period, cost = k->c->tasks[i].execution;
        wide a = multiple, b = period;
        for (wide rest; (rest = a % b) != 0; b = rest) {
            a = b;
        }
        low += cost * one / period;
        multiple = multiple > ((wide)1 << 125) / (period / b) ? 0 : multiple * (period / b);
        sum = low > one || multiple == 0 ? 0 : sum * (period / b) + multiple / period * cost;
    }
    k->sign = low > one ? 1 : (sum > multiple) - (sum < multiple);
    k->multiple = multiple;
    k->status = low > one || multiple > 0 ? k->status : AEGIS_ERROR_UNDECIDED;
    return that(k, k->status == AEGIS_OK, "U is near 1, the periods' lcm passes 125 bits");
}

/* With U = 1 and jitter, ceil(J / T) jobs are there at 0. */
static bool check_first_tasks(checker *k)
{
    const demand all = {.count = k->c->task, .skip = SIZE_MAX};
    bool over = k->c->kind == AEGIS_PROOF_OVERLOAD;
    return utilisation(k, k->c->task) &&
           that(k, over ? k->sign > 0 : k->sign == 0 && work(k, &all, 0) > 0,
                "the first %zu tasks: U - 1 has the sign %d", k->c->task, (int)k->sign);
}

/* Fixed priorities, one fixed point a job: segments differ by what blocks and by their tail, which
 * is 0 when preemptive. */
static bool check_level(checker *k, size_t i)
{
    const aegis_task *task = &k->c->tasks[i];
    const aegis_response_proof *level = &k->c->responses[i];
    demand above = {.count = i, .skip = SIZE_MAX, .closed = !k->preemptive};
    wide w = 0, b = blocking(k, i + 1, -PAST),
         last = k->preemptive ? 0 : segment(k, i, segments(k, i) - 1);
    wide jobs = ((wide)level->busy + task->jitter + task->period - 1) / task->period, q = 0;
    bool holds = that(k, level->blocking == b, "task %zu: B is %lld", i, shown(b)) &&
                 (k->preemptive || ends(k, i + 1, level->busy, b));
    for (bool busy = true; holds && (k->preemptive ? busy : q < jobs); q++) {
        wide release = q * task->period - task->jitter;
        bool listed = q < (wide)level->point_count;
        above.base = add(b - last, q + 1, task->execution);
        w = listed ? level->points[q] : largest(w, above.base);
        holds = settle(k, &above, listed, &w) &&
                that(k, w + last - release <= level->response,
                     "task %zu, job %lld: w = %lld gives a response past R = %lld", i, shown(q),
                     shown(w), shown(level->response));
        k->report->points++;
        busy = w > release + task->period; /* the next job meets work of this one */
    }
    return holds && that(k, (wide)level->point_count <= q,
                         "task %zu: points for more jobs than there are", i);
}

/* The last instant to look at: the horizon, at least every task's first deadline; and for responses
 * the last deadline of a job released before the busy period of all ends, which b = 0 from F on. */
static bool find_end(checker *k, wide *ret_end)
{
    const aegis_certificate *c = k->c;
    wide horizon = k->speaks ? c->horizon : 0, last = -PAST;
    bool said = c->responses != NULL, holds = !said || ends(k, c->count, c->busy, 0);
    *ret_end = said ? largest(horizon, c->busy) : horizon;
    for (size_t i = 0; i < c->count; i++) {
        wide due = said ? (wide)c->busy + c->tasks[i].deadline : first_deadline(k, i);
        *ret_end = k->edf ? largest(*ret_end, due) : *ret_end;
        last = largest(last, first_deadline(k, i));
    }
    if (!k->speaks || c->rule == AEGIS_HORIZON_BUSY) {
        return holds && (!k->speaks || ends(k, c->count, c->horizon, 0));
    }
    return holds && utilisation(k, c->count) &&
           that(k, k->sign <= 0 && k->multiple > 0 && horizon - last >= k->multiple,
                "U > 1, or %lld < largest D - J + lcm of the periods", shown(horizon));
}

/* Adds the work of the events at this instant and gives the next one. */
static wide advance(checker *k, wide now, wide *sum)
{
    wide next = PAST;
    for (size_t i = 0; i < k->c->count; i++) {
        if (k->places[i].at == now) {
            *sum = add(*sum, 1, k->c->tasks[i].execution);
            k->places[i].at += k->c->tasks[i].period;
            k->places[i].jobs++;
        }
        next = least(next, k->places[i].at);
    }
    return next;
}

/* np-edf: no job due now ends later than its R allows. All of them end by L; where that does not
 * say enough, its last segment starts at the least s, when all that is due and there has run. */
static bool check_due(checker *k, wide now, wide b)
{
    demand due = {k->c->count, .skip = SIZE_MAX, .closed = true, .due = true, .base = b};
    for (size_t i = 0; i < k->c->count && b != k->blocked; i++) {
        k->places[i].start = k->busy = 0;
    }
    k->blocked = b;
    bool holds = settle(k, &due, false, &k->busy);
    for (size_t i = 0; i < k->c->count && holds; i++) {
        wide response = k->c->responses[i].response, last = segment(k, i, segments(k, i) - 1);
        wide latest = now - k->c->tasks[i].deadline + response, *s = &k->places[i].start;
        if (response >= 0 && k->places[i].jobs > 0 && k->busy > latest) {
            due.skip = i;
            due.base = add(b - last, k->places[i].jobs, k->c->tasks[i].execution);
            *s = largest(*s, due.base);
            holds = settle(k, &due, false, s) &&
                    that(k, *s + last <= latest,
                         "task %zu: the job due at %lld responds later than %lld", i, shown(now),
                         shown(response));
        }
    }
    return holds;
}

/* EDF: demand and blocking fit at every deadline. FIFO: no arrival waits longer than allowed; one
 * before 0 is seen at 0. And the responses hold. */
static bool check_instants(checker *k)
{
    const aegis_certificate *c = k->c;
    wide end, at = PAST, sum = 0, longest = !k->speaks ? PAST : k->fifo ? c->longest : 0, count = 0;
    bool holds = true;
    for (size_t i = 0; i < c->count && holds; i++) {
        wide first = k->edf ? first_deadline(k, i) : -(wide)c->tasks[i].jitter;
        k->places[i] = (track){.at = first};
        at = least(at, first);
        holds = that(k, !k->fifo || !k->speaks || c->longest <= first_deadline(k, i),
                     "task %zu: J + %lld is past D", i, shown(c->longest));
        if (k->fifo && c->responses != NULL && c->responses[i].response >= 0) {
            longest = least(longest, first + c->responses[i].response);
        }
    }
    holds = holds && find_end(k, &end) && spend(k, c->count);
    for (wide next; holds && at <= end; at = next) {
        next = advance(k, at, &sum);
        wide b = blocking(k, 0, at), total = sum + b;
        wide room = longest + (k->edf || at > 0 ? at : 0);
        bool right = count >= (wide)c->demand_count ||
                     (c->demand[2 * count] == at && c->demand[2 * count + 1] == total);
        holds = that(k, total <= room && right,
                     "at %lld there is work for %lld: too much, or listed wrongly", shown(at),
                     shown(total)) &&
                (k->fifo || c->responses == NULL || check_due(k, at, b)) && spend(k, c->count);
        k->report->points++;
        count++;
    }
    bool listed = c->demand_count == 0 || (wide)c->demand_count == count;
    return holds && that(k, !k->speaks || (count == c->instants && listed),
                         "there are %lld instants", shown(count));
}

/* FIFO with jitter: what the test counts at one instant, although no behaviour may show it. */
static bool check_bound(checker *k)
{
    const demand all = {.count = k->c->count, .skip = SIZE_MAX, .closed = true};
    const aegis_task *task = &k->c->tasks[k->c->task];
    wide bound = work(k, &all, k->c->at) + task->jitter - k->c->at;
    return that(k, bound == k->c->bound && bound > task->deadline,
                "task %zu: the bound at %lld is %lld", k->c->task, shown(k->c->at), shown(bound));
}

/* Minimum distance, jitter, order; nothing is ready when one blocks. Lays the jobs out by task. */
static bool permits(checker *k, const aegis_certificate_witness *set)
{
    bool permitted = !(set->blocked && k->preemptive);
    for (size_t i = 0; i < k->c->count; i++) {
        k->places[i] = (track){.left = segment(k, i, 0)};
    }
    for (const aegis_certificate_job *job = set->jobs; job < set->jobs + set->count; job++) {
        const aegis_task *task = &k->c->tasks[job->task];
        track *place = &k->places[job->task];
        wide late = (wide)job->ready - job->nominal;
        bool again = place->next != NULL;
        permitted = permitted && late >= 0 && late <= task->jitter && job->ready >= set->blocked &&
                    !(set->blocked && job->task == set->blocker) &&
                    !(again && (job[-1].task != job->task || job->ready < job[-1].ready ||
                                job->nominal < (wide)job[-1].nominal + task->period));
        place->next = again ? place->next : job;
        place->end = job + 1;
    }
    return that(k, permitted, "the tasks do not permit these jobs");
}

/* The task to run now, and the next arrival. A tie goes against the target. */
static size_t choose(const checker *k, size_t target, wide now, wide *ret_arrival)
{
    size_t best = SIZE_MAX;
    wide smallest = PAST;
    *ret_arrival = PAST;
    for (size_t i = 0; i < k->c->count; i++) {
        const aegis_certificate_job *job = k->places[i].next;
        if (job != k->places[i].end && job->ready > now) {
            *ret_arrival = least(*ret_arrival, job->ready);
        } else if (job != k->places[i].end) {
            wide due = (wide)job->nominal + k->c->tasks[i].deadline;
            wide key = k->edf ? due : k->fifo ? job->ready : (wide)i;
            best = key < smallest || (best == target && key == smallest) ? i : best;
            smallest = least(smallest, key);
        }
    }
    return best;
}

/* The tasks permit the jobs, and simulated, job `set->job` ends at `completion`; PAST: some job
 * ends late. */
static bool runs(checker *k, const aegis_certificate_witness *set, wide completion)
{
    wide now = set->blocked ? segment(k, set->blocker, set->segment) : 0, arrival;
    bool holds = permits(k, set);
    for (bool found = false; holds && !found; k->report->points++) {
        size_t i = choose(k, set->jobs[set->job].task, now, &arrival);
        track *place = &k->places[i == SIZE_MAX ? 0 : i];
        holds = spend(k, k->c->count) &&
                that(k, i != SIZE_MAX || arrival < PAST,
                     "simulated, these jobs do not end as the certificate says");
        if (i == SIZE_MAX || (k->preemptive && now + place->left > arrival)) {
            place->left -= i == SIZE_MAX ? 0 : arrival - now;
            now = arrival;
            continue;
        }
        now += place->left;
        place->segment = (place->segment + 1) % segments(k, i);
        place->left = segment(k, i, place->segment);
        if (place->segment == 0) {
            const aegis_certificate_job *job = place->next++;
            wide due = (wide)job->nominal + k->c->tasks[i].deadline;
            bool named = job == &set->jobs[set->job] && now == completion;
            found = completion < PAST ? named : now > due;
        }
    }
    return holds;
}

static bool check_miss(checker *k)
{
    const aegis_certificate *c = k->c;
    const aegis_certificate_witness *set = &c->miss;
    const aegis_certificate_job *job = &set->jobs[set->job];
    bool misses = k->edf || c->completion > (wide)job->nominal + c->tasks[job->task].deadline;
    wide total = set->blocked ? segment(k, set->blocker, set->segment) - 1 : 0;
    for (size_t n = 0; n < set->count && k->edf; n++) {
        const aegis_task *task = &c->tasks[set->jobs[n].task];
        wide due = (wide)set->jobs[n].nominal + task->deadline;
        misses = misses && due <= (wide)c->instant + set->blocked;
        total = add(total, 1, task->execution);
    }
    return that(k, misses && (!k->edf || (total == c->total && total > c->instant)),
                "these jobs are in time, or they sum to %lld", shown(total)) &&
           runs(k, set, k->edf ? PAST : c->completion);
}

static bool check_reached(checker *k, size_t i)
{
    const aegis_response_proof *proof = &k->c->responses[i];
    const aegis_certificate_job *job = &proof->reached.jobs[proof->reached.job];
    return that(k, job->task == i, "task %zu: the job is of another", i) &&
           runs(k, &proof->reached, (wide)job->nominal + proof->response);
}

/* What is said about the responses, which under fixed priorities may be the verdict: no job has a
 * larger one, and the jobs given have it. */
static bool check_responses(checker *k)
{
    const aegis_certificate *c = k->c;
    bool levels = !k->edf && !k->fifo, holds = levels || k->speaks || check_instants(k);
    for (size_t i = 0; i < c->count && holds; i++) {
        const aegis_response_proof *proof = &c->responses[i];
        bool said = proof->response >= 0, met = said && proof->response <= c->tasks[i].deadline;
        holds = that(k, met || c->kind != AEGIS_PROOF_RESPONSES, "task %zu: R is %lld, past D", i,
                     shown(proof->response)) &&
                (!levels || !said || check_level(k, i)) &&
                (proof->reached.count == 0 || check_reached(k, i));
        k->report->responses += said;
        k->report->reached += holds && proof->reached.count > 0;
    }
    return holds;
}

static bool check_all(checker *k)
{
    static bool (*const checks[])(checker *) = {
        [AEGIS_PROOF_RESPONSES] = check_responses,  [AEGIS_PROOF_DEMAND] = check_instants,
        [AEGIS_PROOF_QUEUE] = check_instants,       [AEGIS_PROOF_MISS] = check_miss,
        [AEGIS_PROOF_OVERLOAD] = check_first_tasks, [AEGIS_PROOF_NO_END] = check_first_tasks,
        [AEGIS_PROOF_BOUND] = check_bound};
    bool more = k->c->responses != NULL && k->c->kind != AEGIS_PROOF_RESPONSES;
    return checks[k->c->kind](k) && (!more || check_responses(k));
}

aegis_status aegis_certificate_check(const aegis_certificate *c,
                                     size_t reached,
                                     uint64_t steps,
                                     const aegis_allocator *allocator,
                                     aegis_certificate_report *ret_report,
                                     aegis_error *err)
{
    const aegis_analysis policy = c->policy;
    aegis_certificate_report report = {.policy = policy, .statement = "no memory"};
    checker k = {.c = c,
                 .report = &report,
                 .left = steps,
                 .edf = policy == AEGIS_ANALYSIS_EDF || policy == AEGIS_ANALYSIS_NP_EDF,
                 .fifo = policy == AEGIS_ANALYSIS_FIFO,
                 .speaks = c->kind == AEGIS_PROOF_DEMAND || c->kind == AEGIS_PROOF_QUEUE,
                 .preemptive = policy == AEGIS_ANALYSIS_EDF || policy == AEGIS_ANALYSIS_FP};
    k.places = aegis_allocate_zeroed(allocator, c->count, sizeof *k.places);
    k.status = k.places == NULL ? AEGIS_ERROR_NO_MEMORY : AEGIS_OK;
    report.holds =
        k.places != NULL && (reached == SIZE_MAX ? check_all(&k) : check_reached(&k, reached));
    report.steps = steps - k.left;
    aegis_deallocate(allocator, k.places, c->count, sizeof *k.places);
    if (k.status != AEGIS_OK) {
        return aegis_error_set(err, AEGIS_HERE("schedule.verify"), k.status, "not settled: %s",
                               report.statement);
    }
    *ret_report = report;
    return AEGIS_OK;
}
