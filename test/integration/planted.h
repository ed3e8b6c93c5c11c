/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_PLANTED_H
#define AEGIS_TEST_PLANTED_H

/*
 * Systems whose profiles are not measured but written into the cache under the keys that the
 * system will look for, and that are told what their driver takes. A verdict then hangs on what the
 * test says and not on how busy the machine is. For tests that are about something else than
 * profiles.
 */
#include "system_test.h"

#define PLANTED_STRETCH_NS UINT64_C(4000000)
#define PLANTED_DRIVER_NS UINT64_C(1000000)
#define PLANTED_COPY_NS UINT64_C(2000000)
#define PLANTED_BACKENDS 4
#define PLANTED_PLACES 8 /* to cut a model, of all whose cuts are planted */

typedef struct planter {
    aegis_allocator allocator;
    aegis_workload *workload;
    aegis_device *device;
    aegis_backend *backends[PLANTED_BACKENDS];
    size_t backend_count;
} planter;

/* For a workload on the host. */
static inline void planter_init(planter *p, const char *toml)
{
    aegis_error err = {0};
    const aegis_device_config device = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 1 << 16};
    *p = (planter){.allocator = aegis_allocator_default()};
    check(aegis_workload_parse(toml, strlen(toml), "test.toml", &p->allocator, &p->workload, &err),
          &err);
    check(aegis_device_create(&device, &p->allocator, &p->device, &err), &err);
}

static inline void planter_finish(planter *p)
{
    for (size_t i = 0; i < p->backend_count; i++) {
        aegis_backend_destroy(p->backends[i]);
    }
    aegis_device_destroy(p->device);
    aegis_workload_free(p->workload);
}

static inline aegis_backend *planter_backend(planter *p, const char *runtime)
{
    aegis_error err = {0};
    for (size_t i = 0; i < p->backend_count; i++) {
        if (strcmp(aegis_backend_name(p->backends[i]), runtime) == 0) {
            return p->backends[i];
        }
    }
    assert_true(p->backend_count < PLANTED_BACKENDS);
    const aegis_backend_config config = {
        .runtime = runtime, .cache_dir = p->workload->cache_dir, .consumer = "test"};
    check(aegis_backend_create(&config, p->device, &p->allocator, &p->backends[p->backend_count],
                               &err),
          &err);
    return p->backends[p->backend_count++];
}

/* Where and how a model is opened, and into how many equal units its bound is thought to fall. */
typedef struct planted_form {
    size_t index;
    bool prepack;
    const uint32_t *cuts; /* after so many units */
    size_t cut_count;
    uint32_t units;
    uint64_t unit_ns;
} planted_form;

static inline aegis_profile_series planted_series(uint64_t time_ns)
{
    return (aegis_profile_series){.samples = 100,
                                  .best_ns = time_ns,
                                  .median_ns = time_ns,
                                  .average_ns = time_ns,
                                  .quantile_ns = time_ns,
                                  .worst_ns = time_ns};
}

static inline aegis_profile_segment planted_segment(uint64_t bound_ns)
{
    return (aegis_profile_segment){.series = planted_series(bound_ns / 10),
                                   .bound_ns = bound_ns,
                                   .stretch_ns = PLANTED_STRETCH_NS};
}

/* Measured at a tenth of its bounds. Segments that a model has of its own are alike. */
static inline aegis_profile planted_profile(const planted_form *form, uint32_t segments)
{
    const uint64_t bound_ns = form->units * form->unit_ns;
    aegis_profile profile = {.alone = planted_series(bound_ns / 10),
                             .loaded = planted_series(bound_ns / 10),
                             .contention_factor = 1,
                             .quantile = 0.9,
                             .assurance = 0.95,
                             .margin = 10,
                             .bound_ns = bound_ns,
                             .stretch_ns = PLANTED_STRETCH_NS,
                             .segment_count = segments > 1 ? segments : 0};
    uint64_t done_ns = 0;
    for (uint32_t i = 0; i < profile.segment_count; i++) {
        const bool last = i + 1 == segments;
        const bool cut = i < form->cut_count;
        const uint64_t end_ns = last  ? bound_ns
                                : cut ? form->cuts[i] * form->unit_ns
                                      : bound_ns / segments * (i + 1);
        profile.segments[i] = planted_segment(end_ns - done_ns);
        done_ns = end_ns;
    }
    return profile;
}

