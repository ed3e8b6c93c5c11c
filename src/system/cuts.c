/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which model is cut where. Measured times of operators are advice only: a choice is opened and
 * its segments are measured, and the admission goes by those. When it refuses, the expectation is
 * corrected by what was measured and the choice is made anew, a bounded number of times.
 */
#include "system/internal.h"

#include <stdio.h>
#include <string.h>

#define MOST_ROUNDS 32u
#define MOST_TRIES 6u
/* Of one model, over all admissions: each measures for seconds. */
#define MOST_MEASURED 12u
#define NO_FURTHER UINT32_MAX
#define PPM UINT32_C(1000000)
#define LARGEST_SCALE_PPM (8 * PPM)
/* At least so much longer is expected after a segment was longer than expected. */
#define LEAST_STEP_PPM 20000u

const aegis_workload_cuts *aegis_system_wanted_cuts(const aegis_system *system, size_t index)
{
    /* Paged and streamed models have CUTS_NONE of their own, whatever is asked of all. */
    bool own = system->workload->models[index].config.residency != AEGIS_RESIDENT;
    return system->options.cuts != NULL && !own ? system->options.cuts
                                                : &system->workload->models[index].cuts;
}

static bool is_auto(const aegis_system *system, size_t index)
{
    return aegis_system_wanted_cuts(system, index)->mode == AEGIS_CUTS_AUTO;
}

/* ---- expectation ---- */

static aegis_cut_problem problem_of(const aegis_system *system, size_t index)
{
    const aegis_system_entry *entry = &system->entries[index];
    const aegis_profile *whole = &entry->whole;
    uint64_t scale = entry->scale_ppm > 0 ? entry->scale_ppm : PPM;
    bool aborts = system->workload->models[index].overrun == AEGIS_OVERRUN_ABORT;
    return (aegis_cut_problem){
        .candidates = entry->candidates,
        .candidate_count = entry->candidate_count,
        .elapsed_ns = entry->elapsed_ns,
        .bound_ns = (uint64_t)((double)whole->bound_ns * (double)scale / PPM),
        .stretch_ns = aborts ? whole->stretch_ns : 0,
        .overhead_ns = aegis_scheduler_overhead_bound_ns(system->scheduler) + entry->excess_ns};
}

/* The index of a candidate; `candidate_count` when there is none at this position. */
static size_t find_position(const aegis_system_entry *entry, uint32_t position)
{
    size_t at = 0;
    while (at < entry->candidate_count && entry->candidates[at].position != position) {
        at++;
    }
    return at;
}

/* Candidates [first, last), timed in a segment that was thought to begin at `from_ns` and to take
 * `span_ns`, when it begins at `base_ns` and takes `median_ns`. */
static void stretch(aegis_cut_candidate *first,
                    const aegis_cut_candidate *last,
                    uint64_t from_ns,
                    uint64_t span_ns,
                    uint64_t base_ns,
                    uint64_t median_ns)
{
    for (; first < last; first++) {
        uint64_t in = first->elapsed_ns > from_ns ? first->elapsed_ns - from_ns : 0;
        double share = span_ns > 0 ? (double)in / (double)span_ns : 0;
        first->elapsed_ns = base_ns + (uint64_t)((share < 1 ? share : 1) * (double)median_ns);
    }
}

/* Operators were timed in one go, at another moment, and what comes after the last candidate not
 * at all: measured segments say better how far a run is at each candidate. */
static void refit(aegis_system_entry *entry, const aegis_system_trial *trial)
{
    size_t at = 0;
    uint64_t from = 0, base = 0;
    for (uint32_t k = 0; k <= trial->cut_count; k++) {
        bool final = k == trial->cut_count;
        size_t end = final ? entry->candidate_count : find_position(entry, trial->cuts[k]);
        if (!final && end == entry->candidate_count) {
            return;
        }
        uint64_t to = final ? entry->elapsed_ns : entry->candidates[end].elapsed_ns;
        uint64_t median = aegis_profile_segment_at(&trial->profile, k).series.median_ns;
        stretch(entry->candidates + at, entry->candidates + end, from, to > from ? to - from : 0,
                base, median);
        base += median;
        from = to;
        if (!final) {
            entry->candidates[end].elapsed_ns = base;
        }
        at = end + 1;
    }
    entry->elapsed_ns = base > 0 ? base : 1;
}

