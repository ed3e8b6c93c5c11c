/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BENCH_BED_H
#define AEGIS_BENCH_BED_H

/*
 * A running system around one model that takes jobs as they come: source "external" without a
 * period, which is class "background". Nothing limits its rate but the machine.
 */

#include <aegisrt/aegis.h>

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct bed {
    aegis_workload *workload;
    aegis_system *system;
    aegis_scheduler *scheduler;
    aegis_clock clock;
    sem_t ended; /* one post a job */
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

/* `model` holds lines of the [[model]] table: path, backend, inputs, slots. */
static inline void bed_start(bed *self, const char *wait, const char *model)
{
    char text[2048];
    aegis_allocator allocator = aegis_allocator_default();
    aegis_error error;
    snprintf(text, sizeof text,
             "[device]\nkind = \"host\"\nmemory = \"512MiB\"\n"
             "[schedule]\npolicy = \"np-edf\"\nwait = \"%s\"\n"
             "[[model]]\nname = \"bench\"\nclass = \"background\"\nsource = \"external\"\n"
             "samples = 100\n%s",
             wait, model);
    char *path = bed_write(".toml", text);
    *self = (bed){.clock = aegis_clock_monotonic()};
    sem_init(&self->ended, 0, 0);
    bed_check(aegis_workload_load(path, &allocator, &self->workload, &error), &error);
    unlink(path);
    free(path);
    bed_check(aegis_system_create(self->workload, NULL, &allocator, &self->system, &error), &error);
    size_t count;
    const aegis_system_model *models = aegis_system_models(self->system, &count);
    if (!models[0].admitted) {
        fprintf(stderr, "not admitted: %s\n", models[0].reason);
        exit(3);
    }
    self->scheduler = aegis_system_scheduler(self->system);
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
