/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_ADMISSION_LANE_H
#define AEGIS_TEST_ADMISSION_LANE_H

/* A lane in virtual time, from event to event: each task releases periodically from a first nominal
 * instant on, the jobs ready as early as their jitter and the start of the pattern allow. It knows
 * the policies' rules of choice and nothing of the analysis. */

#include "admission_tasks.h"

#define NEVER INT64_MAX

typedef struct lane_pattern {
    const small_set *set;
    aegis_analysis policy;
    int victim;                /* loses every tie */
    int blocker;               /* releases one job, ready at 0; -1: nobody */
    int64_t start;             /* nothing but the blocker is ready before */
    int64_t first[MAX_TASKS];  /* first nominal release; NEVER: none */
    int64_t latest[MAX_TASKS]; /* no nominal release after it */
    int64_t watched;           /* ends when the victim's job of this nominal release is done */
} lane_pattern;

typedef struct lane_result {
    int64_t worst[MAX_TASKS]; /* 0: no job completed */
    bool missed;
} lane_result;

typedef struct lane_state {
    int64_t head[MAX_TASKS], left[MAX_TASKS]; /* the oldest unfinished job of each task */
    size_t segment[MAX_TASKS];
    int64_t now;
} lane_state;

static inline int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline bool runs_cut(aegis_analysis policy)
{
    return policy == AEGIS_ANALYSIS_FPP || policy == AEGIS_ANALYSIS_NP_EDF;
}

static inline bool runs_preemptively(aegis_analysis policy)
{
    return policy == AEGIS_ANALYSIS_FP || policy == AEGIS_ANALYSIS_EDF;
}

static inline size_t lane_segments(const lane_pattern *p, int i)
{
    const aegis_task *task = &p->set->tasks[i];
    return runs_cut(p->policy) && task->segments != NULL ? task->segment_count : 1;
}

static inline int64_t lane_segment(const lane_pattern *p, int i, size_t k)
{
    const aegis_task *task = &p->set->tasks[i];
    return lane_segments(p, i) > 1 ? task->segments[k] : task->execution;
}

static inline int64_t lane_largest(const lane_pattern *p, int i)
{
    int64_t largest = 0;
    for (size_t k = 0; k < lane_segments(p, i); k++) {
        largest = larger(largest, lane_segment(p, i, k));
    }
    return largest;
}

/* What of a job runs before its largest segment. */
static inline int64_t lane_before_largest(const lane_pattern *p, int i)
{
    int64_t before = 0;
    for (size_t k = 0; lane_segment(p, i, k) != lane_largest(p, i); k++) {
        before += lane_segment(p, i, k);
    }
    return before;
}

static inline int64_t lane_ready(const lane_pattern *p, const lane_state *s, int i)
{
    return i == p->blocker || s->head[i] == NEVER ? s->head[i] : larger(p->start, s->head[i]);
}

static inline int64_t lane_key(const lane_pattern *p, const lane_state *s, int i)
{
    switch (p->policy) {
    case AEGIS_ANALYSIS_NP_EDF:
    case AEGIS_ANALYSIS_EDF:
        return 2 * (s->head[i] + p->set->tasks[i].deadline) + (i == p->victim);
    case AEGIS_ANALYSIS_FIFO:
        return 2 * lane_ready(p, s, i) + (i == p->victim);
    case AEGIS_ANALYSIS_NP_FP:
    case AEGIS_ANALYSIS_FP:
    case AEGIS_ANALYSIS_FPP:
        break;
    }
    return i;
}

/* The ready task to run, or -1; and the next instant at which another job becomes ready. */
static inline int lane_choose(const lane_pattern *p, const lane_state *s, int64_t *ret_next)
{
    int best = -1;
    int64_t best_key = 0;
    *ret_next = NEVER;
    for (int i = 0; i < p->set->count; i++) {
        int64_t ready = lane_ready(p, s, i);
        if (ready > s->now) {
            *ret_next = ready < *ret_next ? ready : *ret_next;
            continue;
        }
        int64_t key = lane_key(p, s, i);
        if (best < 0 || key < best_key) {
            best = i;
            best_key = key;
        }
    }
    return best;
}

/* The chosen job's present piece: a segment, or up to the next arrival where it may be preempted.
 * True when the job is done. */
static inline bool lane_run_piece(const lane_pattern *p, lane_state *s, int i, int64_t next)
{
    int64_t piece = lane_segment(p, i, s->segment[i]);
    if (runs_preemptively(p->policy)) {
        piece = next != NEVER && next - s->now < s->left[i] ? next - s->now : s->left[i];
    }
    s->now += piece;
    s->left[i] -= piece;
    s->segment[i] += !runs_preemptively(p->policy);
    return s->left[i] == 0;
}

/* Runs until nothing is left to do, the lane idles after the start, the watched job is done, or the
 * horizon. */
static inline lane_result lane_run(const lane_pattern *p, int64_t horizon)
{
    lane_result result = {.missed = false};
    lane_state s = {.now = 0};
    for (int i = 0; i < p->set->count; i++) {
        s.head[i] = p->first[i];
        s.left[i] = p->set->tasks[i].execution;
    }
    bool began = false;
    while (s.now <= horizon) {
        int64_t next;
        int i = lane_choose(p, &s, &next);
        if (i < 0 && (next == NEVER || (began && s.now >= p->start))) {
            break;
        }
        if (i < 0) {
            s.now = next;
            continue;
        }
        began = began || s.now >= p->start;
        if (!lane_run_piece(p, &s, i, next)) {
            continue;
        }
        const aegis_task *task = &p->set->tasks[i];
        int64_t nominal = s.head[i], response = s.now - nominal;
        result.worst[i] = larger(result.worst[i], response);
        result.missed = result.missed || response > task->deadline;
        if (i == p->victim && nominal == p->watched) {
            break;
        }
        s.head[i] = nominal + task->period <= p->latest[i] ? nominal + task->period : NEVER;
        s.left[i] = task->execution;
        s.segment[i] = 0;
    }
    return result;
}

#endif
