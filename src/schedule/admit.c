/* SPDX-License-Identifier: Apache-2.0 */
/* Admission into a scheduler: from a request to a proved lane and bound, or a refusal that says
 * why and what would fit (refusal.c has the words). */
#include "schedule/driver/internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "schedule.admit"

/* C^E of theory: what a lane may be occupied for. An aborted model adds the longest stretch that
 * cannot be ended; one that is only reported or skipped is taken at its word. */
uint64_t aegis_admit_segment_ns(const aegis_scheduler *scheduler,
                                const aegis_admission_request *request,
                                const aegis_profile *profile,
                                uint32_t segment)
{
    aegis_profile_segment one = aegis_profile_segment_at(profile, segment);
    uint64_t stretch = request->overrun == AEGIS_OVERRUN_ABORT ? one.stretch_ns : 0;
    return aegis_add_saturating(aegis_add_saturating(one.bound_ns, stretch),
                                scheduler->config.overhead_bound_ns);
}

uint64_t aegis_admit_enforceable_ns(const aegis_scheduler *scheduler,
                                    const aegis_admission_request *request)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < aegis_profile_segments(request->profile); i++) {
        sum = aegis_add_saturating(sum,
                                   aegis_admit_segment_ns(scheduler, request, request->profile, i));
    }
    return sum;
}

/* K of the link's test: like C^E of a segment, with the decision that may follow on the thread of
 * the copies before it begins the next one. */
static int64_t copy_ns(const aegis_scheduler *scheduler, const aegis_admission_request *request)
{
    return request->early_copies
               ? (int64_t)(request->profile->copy_bound_ns + scheduler->config.overhead_bound_ns)
               : 0;
}

static aegis_candidate candidate_of(const aegis_scheduler *scheduler,
                                    uint32_t id,
                                    const char *name,
                                    const aegis_admission_request *request)
{
    return (aegis_candidate){.id = id,
                             .name = name,
                             .policy = {.model = id,
                                        .period_ns = request->period_ns,
                                        .deadline_ns = request->deadline_ns,
                                        .priority = request->priority,
                                        .bound_ns = request->profile->bound_ns},
                             .enforceable_ns = aegis_admit_enforceable_ns(scheduler, request),
                             .jitter_ns = scheduler->config.wake_bound_ns + request->jitter_ns,
                             .copy_ns = copy_ns(scheduler, request),
                             .pinned = request->lane,
                             .background = request->background};
}

/* A candidate with its segments; whole models have none of their own. */
static void add_candidate(const aegis_scheduler *scheduler,
                          uint32_t id,
                          const char *name,
                          const aegis_admission_request *request,
                          aegis_candidate_set *set)
{
    uint32_t segments = aegis_profile_segments(request->profile);
    int64_t *lengths = set->lengths + set->count * AEGIS_MAX_SEGMENTS;
    aegis_candidate *candidate = &set->candidates[set->count++];
    *candidate = candidate_of(scheduler, id, name, request);
    candidate->policy.segment_count = segments;
    if (segments > 1) {
        for (uint32_t i = 0; i < segments; i++) {
            lengths[i] = (int64_t)aegis_admit_segment_ns(scheduler, request, request->profile, i);
        }
        candidate->segments = lengths;
        candidate->segment_count = segments;
    }
}

/* What a model of the pool asks for, with the profile that the new request brings for it. */
static aegis_admission_request changed_request(const aegis_entry *entry,
                                               const aegis_admission_request *request)
{
    aegis_admission_request changed = entry->request;
    for (size_t i = 0; i < request->change_count; i++) {
        if (request->changes[i].model == entry->id) {
            changed.profile = request->changes[i].profile;
        }
    }
    return changed;
}

/* Where it stands, and what was proved of it. */
static void keep_answer(const aegis_entry *entry, bool fixed, aegis_candidate *candidate)
{
    candidate->policy.lane = entry->core.lane;
    candidate->fixed = fixed;
    candidate->response_ns = entry->answer.response_ns;
    candidate->blocking_ns = entry->answer.blocking_ns;
    candidate->lane_utilisation = entry->answer.utilisation;
}

