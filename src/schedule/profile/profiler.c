/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures whole jobs (all segments in order) on the lane that would run them: alone with warm
 * caches, then with the fixed load on the other lanes and nothing of the model in any cache (on a
 * GPU the device's cache is overwritten), as other models leave them, and how long a run goes on
 * after it was told to end. From warm caches the bound of a 0.3 ms model was passed by its median
 * in service. A cut model is also measured segment by segment, each of them so cold: between two
 * segments other models run. What segments wait for weights from a disk is no execution and not
 * counted.
 */
#include "schedule/profile/profiler.h"

#include "base/base.h"
#include "schedule/profile/timed_run.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define COMPONENT "schedule.profiler"
/* Instants of one run at which its end is asked for; of a segment at least so many. */
#define STRETCH_POINTS 24u
#define LEAST_STRETCH_POINTS 6u
#define ALONE_SHARE 4u
/* Least number of runs when a tail is to be fitted: 100 of them above the threshold. */
#define EXTREME_SAMPLES 1000u

static aegis_profile_options with_defaults(const aegis_profile_options *given)
{
    aegis_profile_options options = given == NULL ? (aegis_profile_options){0} : *given;
    options.quantile = options.quantile > 0 ? options.quantile : 0.99;
    options.assurance = options.assurance > 0 ? options.assurance : 0.95;
    options.margin = options.margin > 0 ? options.margin : 1.5;
    options.min_samples = options.min_samples > 0 ? options.min_samples : 100;
    options.max_samples = options.max_samples > 0 ? options.max_samples : 20000;
    options.warm_up = options.warm_up > 0 ? options.warm_up : 5;
    if (options.extreme_value && options.min_samples < EXTREME_SAMPLES) {
        options.min_samples = EXTREME_SAMPLES;
    }
    uint32_t needed = aegis_profile_samples_needed(options.quantile, options.assurance);
    if (options.min_samples < needed) {
        options.min_samples = needed;
    }
    if (options.min_samples > options.max_samples) {
        options.min_samples = options.max_samples;
    }
    return options;
}

aegis_status aegis_profiler_options(const aegis_profile_options *given,
                                    aegis_profile_options *ret_options,
                                    aegis_error *err)
{
    const aegis_profile_options made = with_defaults(given), *options = &made;
    if (!(options->quantile < 1) || !(options->assurance < 1) || !(options->margin >= 1)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "confidence %g and assurance %g must lie between 0 and 1, and the "
                               "margin %g must be at least 1",
                               options->quantile, options->assurance, options->margin);
    }
    *ret_options = made;
    return AEGIS_OK;
}

void aegis_profiler_report(const aegis_profiler *profiler,
                           const char *phase,
                           uint32_t done,
                           uint32_t total)
{
    if (profiler->config.progress != NULL) {
        profiler->config.progress(profiler->config.progress_self, phase, done, total);
    }
}

static aegis_status sample_series(aegis_profiler *profiler,
                                  aegis_timed_run *run,
                                  const char *phase,
                                  uint64_t *samples,
                                  uint32_t count,
                                  aegis_error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        aegis_status status = aegis_timed_run_once(run, &samples[i], err);
        if (status != AEGIS_OK) {
            return status;
        }
        aegis_profiler_report(profiler, phase, i + 1, count);
    }
    return AEGIS_OK;
}

/* Every segment on its own, in the order of a job; samples of segment k from k * count on. */
static aegis_status sample_segments(aegis_profiler *profiler,
                                    aegis_timed_run *run,
                                    const char *phase,
                                    uint64_t *samples,
                                    uint32_t count,
                                    aegis_error *err)
{
    uint32_t segments = aegis_model_segment_count(run->model);
    aegis_status status = AEGIS_OK;
    for (uint32_t i = 0; i < count && status == AEGIS_OK; i++) {
        for (uint32_t k = 0; k < segments && status == AEGIS_OK; k++) {
            run->first = k;
            run->end = k + 1;
            status = aegis_timed_run_once(run, &samples[(size_t)k * count + i], err);
        }
        aegis_profiler_report(profiler, phase, i + 1, count);
    }
    run->first = 0;
    run->end = segments;
    return status;
}

