/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SYSTEM_TEST_H
#define AEGIS_SYSTEM_TEST_H

/* Whole systems over real models, for the tests beside this file. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aegisrt/aegis.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXIT_SKIPPED 77

typedef struct running {
    aegis_allocator allocator;
    aegis_workload *workload;
    aegis_system *system;
    char trace[256];
} running;

static inline const char *source_dir(void)
{
    const char *dir = getenv("AEGISRT_SOURCE_DIR");
    return dir != NULL ? dir : ".";
}

/* Models are fetched by scripts/models.sh; a build without the runtime has nothing to run. */
static inline void skip_without_models(void)
{
    char path[512];
    size_t count;
    const aegis_runtime_info *runtimes = aegis_runtime_list(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(runtimes[i].name, "onnxruntime") == 0 && !runtimes[i].built) {
            printf("skipped: built without AEGISRT_BUILD_ONNXRUNTIME\n");
            exit(EXIT_SKIPPED);
        }
    }
    snprintf(path, sizeof path, "%s/models/light_squeezenet.onnx", source_dir());
    if (access(path, R_OK) != 0) {
        printf("skipped: %s is not there; run make models\n", path);
        exit(EXIT_SKIPPED);
    }
    if (chdir(source_dir()) != 0) {
        exit(1);
    }
}

static inline void check(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s at %s:%d\n", err->message, err->file, err->line);
    }
    assert_int_equal(status, AEGIS_OK);
}

static inline void prepare(running *r, const char *toml, aegis_system_options options)
{
    aegis_error err = {0};
    r->allocator = aegis_allocator_default();
    const char *folder = getenv("AEGISRT_BINARY_DIR");
    snprintf(r->trace, sizeof r->trace, "%s/test-%d.trace", folder != NULL ? folder : "/tmp",
             (int)getpid());
    options.trace_path = r->trace;
    check(aegis_workload_parse(toml, strlen(toml), "test.toml", &r->allocator, &r->workload, &err),
          &err);
    check(aegis_system_create(r->workload, &options, &r->allocator, &r->system, &err), &err);
}

/* For tests in which no model may be refused. */
static inline void all_are_admitted(const running *r)
{
    size_t count;
    bool all = true;
    const aegis_system_model *models = aegis_system_models(r->system, &count);
    for (size_t i = 0; i < count; i++) {
        if (!models[i].admitted) {
            fprintf(stderr, "%s: %s\n", models[i].name, models[i].reason);
        }
        all = all && models[i].admitted;
    }
    assert_true(all);
}

static inline void let_run(double seconds)
{
    struct timespec nap = {.tv_sec = (time_t)seconds,
                           .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&nap, NULL);
}

static inline aegis_model_metrics metrics_of(const running *r, uint32_t model)
{
    aegis_model_metrics metrics;
    aegis_error err = {0};
    check(aegis_scheduler_model_metrics(aegis_system_scheduler(r->system), model, &metrics, &err),
          &err);
    return metrics;
}

static inline uint64_t completed(const running *r, uint32_t model)
{
    return metrics_of(r, model).counters.completed;
}

/* Until so many jobs have completed in all, however long a busy machine takes; what never comes
 * fails after five minutes. */
static inline void run_until_completed(const running *r, uint32_t model, uint64_t wanted)
{
    for (int i = 0; i < 30000 && completed(r, model) < wanted; i++) {
        let_run(0.01);
    }
    assert_true(completed(r, model) >= wanted);
}

static inline void run_jobs(const running *r, uint32_t model, uint64_t more)
{
    run_until_completed(r, model, completed(r, model) + more);
}

static inline void numbers_add_up(const aegis_core_counters *c)
{
    assert_int_equal(c->jobs,
                     c->completed + c->missed + c->aborted + c->dropped + c->skipped + c->pending);
}

static inline aegis_replay_result replay(const running *r)
{
    aegis_trace_file *file;
    aegis_replay_result result;
    aegis_error err = {0};
    check(aegis_trace_file_open(r->trace, &r->allocator, &file, &err), &err);
    assert_int_equal(aegis_trace_file_dropped(file), 0);
    check(aegis_replay_verify(file, NULL, &r->allocator, &result, &err), &err);
    aegis_trace_file_close(file);
    return result;
}

static inline size_t records_of(const running *r, aegis_trace_kind kind)
{
    aegis_trace_file *file;
    aegis_error err = {0};
    size_t count = 0, found = 0;
    check(aegis_trace_file_open(r->trace, &r->allocator, &file, &err), &err);
    const aegis_trace_record *records = aegis_trace_file_records(file, &count);
    for (size_t i = 0; i < count; i++) {
        found += records[i].kind == kind;
    }
    aegis_trace_file_close(file);
    return found;
}

static inline void tear_down(running *r)
{
    aegis_system_destroy(r->system);
    aegis_workload_free(r->workload);
    unlink(r->trace);
}

#endif