/* False when the model cannot be opened so: past its budget, or not to be cut there. */
static inline bool plant_form(planter *p, const planted_form *form)
{
    const aegis_workload_model *wanted = &p->workload->models[form->index];
    const aegis_profile_options options = {.min_samples = wanted->samples,
                                           .quantile = wanted->confidence,
                                           .assurance = wanted->assurance,
                                           .margin = wanted->margin};
    aegis_model_config config = wanted->config;
    aegis_model *model = NULL;
    aegis_error err = {0};
    char whole[65], file[512];
    config.prepack = form->prepack;
    config.cuts = form->cut_count > 0 ? form->cuts : NULL;
    config.cut_count = form->cut_count;
    const aegis_status status =
        aegis_model_open(planter_backend(p, wanted->backend), &config, &model, &err);
    if (status == AEGIS_ERROR_BUDGET_EXCEEDED ||
        (status == AEGIS_ERROR_CONFIG && form->cut_count > 0)) {
        return false;
    }
    check(status, &err);
    aegis_profile profile = planted_profile(form, aegis_model_segment_count(model));
    check(aegis_profile_make_key(model, aegis_device_get_capabilities(p->device),
                                 p->workload->lanes, config.threads, &options, whole, &err),
          &err);
    aegis_model_close(model);
    if (p->workload->copies_early) {
        check(aegis_profile_copies_key(whole, config.early_copies, whole, &err), &err);
    }
    if (config.early_copies) {
        profile.copy = planted_series(PLANTED_COPY_NS / 10);
        profile.copy_bound_ns = PLANTED_COPY_NS;
    }
    check(aegis_profile_cut_key(whole, form->cuts, form->cut_count, profile.key, &err), &err);
    snprintf(file, sizeof file, "%s/profile-%.32s.json", p->workload->cache_dir, profile.key);
    check(aegis_profile_save(file, &profile, &err), &err);
    return true;
}

/* A quarter more for a model that may have to give up its packed copies, without them. */
static inline void plant_whole(planter *p, size_t index, uint64_t bound_ns)
{
    const aegis_workload_model *wanted = &p->workload->models[index];
    planted_form form = {
        .index = index, .prepack = wanted->config.prepack, .units = 1, .unit_ns = bound_ns};
    plant_form(p, &form);
    if (wanted->prepack_auto) {
        form.prepack = false;
        form.unit_ns += bound_ns / 4;
        plant_form(p, &form);
    }
}

/* The places after so many of these units at which the model can be cut. */
static inline uint32_t planted_places(planter *p, planted_form form, uint32_t *ret_places)
{
    uint32_t count = 0;
    form.cut_count = 1;
    for (uint32_t place = 1; place < form.units; place++) {
        form.cuts = &place;
        if (plant_form(p, &form)) {
            assert_true(count < PLANTED_PLACES);
            ret_places[count++] = place;
        }
    }
    return count;
}

/* A model of so many units, whole and with every set of at most so many cuts. */
static inline void
plant_every_cut(planter *p, size_t index, uint32_t units, uint64_t unit_ns, size_t most_cuts)
{
    uint32_t places[PLANTED_PLACES], cuts[PLANTED_PLACES];
    planted_form form = {.index = index,
                         .prepack = p->workload->models[index].config.prepack,
                         .units = units,
                         .unit_ns = unit_ns};
    const uint32_t count = planted_places(p, form, places);
    form.cuts = cuts;
    for (uint32_t set = 0; set < 1u << count; set++) {
        form.cut_count = 0;
        for (uint32_t i = 0; i < count; i++) {
            if ((set >> i & 1) != 0) {
                cuts[form.cut_count++] = places[i];
            }
        }
        assert_true(form.cut_count > most_cuts || plant_form(p, &form));
    }
}

/* As it was planted: where a model was measured all the same, the test would hang on the machine.
 */
static inline void nothing_was_measured(const running *r)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(r->system, &count);
    for (size_t i = 0; i < count; i++) {
        if (models[i].profile.key[0] != '\0' && !models[i].profile_from_cache) {
            fail_msg("%s was measured", models[i].name);
        }
    }
}

/* prepare() after everything was planted; the bounds of the driver are given too. */
static inline void prepare_unmeasured(running *r, const char *toml, aegis_system_options options)
{
    options.wake_bound_ns = PLANTED_DRIVER_NS;
    options.overhead_bound_ns = PLANTED_DRIVER_NS;
    prepare(r, toml, options);
    const aegis_scheduler *scheduler = aegis_system_scheduler(r->system);
    assert_int_equal(aegis_scheduler_wake_bound_ns(scheduler), PLANTED_DRIVER_NS);
    assert_int_equal(aegis_scheduler_overhead_bound_ns(scheduler), PLANTED_DRIVER_NS);
    nothing_was_measured(r);
}

/* The same with this bound for every model, all of them whole. */
static inline void
prepare_planted(running *r, const char *toml, aegis_system_options options, uint64_t bound_ns)
{
    planter p;
    planter_init(&p, toml);
    for (size_t i = 0; i < p.workload->model_count; i++) {
        plant_whole(&p, i, bound_ns);
    }
    planter_finish(&p);
    prepare_unmeasured(r, toml, options);
}

/* ---- a cache for one program, as the fixtures of its group ---- */

static char planted_cache[] = "/tmp/aegisrt-planted-XXXXXX";

/* Of its own: what is planted is true of no machine, and nobody else may find it. */
static inline int make_planted_cache(void **state)
{
    (void)state;
    return mkdtemp(planted_cache) == NULL ? -1 : setenv("AEGISRT_CACHE_DIR", planted_cache, 1);
}

static inline int remove_planted_cache(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", planted_cache);
    return system(command);
}

#endif