aegis_status aegis_admit_collect(const aegis_scheduler *scheduler,
                                 const char *name,
                                 uint32_t id,
                                 const aegis_admission_request *request,
                                 aegis_candidate_set *ret_set,
                                 aegis_error *err)
{
    const aegis_allocator *allocator = &scheduler->allocator;
    aegis_candidate_set set = {.capacity = (size_t)scheduler->config.max_models + 1};
    set.candidates = aegis_allocate_zeroed(allocator, set.capacity, sizeof *set.candidates);
    set.lengths =
        aegis_allocate_zeroed(allocator, set.capacity * AEGIS_MAX_SEGMENTS, sizeof *set.lengths);
    if (set.candidates == NULL || set.lengths == NULL) {
        aegis_admit_finish(scheduler, &set);
        aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                        "no host memory to analyse %s", name);
        return AEGIS_ERROR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < scheduler->config.max_models; i++) {
        const aegis_entry *entry = scheduler->entries[i];
        if (entry != NULL) {
            aegis_admission_request changed = changed_request(entry, request);
            add_candidate(scheduler, i, aegis_context_name(entry->context), &changed, &set);
            keep_answer(entry, scheduler->started, &set.candidates[set.count - 1]);
        }
    }
    add_candidate(scheduler, id, name, request, &set);
    aegis_status status = aegis_link_test(scheduler, &set, err);
    if (status != AEGIS_OK) {
        aegis_admit_finish(scheduler, &set);
        return status;
    }
    *ret_set = set;
    return AEGIS_OK;
}

void aegis_admit_finish(const aegis_scheduler *scheduler, aegis_candidate_set *set)
{
    const aegis_allocator *allocator = &scheduler->allocator;
    aegis_deallocate(allocator, set->candidates, set->capacity, sizeof *set->candidates);
    aegis_deallocate(allocator, set->lengths, set->capacity * AEGIS_MAX_SEGMENTS,
                     sizeof *set->lengths);
}

uint64_t aegis_candidate_longest_ns(const aegis_candidate *candidate)
{
    int64_t longest = candidate->segments == NULL ? (int64_t)candidate->enforceable_ns : 0;
    for (size_t i = 0; candidate->segments != NULL && i < candidate->segment_count; i++) {
        longest = candidate->segments[i] > longest ? candidate->segments[i] : longest;
    }
    return (uint64_t)longest;
}

static aegis_admission_answer refused_for_compute(const aegis_context *context,
                                                  const aegis_admission_request *request)
{
    char a[32], b[32];
    aegis_admission_answer answer = {.rationale = AEGIS_WHY_COMPUTE_LIMIT,
                                     .bound_ns = request->profile->bound_ns,
                                     .segments = aegis_profile_segments(request->profile),
                                     .blocker = AEGIS_TRACE_NONE,
                                     .culprit = AEGIS_TRACE_NONE};
    uint64_t limit = aegis_context_budget(context)->compute_budget_ns;
    snprintf(answer.reason, sizeof answer.reason,
             "its execution bound is %s, its compute budget %s a period; raise `compute` or choose "
             "a smaller input",
             aegis_format_duration((int64_t)request->profile->bound_ns, a, sizeof a),
             aegis_format_duration((int64_t)limit, b, sizeof b));
    return answer;
}

static aegis_admission_answer answer_of(const aegis_candidate *candidate,
                                        const aegis_admission_request *request)
{
    return (aegis_admission_answer){.admitted = true,
                                    .rationale = AEGIS_WHY_ADMITTED,
                                    .lane = candidate->policy.lane,
                                    .bound_ns = request->profile->bound_ns,
                                    .enforceable_ns = candidate->enforceable_ns,
                                    .response_ns = candidate->response_ns,
                                    .blocking_ns = candidate->blocking_ns,
                                    .utilisation = candidate->lane_utilisation,
                                    .segments = aegis_profile_segments(request->profile),
                                    .longest_ns = aegis_candidate_longest_ns(candidate),
                                    .copy_bound_ns = (uint64_t)candidate->copy_ns,
                                    .copy_response_ns = (uint64_t)candidate->copy_response_ns,
                                    .jitter_ns = candidate->background ? 0 : candidate->jitter_ns,
                                    .blocker = AEGIS_TRACE_NONE,
                                    .culprit = AEGIS_TRACE_NONE};
}

static void refuse(const aegis_refusal *refusal,
                   const aegis_candidate *candidates,
                   size_t count,
                   const aegis_admission_request *request,
                   aegis_admission_answer *ret_answer)
{
    const aegis_candidate *asked = &candidates[count - 1];
    *ret_answer = (aegis_admission_answer){.rationale = refusal->rationale,
                                           .lane = refusal->lane,
                                           .segments = aegis_profile_segments(request->profile),
                                           .longest_ns = aegis_candidate_longest_ns(asked),
                                           .blocker = refusal->blocker,
                                           .bound_ns = request->profile->bound_ns,
                                           .enforceable_ns = candidates[count - 1].enforceable_ns,
                                           .response_ns = refusal->response_ns,
                                           .blocking_ns = refusal->blocking_ns,
                                           .utilisation = refusal->utilisation,
                                           .violation_at_ns = refusal->at_ns,
                                           .culprit = refusal->culprit,
                                           .copy_bound_ns = (uint64_t)asked->copy_ns,
                                           .copy_response_ns = (uint64_t)asked->copy_response_ns,
                                           .jitter_ns = asked->background ? 0 : asked->jitter_ns,
                                           .fit = refusal->fit};
    aegis_refusal_describe(refusal, candidates, count, ret_answer->reason,
                           sizeof ret_answer->reason);
}

