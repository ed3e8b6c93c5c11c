/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a request for admission makes sense, before anything is computed with it. */
#include "schedule/driver/internal.h"

#include <inttypes.h>

#define COMPONENT "schedule.admit"
#define DEFAULT_QUEUE_DEPTH 64u
#define MOST_NS ((uint64_t)INT64_MAX / 4) /* of any time of a request */

/* With a deadline of at most its period no earlier job of the model is there when one is released,
 * so that the place of its inputs is free. */
static aegis_status check_copies(const aegis_scheduler *scheduler,
                                 const char *name,
                                 const aegis_admission_request *request,
                                 aegis_error *err)
{
    const char *wrong = NULL;
    if (!request->early_copies) {
        return AEGIS_OK;
    }
    if (scheduler->config.copy_stream == NULL) {
        wrong = "need a stream, aegis_scheduler_config.copy_stream";
    } else if (request->background) {
        wrong = "are for models with a deadline: nothing is proved of a background model";
    } else if (request->deadline_ns > request->period_ns) {
        wrong = "need a deadline of at most the period, so that the place of its inputs is free at "
                "each release";
    } else if (request->profile->copy_bound_ns == 0 || request->profile->copy_bound_ns > MOST_NS) {
        wrong = "need a profile with a bound of the copy, below 2^61 ns "
                "(aegis_profiler_profile_copies)";
    }
    return wrong == NULL ? AEGIS_OK
                         : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                                           "%s: early copies %s", name, wrong);
}

static aegis_status check_request(const aegis_scheduler *scheduler,
                                  const char *name,
                                  const aegis_admission_request *request,
                                  aegis_error *err)
{
    bool paced = request->period_ns > 0 || request->background;
    if (request->profile == NULL || request->profile->bound_ns == 0 || !paced ||
        request->period_ns > MOST_NS || request->deadline_ns > MOST_NS ||
        request->jitter_ns > MOST_NS) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%s: a request needs a profile with a bound and a period, and times "
                               "below 2^61 ns",
                               name);
    }
    if (request->lane >= (int)scheduler->config.lane_count) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%s: lane %d was asked for, lanes are 0 to %u", name, request->lane,
                               scheduler->config.lane_count - 1u);
    }
    if (request->background && (request->weight == 0 || request->deadline_ns > 0)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%s: a background model has a weight of at least 1 and no deadline",
                               name);
    }
    if (request->share_ppm > (request->background ? AEGIS_SHARE_WHOLE : 0)) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
            "%s: a share is for background models, and %" PRIu32 " of %u parts is %s", name,
            request->share_ppm, AEGIS_SHARE_WHOLE, request->background ? "more than all" : "not 0");
    }
    return AEGIS_OK;
}

static aegis_admission_request with_defaults(const aegis_admission_request *given)
{
    aegis_admission_request request = *given;
    if (request.deadline_ns == 0 && !request.background) {
        request.deadline_ns = request.period_ns;
    }
    if (request.queue_depth == 0) {
        request.queue_depth = DEFAULT_QUEUE_DEPTH;
    }
    if (aegis_request_is_continuous(&request) && request.queue_depth < AEGIS_CONTINUOUS_JOBS) {
        request.queue_depth = AEGIS_CONTINUOUS_JOBS;
    }
    return request;
}

static aegis_status check_segments(const char *name, const aegis_profile *profile, aegis_error *err)
{
    uint64_t sum = 0;
    bool fits = profile->segment_count <= AEGIS_MAX_SEGMENTS, positive = true;
    for (uint32_t i = 0; fits && i < profile->segment_count; i++) {
        positive = positive && profile->segments[i].bound_ns > 0;
        sum = aegis_add_saturating(sum, profile->segments[i].bound_ns);
    }
    if (fits && positive && (profile->segment_count < 2 || sum == profile->bound_ns)) {
        return AEGIS_OK;
    }
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                           "%s: the %" PRIu32 " segments of its profile (at most %d) must have "
                           "bounds that sum to the model's %" PRIu64 " ns",
                           name, profile->segment_count, AEGIS_MAX_SEGMENTS, profile->bound_ns);
}

/* What a job can occupy its lane for has to fit where it is computed with. */
static aegis_status check_bounds(const aegis_scheduler *scheduler,
                                 const char *name,
                                 const aegis_admission_request *request,
                                 const aegis_profile *profile,
                                 aegis_error *err)
{
    aegis_admission_request asked = *request;
    aegis_status status = check_segments(name, profile, err);
    asked.profile = profile;
    if (status == AEGIS_OK && aegis_admit_enforceable_ns(scheduler, &asked) > MOST_NS) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                                 "%s: the bounds and stretches of a profile, with the driver's "
                                 "overhead, must stay below 2^61 ns; profile again",
                                 name);
    }
    return status;
}

static aegis_status check_changes(const aegis_scheduler *scheduler,
                                  const char *name,
                                  const aegis_admission_request *request,
                                  aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    if (request->change_count > 0 && scheduler->started) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "%s: other models cannot be cut while the scheduler runs", name);
    }
    for (size_t i = 0; i < request->change_count && status == AEGIS_OK; i++) {
        const aegis_admission_change *change = &request->changes[i];
        if (change->profile == NULL || change->profile->bound_ns == 0 ||
            change->model >= scheduler->config.max_models) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                                   "%s: change %zu needs a model of the pool and a profile", name,
                                   i);
        }
        status = check_bounds(scheduler, name, request, change->profile, err);
    }
    return status;
}

aegis_status aegis_admit_check(const aegis_scheduler *scheduler,
                               const char *name,
                               aegis_admission_request *request,
                               aegis_error *err)
{
    aegis_status status = check_request(scheduler, name, request, err);
    if (status == AEGIS_OK) {
        status = check_copies(scheduler, name, request, err);
    }
    if (status == AEGIS_OK) {
        status = check_bounds(scheduler, name, request, request->profile, err);
    }
    if (status == AEGIS_OK) {
        status = check_changes(scheduler, name, request, err);
    }
    if (status == AEGIS_OK) {
        *request = with_defaults(request);
    }
    return status;
}
