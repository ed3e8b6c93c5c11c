/* SPDX-License-Identifier: Apache-2.0 */
/* First in, first out: a job that becomes ready a after the start of a busy period waits for all
 * that became ready before it or at the same instant (ties count against it):
 *   F = max over 0 <= a < L of (sum_j (floor((a + J_j) / T_j) + 1) C_j - a),   R_i = J_i + F,
 * attained when every task releases at kT - J, ready at max(0, kT - J). The expression falls
 * between arrivals, so a = 0 and the arrivals kT - J > 0 suffice. R_i holds for a queue in the
 * order of nominal releases too: a job ready at its nominal release has then no more before it, and
 * one that is ready later has gained what it was late, at most J_i. */
#include "schedule/admission/internal.h"

static void note_worst(const aegis_analysis_run *run, const aegis_scan *scan, int64_t at)
{
    aegis_worst *worst = run->worst;
    if (worst == NULL) {
        return;
    }
    worst->found = true;
    worst->release = (aegis_i128)(at > 0 ? at : 0) - (aegis_i128)run->tasks[worst->task].jitter;
    worst->completion = scan->demand;
    for (size_t j = 0; j < scan->count; j++) {
        worst->jobs[j] = scan->jobs[j];
    }
}

aegis_outcome aegis_fifo_responses(aegis_analysis_run *run, uint64_t *ret_responses)
{
    uint64_t length = 0, longest = 0, present = 0;
    int64_t at = 0;
    aegis_scan scan;
    aegis_level all = {.jitter = false};
    for (size_t i = 0; i < run->count; i++) {
        aegis_level_add(&all, &run->tasks[i]);
    }
    const aegis_busy_level level = {
        .count = run->count, .from = aegis_known_spans(run).length, .cap = UINT64_MAX};
    aegis_outcome outcome = aegis_busy_period_exists(run, &all, 0);
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = aegis_busy_period(run, &level, &length);
    }
    if (outcome != AEGIS_OUTCOME_DONE) {
        return outcome;
    }
    if (run->known != NULL) {
        run->known->spans.length = length;
    }
    outcome = aegis_scan_init(&scan, run, true);
    if (outcome != AEGIS_OUTCOME_DONE) {
        return outcome;
    }
    for (;;) {
        if (!aegis_budget_take(&run->budget)) {
            outcome = AEGIS_OUTCOME_LIMIT;
            break;
        }
        outcome = aegis_scan_next(&scan, &at);
        if (outcome != AEGIS_OUTCOME_DONE || (at > 0 && (uint64_t)at >= length)) {
            break;
        }
        /* An instant before 0 is superseded by the later ones up to 0, all counted at a = 0. */
        present = scan.demand - (uint64_t)(at > 0 ? at : 0);
        if (present > longest) {
            longest = present;
            note_worst(run, &scan, at);
        }
    }
    aegis_scan_finish(&scan);
    if (outcome != AEGIS_OUTCOME_DONE && outcome != AEGIS_OUTCOME_DIVERGES) {
        return outcome;
    }
    for (size_t i = 0; i < run->count; i++) {
        ret_responses[i] = longest + run->tasks[i].jitter;
        if (ret_responses[i] > AEGIS_TICKS_MAX) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
    }
    return AEGIS_OUTCOME_DONE;
}