/* What is asked to end: segments [first, end) of a job, which take `length_ns`. */
typedef struct stretch_wanted {
    uint32_t first, end, points;
    uint64_t length_ns, bound_ns;
    double factor;
} stretch_wanted;

/*
 * The longest stretch that cannot be ended. The end is asked for at evenly spaced instants; an
 * operator that lies between two of them is longer than what was seen by at most the spacing, which
 * is added.
 */
static aegis_status measure_stretch(aegis_profiler *profiler,
                                    aegis_timed_run *run,
                                    const stretch_wanted *wanted,
                                    uint64_t *ret_stretch_ns,
                                    aegis_error *err)
{
    uint64_t longest = 0, spacing = wanted->length_ns / wanted->points;
    uint64_t unused;
    for (uint32_t i = 0; i < wanted->points; i++) {
        uint64_t stretch = 0;
        aegis_status status = AEGIS_OK;
        if (wanted->first > 0) { /* what comes before in the job */
            run->first = 0;
            run->end = wanted->first;
            status = aegis_timed_run_once(run, &unused, err);
        }
        run->first = wanted->first;
        run->end = wanted->end;
        if (status == AEGIS_OK) {
            status = aegis_timed_run_end_after(run, i * spacing, &stretch, err);
        }
        if (status != AEGIS_OK) {
            return status;
        }
        longest = stretch > longest ? stretch : longest;
        aegis_profiler_report(profiler, "ending runs", i + 1, wanted->points);
    }
    double bound = ceil((double)(longest + spacing) * wanted->factor);
    *ret_stretch_ns = bound < (double)wanted->bound_ns ? (uint64_t)bound : wanted->bound_ns;
    return AEGIS_OK;
}

/* Of a cut model the stretch is the longest of its segments'. */
static aegis_status measure_stretches(aegis_profiler *profiler,
                                      aegis_timed_run *run,
                                      const aegis_profile_options *options,
                                      aegis_profile *profile,
                                      aegis_error *err)
{
    uint32_t segments = profile->segment_count;
    double factor = options->margin * fmax(1.0, profile->contention_factor);
    stretch_wanted wanted = {.end = 1,
                             .points = STRETCH_POINTS,
                             .length_ns = profile->alone.median_ns,
                             .bound_ns = profile->bound_ns,
                             .factor = factor};
    if (!aegis_model_can_terminate(run->model)) {
        profile->stretch_ns = profile->bound_ns;
        for (uint32_t i = 0; i < segments; i++) {
            profile->segments[i].stretch_ns = profile->segments[i].bound_ns;
        }
        return AEGIS_OK;
    }
    if (segments == 0) {
        return measure_stretch(profiler, run, &wanted, &profile->stretch_ns, err);
    }
    wanted.points = STRETCH_POINTS / segments;
    wanted.points = wanted.points < LEAST_STRETCH_POINTS ? LEAST_STRETCH_POINTS : wanted.points;
    for (uint32_t i = 0; i < segments; i++) {
        aegis_profile_segment *one = &profile->segments[i];
        wanted.first = i;
        wanted.end = i + 1;
        wanted.length_ns = one->series.median_ns;
        wanted.bound_ns = one->bound_ns;
        aegis_status status = measure_stretch(profiler, run, &wanted, &one->stretch_ns, err);
        if (status != AEGIS_OK) {
            return status;
        }
        profile->stretch_ns =
            one->stretch_ns > profile->stretch_ns ? one->stretch_ns : profile->stretch_ns;
    }
    return AEGIS_OK;
}