/* A segment that turned out longer than expected: most of that is the same for every segment (it
 * begins with cold caches, its bound is a high quantile of its own), so that it is added to each.
 * When that would eat more than half of the tolerance, the operators' share is scaled instead. */
static void learn(aegis_system *system, size_t index, const aegis_system_trial *trial)
{
    aegis_system_entry *entry = &system->entries[index];
    uint64_t measured = aegis_system_longest_ns(system, index, &trial->profile);
    if (measured <= trial->tolerance_ns) {
        return;
    }
    refit(entry, trial);
    if (trial->expected_ns == 0) { /* not chosen by expectation */
        return;
    }
    if (measured > trial->expected_ns &&
        entry->excess_ns + (measured - trial->expected_ns) < trial->tolerance_ns / 2) {
        entry->excess_ns += measured - trial->expected_ns;
        return;
    }
    double scale = entry->scale_ppm > 0 ? entry->scale_ppm : PPM, least = scale + LEAST_STEP_PPM;
    scale *= (double)measured / (double)trial->expected_ns;
    scale = scale < least ? least : scale;
    entry->scale_ppm = scale > LARGEST_SCALE_PPM ? LARGEST_SCALE_PPM : (uint32_t)scale;
}

/* ---- as told ---- */

static void positions_of(const aegis_system_entry *entry,
                         const size_t *chosen,
                         size_t count,
                         uint32_t *ret_positions)
{
    for (size_t i = 0; i < count; i++) {
        ret_positions[i] = entry->candidates[chosen[i]].position;
    }
}

static aegis_status choose_even(aegis_system *system,
                                size_t index,
                                uint32_t segments,
                                uint32_t *ret_positions,
                                size_t *ret_count,
                                aegis_error *err)
{
    size_t chosen[AEGIS_MAX_SEGMENTS];
    aegis_cut_choice choice;
    aegis_cut_problem problem = problem_of(system, index);
    aegis_status status =
        aegis_cuts_even(&problem, segments, &system->allocator, chosen, &choice, err);
    if (status == AEGIS_OK) {
        positions_of(&system->entries[index], chosen, choice.count, ret_positions);
        *ret_count = choice.count;
    }
    return status;
}

aegis_status aegis_system_cut_as_told(aegis_system *system, size_t index, aegis_error *err)
{
    const aegis_workload_cuts *wanted = aegis_system_wanted_cuts(system, index);
    uint32_t positions[AEGIS_MAX_SEGMENTS] = {0};
    size_t count = wanted->position_count;
    aegis_system_trial *trial = NULL;
    bool told =
        wanted->mode == AEGIS_CUTS_AT || (wanted->mode == AEGIS_CUTS_EVEN && wanted->segments > 1);
    if (!told) {
        return AEGIS_OK;
    }
    aegis_status status = aegis_system_find_candidates(system, index, err);
    if (status == AEGIS_ERROR_UNSUPPORTED && wanted->mode == AEGIS_CUTS_EVEN) {
        return AEGIS_OK; /* "all into N" leaves those whole that cannot be cut */
    }
    if (status == AEGIS_OK && wanted->mode == AEGIS_CUTS_EVEN) {
        status = choose_even(system, index, wanted->segments, positions, &count, err);
    } else if (status == AEGIS_OK) {
        memcpy(positions, wanted->positions, count * sizeof *positions);
    }
    if (status == AEGIS_OK && count > 0) {
        status = aegis_system_trial_run(system, index, positions, count, &trial, err);
    }
    if (trial != NULL) {
        aegis_system_trial_adopt(system, index, trial);
    }
    return status;
}