/* Operands of a refusal as rationale.h documents them. */
static void fill_refusal(const aegis_refusal *refusal, aegis_trace_record *record)
{
    record->lane = refusal->lane;
    switch ((int)refusal->rationale) {
    case AEGIS_WHY_UTILISATION:
    case AEGIS_WHY_LINK:
        record->a = (int64_t)(refusal->utilisation * 1e6);
        break;
    case AEGIS_WHY_RESPONSE:
        record->a = refusal->response_ns;
        record->b = refusal->deadline_ns;
        record->c = refusal->culprit;
        break;
    case AEGIS_WHY_DEMAND:
        record->a = refusal->at_ns;
        record->b = refusal->demand_ns;
        record->c = refusal->blocker;
        break;
    case AEGIS_WHY_COMPUTE_LIMIT:
        record->a = refusal->bound_ns;
        record->b = refusal->limit_ns;
        break;
    default:
        break;
    }
}

static void record_answer(const aegis_scheduler *scheduler,
                          uint32_t id,
                          const aegis_refusal *refusal,
                          const aegis_admission_answer *answer)
{
    aegis_trace_record record = {.kind = AEGIS_TRACE_ADMITTED,
                                 .rationale = (uint16_t)answer->rationale,
                                 .model = (uint16_t)id,
                                 .lane = answer->lane,
                                 .a = (int64_t)answer->enforceable_ns,
                                 .b = answer->response_ns,
                                 .c = (int64_t)(answer->utilisation * 1e6)};
    if (answer->admitted && answer->response_ns == AEGIS_RESPONSE_OMITTED) {
        record.rationale = AEGIS_WHY_BACKGROUND;
        record.b = 0;
    }
    if (!answer->admitted) {
        record.kind = AEGIS_TRACE_REFUSED;
        record.a = record.b = record.c = 0;
        assert(refusal != NULL); /* who moves is admitted */
        fill_refusal(refusal, &record);
    }
    if (scheduler->config.collector != NULL) {
        aegis_trace_collector_record(scheduler->config.collector, &record);
    }
}

/* Candidates after a search that fits become the new answers and lanes of the pool. Who moved is
 * told: the record of its own admission names another lane. */
static void take_over(aegis_scheduler *scheduler,
                      const aegis_admission_request *request,
                      const aegis_candidate *candidates,
                      size_t count)
{
    for (size_t i = 0; i < request->change_count; i++) {
        aegis_entry *entry = scheduler->entries[request->changes[i].model];
        if (entry != NULL) {
            aegis_entry_set_profile(entry, request->changes[i].profile);
        }
    }
    for (size_t i = 0; i < count; i++) {
        aegis_entry *entry = scheduler->entries[candidates[i].id];
        if (entry != NULL) {
            bool moved = i + 1 < count && entry->core.lane != candidates[i].policy.lane;
            entry->answer = answer_of(&candidates[i], &entry->request);
            aegis_promise_raise(&entry->promise, candidates[i].response_ns);
            entry->core.lane = candidates[i].policy.lane;
            atomic_store(&entry->copy_response_ns, (uint64_t)candidates[i].copy_response_ns);
            if (moved) {
                record_answer(scheduler, candidates[i].id, NULL, &entry->answer);
            }
        }
    }
}

