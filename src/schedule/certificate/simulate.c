/* SPDX-License-Identifier: Apache-2.0 */
/* Job sets of a certificate: that the tasks permit them, and what happens when they run. */
#include "schedule/certificate/checker.h"

/* The tasks permit the jobs: minimum distance, jitter, order; nothing is ready when one blocks.
 * `ret_last` is the last deadline, `ret_total` the work after that instant. */
bool aegis_check_jobs(checker *k,
                      const aegis_certificate_witness *set,
                      wide *ret_last,
                      wide *ret_total)
{
    const aegis_certificate *c = k->c;
    bool permitted = !(set->blocked && k->preemptive);
    *ret_total = set->blocked ? aegis_check_segment(k, set->blocker, set->segment) - 1 : 0;
    *ret_last = -PAST;
    for (size_t i = 0; i < c->count; i++) {
        k->places[i] = (track){.at = 0};
    }
    for (const aegis_certificate_job *job = set->jobs; job < set->jobs + set->count; job++) {
        const aegis_task *task = &c->tasks[job->task];
        track *place = &k->places[job->task];
        wide late = (wide)job->ready - job->nominal, due = (wide)job->nominal + task->deadline;
        bool again = place->next != NULL;
        permitted = permitted && late >= 0 && late <= task->jitter && job->ready >= set->blocked &&
                    !(set->blocked && job->task == set->blocker) &&
                    !(again && (job[-1].task != job->task || job->ready < job[-1].ready ||
                                job->nominal < (wide)job[-1].nominal + task->period));
        place->next = again ? place->next : job;
        place->end = job + 1;
        place->left = aegis_check_segment(k, job->task, 0);
        *ret_total = *ret_total < PAST ? *ret_total + task->execution : PAST;
        *ret_last = due > *ret_last ? due : *ret_last;
    }
    return permitted || aegis_check_refuse(k, "the tasks do not permit these jobs");
}

static wide key_of(const checker *k, size_t i)
{
    const aegis_certificate_job *job = k->places[i].next;
    wide queued = k->c->policy == AEGIS_ANALYSIS_FIFO ? job->ready : (int64_t)i;
    return k->edf ? (wide)job->nominal + k->c->tasks[i].deadline : queued;
}

/* The task to run now (the smaller key), and the next arrival. A tie goes against the target. */
static size_t choose(const checker *k, size_t target, wide now, wide *ret_arrival)
{
    size_t best = SIZE_MAX;
    *ret_arrival = PAST;
    for (size_t i = 0; i < k->c->count; i++) {
        const track *place = &k->places[i];
        if (place->next != place->end && place->next->ready > now) {
            *ret_arrival = place->next->ready < *ret_arrival ? place->next->ready : *ret_arrival;
        } else if (place->next != place->end &&
                   (best == SIZE_MAX || key_of(k, i) < key_of(k, best) ||
                    (best == target && key_of(k, i) == key_of(k, best)))) {
            best = i;
        }
    }
    return best;
}

/* Simulates the jobs until the one that is named ends at `completion`; with `any`, until one that
 * is late ends. */
bool aegis_check_simulate(checker *k,
                          const aegis_certificate_witness *set,
                          bool any,
                          wide completion)
{
    const aegis_task *tasks = k->c->tasks;
    wide now = set->blocked ? aegis_check_segment(k, set->blocker, set->segment) : 0, arrival;
    for (bool found = false; !found; k->report->points++) {
        size_t i = choose(k, set->jobs[set->job].task, now, &arrival);
        track *place = &k->places[i == SIZE_MAX ? 0 : i];
        if (!aegis_check_spend(k, k->c->count) || (i == SIZE_MAX && arrival == PAST)) {
            return aegis_check_refuse(k,
                                      "simulated, these jobs do not end as the certificate says");
        }
        if (i == SIZE_MAX || (k->preemptive && now + place->left > arrival)) {
            place->left -= i == SIZE_MAX ? 0 : (int64_t)(arrival - now);
            now = arrival;
            continue;
        }
        now += place->left;
        place->segment = (place->segment + 1) % aegis_check_segments(k, i);
        place->left = aegis_check_segment(k, i, place->segment);
        bool late = now > (wide)place->next->nominal + tasks[i].deadline;
        bool named = place->next == &set->jobs[set->job] && now == completion;
        found = place->segment == 0 && (any ? late : named);
        place->next += place->segment == 0;
    }
    return true;
}