/* ---- where the deadlines need it ---- */

static aegis_status cutting_init(aegis_system *system, aegis_system_cutting *c, aegis_error *err)
{
    size_t count = system->workload->model_count;
    /* The scheduler has room for 16 models at least. */
    size_t room = (count < 16 ? 16 : count) + 1;
    c->trials = aegis_allocate_zeroed(&system->allocator, count, sizeof *c->trials);
    c->tries = aegis_allocate_zeroed(&system->allocator, count, sizeof *c->tries);
    c->changes = aegis_allocate_zeroed(&system->allocator, count, sizeof *c->changes);
    c->advice = aegis_allocate_zeroed(&system->allocator, room, sizeof *c->advice);
    if (c->trials == NULL || c->tries == NULL || c->changes == NULL || c->advice == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to look for cuts");
    }
    return AEGIS_OK;
}

static void drop_trials(const aegis_system *system, aegis_system_cutting *c)
{
    for (size_t i = 0; c->trials != NULL && i < system->workload->model_count; i++) {
        aegis_system_trial_free(system, c->trials[i]);
        c->trials[i] = NULL;
    }
}

void aegis_system_cutting_finish(const aegis_system *system, aegis_system_cutting *c)
{
    size_t count = system->workload->model_count, room = (count < 16 ? 16 : count) + 1;
    drop_trials(system, c);
    aegis_deallocate(&system->allocator, c->trials, count, sizeof *c->trials);
    aegis_deallocate(&system->allocator, c->tries, count, sizeof *c->tries);
    aegis_deallocate(&system->allocator, c->changes, count, sizeof *c->changes);
    aegis_deallocate(&system->allocator, c->advice, room, sizeof *c->advice);
}

aegis_status
aegis_system_cutting_adopt(aegis_system *system, aegis_system_cutting *c, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; c->trials != NULL && i < system->workload->model_count; i++) {
        if (c->trials[i] != NULL && status == AEGIS_OK) {
            status = aegis_system_remember_cuts(system, i, c->trials[i]->cuts,
                                                c->trials[i]->cut_count, err);
        }
        if (c->trials[i] != NULL) {
            system->models[i].cuts.tries += c->tries[i] == NO_FURTHER ? MOST_TRIES : c->tries[i];
            aegis_system_trial_adopt(system, i, c->trials[i]);
            c->trials[i] = NULL;
        }
    }
    return status;
}

/* The request as it would be with the trials so far. */
static void apply(const aegis_system *system,
                  size_t index,
                  aegis_system_cutting *c,
                  aegis_admission_request *request)
{
    request->changes = c->changes;
    request->change_count = 0;
    request->profile = &system->models[index].profile;
    for (size_t i = 0; i < system->workload->model_count; i++) {
        if (c->trials[i] != NULL && i == index) {
            request->profile = &c->trials[i]->profile;
        } else if (c->trials[i] != NULL) {
            c->changes[request->change_count++] =
                (aegis_admission_change){.model = (uint32_t)i, .profile = &c->trials[i]->profile};
        }
    }
}

/* The model whose segments are too long for the others: first the one that the refusal names, then
 * the one that is longest beyond what is tolerated. */
static const aegis_cut_advice *
pick(const aegis_system *system, const aegis_system_cutting *c, size_t count, uint32_t blocker)
{
    const aegis_cut_advice *best = NULL;
    double worst = 1;
    for (size_t i = 0; i < count; i++) {
        const aegis_cut_advice *one = &c->advice[i];
        if (one->model >= system->workload->model_count || !is_auto(system, one->model) ||
            c->tries[one->model] == NO_FURTHER || one->tolerance_ns == 0 ||
            one->longest_ns <= one->tolerance_ns) {
            continue;
        }
        if (one->model == blocker) {
            return one;
        }
        double excess = (double)one->longest_ns / (double)one->tolerance_ns;
        if (excess > worst) {
            worst = excess;
            best = one;
        }
    }
    return best;
}