/* Analyses under `admin`; adds the model when `context` is given and it fits. */
static aegis_status decide(aegis_scheduler *scheduler,
                           const char *name,
                           uint32_t id,
                           aegis_context *context,
                           const aegis_admission_request *request,
                           aegis_admission_answer *ret_answer,
                           aegis_error *err)
{
    aegis_refusal refusal;
    aegis_entry *entry = NULL;
    aegis_candidate_set set = {0};
    bool fits = false;
    aegis_status status = aegis_admit_collect(scheduler, name, id, request, &set, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_candidate *candidates = set.candidates;
    const size_t count = set.count;
    if (request->change_count > 0) { /* with other segments first fit may come out otherwise */
        scheduler->lane_memory.first_fit = false;
    }
    if (set.link.verdict != AEGIS_LINK_HOLDS) {
        aegis_link_refuse(&set.link, &refusal);
    } else {
        status = aegis_assignment_find(&scheduler->config.policy, candidates, count,
                                       scheduler->config.lane_count, &scheduler->lane_memory,
                                       &scheduler->allocator, &fits, &refusal, err);
    }
    if (status != AEGIS_OK) {
        goto done;
    }
    if (!fits) {
        refuse(&refusal, candidates, count, request, ret_answer);
    } else {
        *ret_answer = answer_of(&candidates[count - 1], request);
    }
    if (context != NULL) {
        record_answer(scheduler, id, &refusal, ret_answer);
    }
    if (context == NULL || !fits) {
        goto done;
    }
    status = aegis_entry_create(scheduler, context, request, &entry, err);
    if (status != AEGIS_OK) {
        goto done;
    }
    scheduler->entries[id] = entry;
    take_over(scheduler, request, candidates, count);
    aegis_lane_memory_take_over(&scheduler->lane_memory);
    if (scheduler->started) {
        status = aegis_driver_prepare(scheduler, entry, err);
        if (status == AEGIS_OK) {
            status = aegis_driver_add(scheduler, entry, err);
        }
        if (status != AEGIS_OK) {
            aegis_streaming_unwatch(entry);
            aegis_scheduler_drop_entry(scheduler, entry);
        }
    }
done:
    aegis_admit_finish(scheduler, &set);
    return status;
}

aegis_status aegis_scheduler_analyse(aegis_scheduler *scheduler,
                                     const char *name,
                                     const aegis_admission_request *request,
                                     aegis_admission_answer *ret_answer,
                                     aegis_error *err)
{
    aegis_admission_request wanted = *request;
    aegis_status status = aegis_admit_check(scheduler, name, &wanted, err);
    if (status != AEGIS_OK) {
        return status;
    }
    pthread_mutex_lock(&scheduler->admin);
    status = decide(scheduler, name, scheduler->config.max_models, NULL, &wanted, ret_answer, err);
    pthread_mutex_unlock(&scheduler->admin);
    return status;
}

static aegis_status
check_context(const aegis_scheduler *scheduler, const aegis_context *context, aegis_error *err)
{
    uint32_t id = aegis_context_id(context);
    if (id >= scheduler->config.max_models) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%s has number %u; this scheduler has room for numbers below %u",
                               aegis_context_name(context), id, scheduler->config.max_models);
    }
    if (scheduler->entries[id] != NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_EXISTS,
                               "model number %u is taken by %s", id,
                               aegis_context_name(scheduler->entries[id]->context));
    }
    if (scheduler->started && (aegis_context_model(context) == NULL ||
                               !aegis_model_is_placed(aegis_context_model(context)))) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "%s must be placed in memory before it joins a running scheduler",
                               aegis_context_name(context));
    }
    return AEGIS_OK;
}

aegis_status aegis_scheduler_admit(aegis_scheduler *scheduler,
                                   aegis_context *context,
                                   const aegis_admission_request *request,
                                   aegis_admission_answer *ret_answer,
                                   aegis_error *err)
{
    const char *name = aegis_context_name(context);
    aegis_admission_request wanted = *request;
    aegis_status status = aegis_admit_check(scheduler, name, &wanted, err);
    if (status != AEGIS_OK) {
        return status;
    }
    pthread_mutex_lock(&scheduler->admin);
    status = check_context(scheduler, context, err);
    if (status != AEGIS_OK) {
        goto done;
    }
    const aegis_resource_budget *budget = aegis_context_budget(context);
    if (budget->compute_budget_ns > 0 && wanted.profile->bound_ns > budget->compute_budget_ns) {
        aegis_refusal limit = {.rationale = AEGIS_WHY_COMPUTE_LIMIT,
                               .lane = AEGIS_TRACE_NONE,
                               .bound_ns = (int64_t)wanted.profile->bound_ns,
                               .limit_ns = (int64_t)budget->compute_budget_ns};
        *ret_answer = refused_for_compute(context, &wanted);
        record_answer(scheduler, aegis_context_id(context), &limit, ret_answer);
    } else {
        status =
            decide(scheduler, name, aegis_context_id(context), context, &wanted, ret_answer, err);
    }
    if (status == AEGIS_OK) {
        if (!ret_answer->admitted) {
            status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NOT_ADMITTED,
                                     "%s is not admitted: %.400s", name, ret_answer->reason);
        }
    }
done:
    pthread_mutex_unlock(&scheduler->admin);
    return status;
}

aegis_status aegis_scheduler_answer(const aegis_scheduler *scheduler,
                                    uint32_t model,
                                    aegis_admission_answer *ret_answer,
                                    aegis_error *err)
{
    if (model >= scheduler->config.max_models || scheduler->entries[model] == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NOT_FOUND,
                               "model %u is not admitted", model);
    }
    *ret_answer = scheduler->entries[model]->answer;
    return AEGIS_OK;
}
