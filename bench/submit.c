/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the caller's submission to the start of execution: the way through the queue, the
 * orchestration thread, the core and the lane.
 *
 *     bench_submit [JOBS]
 *
 * The model does nothing, so that the figures are those of the scheduler. Jobs are submitted one at
 * a time with pauses, so that a sleeping driver sleeps. Measured with `wait = "sleep"` and, when
 * the machine has a core to spare, with "poll". Submission times are the caller's, start times come
 * from the trace.
 */
#include "bed.h"
#include "bench.h"

#include <inttypes.h>
#include <time.h>

#define DEFAULT_JOBS 10000
#define BATCH 1000
#define PAUSE_NS 200000u
#define BOUND_NS 10000
#define MODEL                                                                \
    "{\"inputs\": [{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": [1]}],"  \
    " \"outputs\": [{\"name\": \"y\", \"dtype\": \"f32\", \"shape\": [1]}]," \
    " \"segments\": [[]]}"

typedef struct submitted {
    uint64_t job, at_ns;
} submitted;

/* Long enough that the next submission is released at once. */
static void pause_between(const bed *self)
{
    uint64_t pause_ns = self->period_ns > PAUSE_NS ? self->period_ns : PAUSE_NS;
    struct timespec pause = {.tv_sec = (time_t)(pause_ns / 1000000000u),
                             .tv_nsec = (long)(pause_ns % 1000000000u)};
    nanosleep(&pause, NULL);
}

/* Start of execution of each submitted job, by the records of the lane. */
static size_t join_starts(
    bed *self, const submitted *jobs, size_t count, uint64_t since_ns, double *ret_latencies)
{
    static const size_t capacity = 4 * BATCH;
    aegis_trace_query query = {.start_ns = since_ns, .kind = AEGIS_TRACE_EXECUTE};
    aegis_trace_record *records = calloc(capacity, sizeof *records);
    size_t found = 0, joined = 0;
    aegis_error error;
    if (records == NULL) {
        exit(4);
    }
    bed_check(aegis_trace_collector_query(aegis_system_collector(self->system), &query, records,
                                          capacity, &found, &error),
              &error);
    found = found < capacity ? found : capacity;
    size_t at = 0; /* both are in order of time */
    for (size_t i = 0; i < found && at < count; i++) {
        if (records[i].job == jobs[at].job) {
            ret_latencies[joined++] = (double)((uint64_t)records[i].b - jobs[at].at_ns);
            at++;
        }
    }
    free(records);
    return joined;
}

static size_t run_batch(bed *self, size_t count, double *ret_latencies)
{
    submitted jobs[BATCH];
    uint64_t since = bed_now_ns(self);
    for (size_t i = 0; i < count; i++) {
        pause_between(self);
        jobs[i].at_ns = bed_now_ns(self);
        jobs[i].job = bed_submit(self);
        bed_wait(self);
    }
    return join_starts(self, jobs, count, since, ret_latencies);
}

static void measure(bench_report *report, const char *wait, const char *model, size_t count)
{
    bed self;
    char lines[512];
    snprintf(lines, sizeof lines, "path = \"%s\"\nbackend = \"null\"\n", model);
    bed_start(&self, wait, lines, 2, BOUND_NS);
    double *latencies = calloc(count, sizeof *latencies);
    if (latencies == NULL) {
        exit(4);
    }
    size_t joined = 0;
    for (size_t done = 0; done < count; done += BATCH) {
        joined += run_batch(&self, count - done < BATCH ? count - done : BATCH, latencies + joined);
    }
    uint64_t failed = self.failed;
    bed_stop(&self);
    if (joined != count || failed != 0) {
        fprintf(stderr, "%zu of %zu jobs have a start in the trace, %" PRIu64 " failed\n", joined,
                count, failed);
        exit(1);
    }
    bench_report_samples(report, wait, "ns", latencies, count);
    free(latencies);
}

int main(int argc, char **argv)
{
    long jobs = argc > 1 ? atol(argv[1]) : DEFAULT_JOBS;
    if (jobs < 1) {
        fputs("JOBS must be positive\n", stderr);
        return 2;
    }
    char *model = bed_write(".null", MODEL);
    bench_report report = bench_report_begin("submit");
    measure(&report, "sleep", model, (size_t)jobs);
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1) {
        measure(&report, "poll", model, (size_t)jobs);
    }
    unlink(model);
    free(model);
    bench_report_end(&report);
    return 0;
}