static bool same_cuts(const aegis_system_entry *entry,
                      const aegis_system_trial *trial,
                      const uint32_t *positions,
                      size_t count)
{
    const uint32_t *now = trial != NULL ? trial->cuts : entry->cuts;
    size_t now_count = trial != NULL ? trial->cut_count : entry->cut_count;
    return count == now_count && memcmp(now, positions, count * sizeof *now) == 0;
}

static uint32_t enlarged(uint32_t scale_ppm)
{
    uint32_t scale = scale_ppm > 0 ? scale_ppm : PPM;
    return scale + scale / 8 > LARGEST_SCALE_PPM ? LARGEST_SCALE_PPM : scale + scale / 8;
}

/* Where to cut next; `ret_choice->count` is 0 when there is nothing new. A search begins with what
 * was found last time: its segments are measured already. */
static aegis_status next_cuts(aegis_system *system,
                              const aegis_system_cutting *c,
                              const aegis_cut_advice *advice,
                              uint32_t *ret_positions,
                              aegis_cut_choice *ret_choice,
                              aegis_error *err)
{
    size_t index = advice->model, chosen[AEGIS_MAX_SEGMENTS];
    aegis_system_entry *entry = &system->entries[index];
    *ret_choice = (aegis_cut_choice){0};
    if (c->tries[index] == 0 &&
        aegis_system_recall_cuts(system, index, ret_positions, &ret_choice->count) &&
        !same_cuts(entry, c->trials[index], ret_positions, ret_choice->count)) {
        return AEGIS_OK;
    }
    bool same = true;
    while (same && entry->scale_ppm < LARGEST_SCALE_PPM) {
        aegis_cut_problem problem = problem_of(system, index);
        aegis_status status =
            aegis_cuts_choose(&problem, advice->tolerance_ns, AEGIS_MAX_SEGMENTS - 1,
                              &system->allocator, chosen, ret_choice, err);
        if (status != AEGIS_OK) {
            return status;
        }
        positions_of(entry, chosen, ret_choice->count, ret_positions);
        same = same_cuts(entry, c->trials[index], ret_positions, ret_choice->count);
        if (same) { /* what was too long is expected to be longer until that changes something */
            entry->scale_ppm = enlarged(entry->scale_ppm);
        }
    }
    ret_choice->count = same ? 0 : ret_choice->count;
    return AEGIS_OK;
}