static aegis_status
warm_up(aegis_timed_run *run, uint32_t runs, uint64_t *ret_cold_ns, aegis_error *err)
{
    for (uint32_t i = 0; i < runs; i++) {
        uint64_t elapsed;
        aegis_status status = aegis_timed_run_once(run, &elapsed, err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (i == 0) {
            *ret_cold_ns = elapsed;
        }
    }
    return AEGIS_OK;
}

typedef aegis_status (*sampler)(aegis_profiler *profiler,
                                aegis_timed_run *run,
                                const char *phase,
                                uint64_t *samples,
                                uint32_t count,
                                aegis_error *err);

/* The lanes, and the stream that copies inputs beside them. */
static size_t stream_count(const aegis_profiler_config *config)
{
    return config->lane_count + (config->copy_stream != NULL);
}

static aegis_buffer scratch_of(const aegis_profiler *profiler)
{
    const aegis_buffer *all = &profiler->config.scratch;
    const uint64_t part = all->size_bytes / stream_count(&profiler->config);
    return (aegis_buffer){.pointer = (char *)all->pointer + profiler->lane * part,
                          .size_bytes = part};
}

/* With the load on the other lanes, each run cold. */
static aegis_status sample_loaded(aegis_profiler *profiler,
                                  aegis_timed_run *run,
                                  sampler sample,
                                  uint64_t *samples,
                                  uint32_t count,
                                  aegis_error *err)
{
    aegis_cold cold;
    aegis_status status = aegis_cold_begin(&cold, run->model, &profiler->allocator, err);
    if (status == AEGIS_OK && profiler->stressor != NULL) {
        status = aegis_stressor_start(profiler->stressor, profiler->lane, err);
    }
    if (status != AEGIS_OK) {
        aegis_cold_end(&cold);
        return status;
    }
    run->cold = &cold;
    run->scratch = scratch_of(profiler);
    status = sample(profiler, run, "profiling under load", samples, count, err);
    run->cold = NULL;
    aegis_cold_end(&cold);
    if (profiler->stressor != NULL) {
        aegis_status stopped =
            aegis_stressor_stop(profiler->stressor, status == AEGIS_OK ? err : NULL);
        status = status != AEGIS_OK ? status : stopped;
    }
    return status;
}

/* What one profile is made of. */
typedef struct measurement {
    aegis_profile_options options;
    aegis_timed_run run;
    uint64_t *samples; /* `count` of the job, or of each segment */
    uint32_t count, segments;
    bool under_load;
    aegis_profile profile;
} measurement;

static aegis_status measure_alone(aegis_profiler *profiler, measurement *m, aegis_error *err)
{
    uint32_t count = m->count / ALONE_SHARE + 1;
    aegis_status status =
        sample_series(profiler, &m->run, "profiling alone", m->samples, count, err);
    if (status == AEGIS_OK) {
        aegis_profile_summarise(m->samples, count, m->options.quantile, m->options.assurance,
                                &m->profile.alone);
    }
    return status;
}

/* Of `samples` of whole jobs. */
static void summarise_jobs(measurement *m, uint64_t *samples)
{
    aegis_profile *profile = &m->profile;
    aegis_profile_summarise(samples, m->count, m->options.quantile, m->options.assurance,
                            &profile->loaded);
    if (profile->alone.samples == 0) {
        profile->alone = profile->loaded;
    }
    profile->contention_factor =
        (double)profile->loaded.median_ns / (double)(profile->alone.median_ns + 1);
}

static aegis_status measure_job(aegis_profiler *profiler, measurement *m, aegis_error *err)
{
    const aegis_profile_options *options = &m->options;
    aegis_profile *profile = &m->profile;
    aegis_status status =
        m->under_load
            ? sample_loaded(profiler, &m->run, sample_series, m->samples, m->count, err)
            : sample_series(profiler, &m->run, "profiling alone", m->samples, m->count, err);
    if (status == AEGIS_OK && options->extreme_value) { /* before the samples lose their order */
        status = aegis_extreme_fit_samples(m->samples, m->count, options, &profiler->allocator,
                                           &profile->extreme, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    summarise_jobs(m, m->samples);
    profile->bound_ns =
        aegis_profile_compute_wcet(m->samples, m->count, options->quantile, options->assurance,
                                   options->margin, &profile->method);
    aegis_profile_apply_extreme(profile);
    return AEGIS_OK;
}

/* A segment's tail is fitted like a job's; the profile tells of the first that was refused. */
static aegis_status
bound_segment(aegis_profiler *profiler, measurement *m, uint32_t segment, aegis_error *err)
{
    const aegis_profile_options *options = &m->options;
    uint64_t *samples = m->samples + (size_t)segment * m->count;
    aegis_profile_segment *one = &m->profile.segments[segment];
    aegis_profile whole = {.method = AEGIS_BOUND_ORDER_STATISTIC};
    if (options->extreme_value) {
        aegis_status status = aegis_extreme_fit_samples(samples, m->count, options,
                                                        &profiler->allocator, &whole.extreme, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    aegis_profile_summarise(samples, m->count, options->quantile, options->assurance,
                            &whole.loaded);
    whole.bound_ns = aegis_profile_compute_wcet(samples, m->count, options->quantile,
                                                options->assurance, options->margin, &whole.method);
    aegis_profile_apply_extreme(&whole);
    one->series = whole.loaded;
    one->bound_ns = whole.bound_ns;
    if (segment == 0 || m->profile.method == AEGIS_BOUND_EXTREME_VALUE) {
        m->profile.method = whole.method;
        m->profile.extreme = whole.extreme;
    }
    return AEGIS_OK;
}

/* A job takes what its segments take; their samples still lie in the order of the jobs. */
static aegis_status sum_segments(aegis_profiler *profiler, measurement *m, aegis_error *err)
{
    uint64_t *jobs = aegis_allocate_zeroed(&profiler->allocator, m->count, sizeof *jobs);
    if (jobs == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %u samples", m->count);
    }
    for (size_t i = 0; i < (size_t)m->count * m->segments; i++) {
        jobs[i % m->count] += m->samples[i];
    }
    summarise_jobs(m, jobs);
    aegis_deallocate(&profiler->allocator, jobs, m->count, sizeof *jobs);
    return AEGIS_OK;
}

static aegis_status measure_segments(aegis_profiler *profiler, measurement *m, aegis_error *err)
{
    aegis_profile *profile = &m->profile;
    aegis_status status =
        m->under_load
            ? sample_loaded(profiler, &m->run, sample_segments, m->samples, m->count, err)
            : sample_segments(profiler, &m->run, "profiling segments", m->samples, m->count, err);
    if (status == AEGIS_OK) {
        status = sum_segments(profiler, m, err);
    }
    profile->segment_count = m->segments;
    for (uint32_t i = 0; i < m->segments && status == AEGIS_OK; i++) {
        status = bound_segment(profiler, m, i, err);
        profile->bound_ns += profile->segments[i].bound_ns;
    }
    return status;
}

static aegis_status measure(aegis_profiler *profiler, measurement *m, aegis_error *err)
{
    bool cut = m->segments > 1;
    aegis_status status = warm_up(&m->run, m->options.warm_up, &m->profile.cold_ns, err);
    if (status == AEGIS_OK && (cut || m->under_load)) {
        status = measure_alone(profiler, m, err);
    }
    if (status == AEGIS_OK) {
        status = cut ? measure_segments(profiler, m, err) : measure_job(profiler, m, err);
    }
    if (status == AEGIS_OK) {
        status = measure_stretches(profiler, &m->run, &m->options, &m->profile, err);
    }
    return status;
}

static aegis_status profile_model(aegis_profiler *profiler,
                                  aegis_model *model,
                                  const aegis_profile_options *given,
                                  bool under_load,
                                  aegis_profile *ret_profile,
                                  aegis_error *err)
{
    measurement m = {.segments = aegis_model_segment_count(model), .under_load = under_load};
    aegis_status status = aegis_profiler_options(given, &m.options, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (m.segments > AEGIS_MAX_SEGMENTS) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "%s has %u segments; at most %d can be scheduled",
                               aegis_model_name(model), m.segments, AEGIS_MAX_SEGMENTS);
    }
    m.count = m.options.min_samples;
    size_t room = (size_t)m.count * m.segments;
    m.samples = aegis_allocate_zeroed(&profiler->allocator, room, sizeof *m.samples);
    if (m.samples == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %zu samples", room);
    }
    m.run = (aegis_timed_run){.clock = &profiler->config.clock,
                              .stream = profiler->config.lanes[profiler->lane],
                              .model = model,
                              .end = m.segments};
    m.profile = (aegis_profile){.quantile = m.options.quantile,
                                .assurance = m.options.assurance,
                                .margin = m.options.margin};
    status = measure(profiler, &m, err);
    if (status == AEGIS_OK) {
        *ret_profile = m.profile;
    }
    aegis_deallocate(&profiler->allocator, m.samples, room, sizeof *m.samples);
    return status;
}

uint32_t aegis_profile_segments(const aegis_profile *profile)
{
    return profile->segment_count > 1 ? profile->segment_count : 1;
}

aegis_profile_segment aegis_profile_segment_at(const aegis_profile *profile, uint32_t segment)
{
    if (profile->segment_count > 1) {
        return profile->segments[segment];
    }
    return (aegis_profile_segment){.series = profile->loaded,
                                   .bound_ns = profile->bound_ns,
                                   .stretch_ns = profile->stretch_ns};
}

uint64_t aegis_profile_longest_ns(const aegis_profile *profile)
{
    uint64_t longest = 0;
    for (uint32_t i = 0; i < aegis_profile_segments(profile); i++) {
        uint64_t bound = aegis_profile_segment_at(profile, i).bound_ns;
        longest = bound > longest ? bound : longest;
    }
    return longest;
}

/* Each half as large as the cache twice over: the cache of a GPU does not keep strictly to what was
 * used last. */
uint64_t aegis_profiler_scratch_bytes(aegis_device_kind kind)
{
    aegis_device_capabilities gpu;
    bool is_gpu = kind != AEGIS_DEVICE_HOST &&
                  aegis_device_query(AEGIS_DEVICE_CUDA, 0, false, &gpu, NULL) == AEGIS_OK;
    return is_gpu ? 4 * gpu.l2_cache_bytes : 0;
}

aegis_status aegis_profiler_create(const aegis_profiler_config *config,
                                   const aegis_allocator *allocator,
                                   aegis_profiler **ret_profiler,
                                   aegis_error *err)
{
    if (config == NULL || config->lane_count == 0 || allocator == NULL || ret_profiler == NULL ||
        config->clock.ops == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "a profiler needs a lane, a clock and an allocator");
    }
    aegis_profiler *profiler = aegis_allocate_zeroed(allocator, 1, sizeof *profiler);
    if (profiler == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for a profiler");
    }
    profiler->allocator = *allocator;
    profiler->config = *config;
    if (stream_count(config) > 1) {
        const aegis_stress_memory memory = {config->scratch, config->pinned};
        aegis_status status = aegis_stressor_create(
            config->lanes, config->lane_count, config->copy_stream,
            config->scratch.size_bytes > 0 ? &memory : NULL, allocator, &profiler->stressor, err);
        if (status != AEGIS_OK) {
            aegis_profiler_destroy(profiler);
            return status;
        }
    }
    *ret_profiler = profiler;
    return AEGIS_OK;
}

void aegis_profiler_destroy(aegis_profiler *profiler)
{
    if (profiler != NULL) {
        aegis_allocator allocator = profiler->allocator;
        aegis_stressor_destroy(profiler->stressor);
        aegis_deallocate(&allocator, profiler, 1, sizeof *profiler);
    }
}

void aegis_profiler_use_lane(aegis_profiler *profiler, size_t lane)
{
    assert(lane < profiler->config.lane_count);
    profiler->lane = lane;
}

aegis_status aegis_profiler_profile(aegis_profiler *profiler,
                                    aegis_model *model,
                                    const aegis_profile_options *options,
                                    aegis_profile *ret_profile,
                                    aegis_error *err)
{
    return profile_model(profiler, model, options, false, ret_profile, err);
}

aegis_status aegis_profiler_profile_under_load(aegis_profiler *profiler,
                                               aegis_model *model,
                                               const aegis_profile_options *options,
                                               aegis_profile *ret_profile,
                                               aegis_error *err)
{
    return profile_model(profiler, model, options, true, ret_profile, err);
}
