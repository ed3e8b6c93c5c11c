/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BENCH_BED_H
#define AEGIS_BENCH_BED_H

/*
 * A running system around one model that takes jobs as fast as they come. Admission holds a model
 * with a deadline to its proved rate. So throughput is measured in the background, where jobs come
 * at any rate and every bound is kept. What is measured of a model with a deadline is measured with
 * a bound far below its execution time (overrun "report"), hence a period as short, and a deadline
 * of an hour; a submission that comes within the period is delayed until its end.
 */

#include <aegisrt/aegis.h>

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BED_HOUR_NS (UINT64_C(3600) * 1000000000)

typedef struct bed {
    aegis_workload *workload;
    aegis_system *system;
    aegis_scheduler *scheduler;
    aegis_clock clock;
    uint64_t period_ns; /* least distance of two releases; 0 in the background */
    sem_t ended;        /* one post a job */
    _Atomic uint64_t failed;
} bed;

/* Ends the program with the record's words when a call failed. */
static inline void bed_check(aegis_status status, const aegis_error *error)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s: %s\n", error->component, error->message);
        exit(4);
    }
}

static inline uint64_t bed_now_ns(const bed *self)
{
    return aegis_clock_now_ns(&self->clock);
}

/* Writes `text` into a file of its own and returns its path, to be freed. */
static inline char *bed_write(const char *suffix, const char *text)
{
    const char *folder = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    size_t size = strlen(folder) + strlen(suffix) + 32;
    char *path = malloc(size);
    if (path == NULL) {
        exit(4);
    }
    snprintf(path, size, "%s/aegis-bench-XXXXXX%s", folder, suffix);
    int file = mkstemps(path, (int)strlen(suffix));
    size_t length = strlen(text);
    if (file < 0 || write(file, text, length) != (ssize_t)length || close(file) != 0) {
        perror(path);
        exit(4);
    }
    return path;
}

/* Takes the model out of the pool and admits it anew, with `bound_ns` for its profile's bound. */
static inline void bed_admit_anew(bed *self, uint64_t bound_ns, uint32_t slots)
{
    size_t count;
    const aegis_system_model *model = aegis_system_models(self->system, &count);
    aegis_profile profile = model->profile;
    aegis_admission_request request = {.profile = &profile,
                                       .deadline_ns = BED_HOUR_NS,
                                       .lane = -1,
                                       .queue_depth = 8,
                                       .slots = slots,
                                       .external = true,
                                       .overrun = AEGIS_OVERRUN_REPORT,
                                       .early = AEGIS_EARLY_DELAY};
    aegis_admission_answer answer = {0};
    aegis_error error;
    profile.bound_ns = bound_ns;
    profile.stretch_ns = 0;
    self->period_ns = bound_ns + aegis_scheduler_overhead_bound_ns(self->scheduler) + 1000;
    request.period_ns = self->period_ns;
    bed_check(aegis_scheduler_evict(self->scheduler, 0, &error), &error);
    bed_check(aegis_scheduler_admit(self->scheduler, aegis_system_context(self->system, 0),
                                    &request, &answer, &error),
              &error);
}

/* `model` holds lines of the [[model]] table: path, backend, inputs. `bound_ns` 0: background. */
static inline void
bed_start(bed *self, const char *wait, const char *model, uint32_t slots, uint64_t bound_ns)
{
    char text[2048];
    aegis_allocator allocator = aegis_allocator_default();
    aegis_error error;
    size_t count;
    snprintf(text, sizeof text,
             "[device]\nkind = \"host\"\nmemory = \"512MiB\"\n"
             "[schedule]\npolicy = \"np-edf\"\nwait = \"%s\"\n"
             "[[model]]\nname = \"bench\"\nsource = \"external\"\n%s\n"
             "overrun = \"report\"\nsamples = 100\nslots = %u\n%s",
             wait,
             bound_ns > 0 ? "period = \"3600s\""
                          : "class = \"background\"\nconfidence = 0.9\nmargin = 4.0",
             slots, model);
    char *path = bed_write(".toml", text);
    *self = (bed){.clock = aegis_clock_monotonic()};
    sem_init(&self->ended, 0, 0);
    bed_check(aegis_workload_load(path, &allocator, &self->workload, &error), &error);
    unlink(path);
    free(path);
    bed_check(aegis_system_create(self->workload, NULL, &allocator, &self->system, &error), &error);
    if (!aegis_system_models(self->system, &count)[0].admitted) {
        fprintf(stderr, "not admitted: %s\n", aegis_system_models(self->system, &count)[0].reason);
        exit(3);
    }
    self->scheduler = aegis_system_scheduler(self->system);
    if (bound_ns > 0) {
        bed_admit_anew(self, bound_ns, slots);
    }
    bed_check(aegis_system_start(self->system, &error), &error);
}

static inline void bed_stop(bed *self)
{
    aegis_error error;
    bed_check(aegis_system_stop(self->system, &error), &error);
    aegis_system_destroy(self->system);
    aegis_workload_free(self->workload);
    sem_destroy(&self->ended);
}

static inline void bed_job_ended(void *argument, const aegis_job_result *result)
{
    bed *self = argument;
    self->failed += result->end != AEGIS_JOB_COMPLETED;
    sem_post(&self->ended);
}

/* Submits one job with the inputs that stand in its slot. */
static inline uint64_t bed_submit(bed *self)
{
    aegis_submission submission = {.callback = bed_job_ended, .callback_self = self};
    aegis_error error;
    uint64_t job = 0;
    bed_check(aegis_scheduler_submit(self->scheduler, 0, &submission, &job, &error), &error);
    return job;
}

static inline void bed_wait(bed *self)
{
    while (sem_wait(&self->ended) != 0 && errno == EINTR) {
        /* again until a job ended */
    }
}

#endif