/* One more choice for one model, opened and measured. */
static aegis_status try_cuts(aegis_system *system,
                             aegis_system_cutting *c,
                             const aegis_cut_advice *advice,
                             aegis_error *err)
{
    size_t index = advice->model;
    uint32_t positions[AEGIS_MAX_SEGMENTS];
    aegis_system_entry *entry = &system->entries[index];
    aegis_system_trial *trial = NULL;
    aegis_cut_choice choice;
    aegis_status status = next_cuts(system, c, advice, positions, &choice, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (choice.count == 0 || entry->measured >= MOST_MEASURED) {
        c->tries[index] = NO_FURTHER;
        return AEGIS_OK;
    }
    aegis_system_report(system, "cutting", system->models[index].name, c->tries[index], MOST_TRIES);
    status = aegis_system_trial_run(system, index, positions, choice.count, &trial, err);
    if (status != AEGIS_OK) {
        return status;
    }
    entry->measured += !trial->from_cache;
    trial->expected_ns = choice.longest_ns;
    trial->tolerance_ns = advice->tolerance_ns;
    trial->limited_by = advice->limited_by;
    learn(system, index, trial);
    aegis_system_trial_free(system, c->trials[index]);
    c->trials[index] = trial;
    c->tries[index] = c->tries[index] + 1 >= MOST_TRIES ? NO_FURTHER : c->tries[index] + 1;
    return AEGIS_OK;
}

static aegis_status cut_model(aegis_system *system,
                              aegis_system_cutting *c,
                              const aegis_cut_advice *advice,
                              aegis_error *err)
{
    aegis_status status = aegis_system_find_candidates(system, advice->model, err);
    if (status == AEGIS_OK) {
        status = try_cuts(system, c, advice, err);
    }
    /* It cannot be cut, or what crosses the cuts is too much for the model's limit. */
    if (status == AEGIS_ERROR_UNSUPPORTED || status == AEGIS_ERROR_BUDGET_EXCEEDED) {
        c->tries[advice->model] = NO_FURTHER;
        status = AEGIS_OK;
    }
    return status;
}

/* What a refusal says beside its reason. */
static void note_trials(const aegis_system *system, aegis_system_cutting *c)
{
    size_t at = 0;
    for (size_t i = 0; i < system->workload->model_count && at < sizeof c->note; i++) {
        const aegis_system_trial *trial = c->trials[i];
        char a[32], b[32];
        if (trial != NULL) {
            at += (size_t)snprintf(
                c->note + at, sizeof c->note - at,
                "%s%.48s cut into %zu segments (longest %s; the "
                "others bear %s)",
                at == 0 ? "; so it is even with " : ", ", system->models[i].name,
                trial->cut_count + 1,
                aegis_format_duration((int64_t)aegis_system_longest_ns(system, i, &trial->profile),
                                      a, sizeof a),
                aegis_format_duration((int64_t)trial->tolerance_ns, b, sizeof b));
        }
    }
}

static bool can_help(const aegis_admission_answer *answer)
{
    return answer->rationale == AEGIS_WHY_DEMAND || answer->rationale == AEGIS_WHY_RESPONSE;
}

/* Cuts until the request would be admitted (true in `ret_fits`) or nothing is left to cut. */
static aegis_status search(aegis_system *system,
                           size_t index,
                           aegis_admission_request *request,
                           aegis_system_cutting *c,
                           bool *ret_fits,
                           aegis_error *err)
{
    const char *name = system->models[index].name;
    for (uint32_t round = 0; round < MOST_ROUNDS; round++) {
        aegis_admission_answer answer;
        size_t count = 0;
        apply(system, index, c, request);
        aegis_status status =
            aegis_scheduler_analyse(system->scheduler, name, request, &answer, err);
        *ret_fits = status == AEGIS_OK && answer.admitted;
        if (status != AEGIS_OK || *ret_fits || !can_help(&answer)) {
            return status;
        }
        status = aegis_scheduler_cut_advice(system->scheduler, name, (uint32_t)index, request,
                                            answer.lane, c->advice, &count, err);
        if (status == AEGIS_ERROR_UNDECIDED) {
            return AEGIS_OK; /* so near to full that cuts are no help either */
        }
        if (status != AEGIS_OK) {
            return status;
        }
        /* The scheduler knows the new model by a number of its own. */
        uint32_t blocker =
            answer.blocker < system->workload->model_count ? answer.blocker : (uint32_t)index;
        const aegis_cut_advice *target = pick(system, c, count, blocker);
        if (target == NULL) {
            return AEGIS_OK;
        }
        status = cut_model(system, c, target, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

static bool any_auto(const aegis_system *system)
{
    bool any = false;
    for (size_t i = 0; i < system->workload->model_count; i++) {
        any = any || is_auto(system, i);
    }
    return any;
}

aegis_status aegis_system_cutting_find(aegis_system *system,
                                       size_t index,
                                       aegis_admission_request *request,
                                       aegis_system_cutting *ret_cutting,
                                       aegis_error *err)
{
    const aegis_admission_request given = *request;
    bool fits = false;
    if (!any_auto(system)) {
        return AEGIS_OK;
    }
    aegis_status status = cutting_init(system, ret_cutting, err);
    if (status == AEGIS_OK) {
        status = search(system, index, request, ret_cutting, &fits, err);
    }
    if (status == AEGIS_OK && !fits) {
        note_trials(system, ret_cutting);
        drop_trials(system, ret_cutting);
        *request = given;
    }
    return status;
}
