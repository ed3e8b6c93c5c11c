/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What AegisRT costs a single model: jobs back to back through the public scheduler API on one
 * lane, against a bare ONNX Runtime loop over the same model, in turns within one run.
 *
 *     bench_throughput [MODEL.onnx] [INPUTS] [ROUNDS] [sleep|poll]
 *
 * INPUTS is the workload's `inputs` value, for example "{ x = [1, 3, 48, 320] }", or "" when the
 * model's shapes are fixed. Each round times the same number of jobs three times: bare; AegisRT
 * with two jobs under way, as a caller does who wants throughput; AegisRT with one, where each job
 * pays for the way to the callback and back. With "poll" as a fourth argument the scheduler's
 * thread polls instead of sleeping, on a core of its own. The model is in the background, where
 * jobs come at any rate (bed.h). Inputs stay in place on both sides. A
 * ratio is the median over rounds of (bare time / AegisRT time): 1 is free of cost.
 */
#include "bed.h"
#include "bench.h"
#include "ort.h"

#define DEFAULT_MODEL "models/light_squeezenet.onnx"
#define DEFAULT_ROUNDS 300
#define SLOTS 3 /* two under way and one whose callback has not returned */
#define ROUND_NS 30000000.0

typedef struct series {
    double *bare, *piped, *single; /* ns a job, by round */
    double *executed;              /* of piped: ns a job between start and end of execution */
    size_t rounds, jobs;
} series;

static double time_bare(const bed *clock, const ort_runtime *ort, ort_session *session, size_t jobs)
{
    uint64_t begin = bed_now_ns(clock);
    for (size_t i = 0; i < jobs; i++) {
        ort_run(ort, session);
    }
    return (double)(bed_now_ns(clock) - begin) / (double)jobs;
}

/* Sum of all execution times so far, as the lane measured them. */
static double executed_ns(const bed *self)
{
    aegis_model_metrics metrics;
    aegis_error error;
    bed_check(aegis_scheduler_model_metrics(self->scheduler, 0, &metrics, &error), &error);
    return metrics.execution_ns.mean * (double)metrics.execution_ns.count;
}

static double time_aegis(bed *self, size_t jobs, size_t under_way)
{
    uint64_t begin = bed_now_ns(self);
    for (size_t i = 0; i < jobs; i++) {
        if (i >= under_way) {
            bed_wait(self);
        }
        bed_submit(self);
    }
    for (size_t i = 0; i < under_way; i++) {
        bed_wait(self);
    }
    return (double)(bed_now_ns(self) - begin) / (double)jobs;
}

/* The order turns around with every round, so that a drift of the machine favours nobody. */
static void measure(bed *self, const ort_runtime *ort, ort_session *session, series *ret_series)
{
    for (size_t r = 0; r < ret_series->rounds; r++) {
        size_t jobs = ret_series->jobs;
        if (r % 2 == 0) {
            ret_series->bare[r] = time_bare(self, ort, session, jobs);
        }
        double before = executed_ns(self);
        ret_series->piped[r] = time_aegis(self, jobs, 2);
        ret_series->executed[r] = (executed_ns(self) - before) / (double)jobs;
        ret_series->single[r] = time_aegis(self, jobs, 1);
        if (r % 2 == 1) {
            ret_series->bare[r] = time_bare(self, ort, session, jobs);
        }
    }
}

/* Rounds are compared with themselves first: what slows the machine slows both sides. */
static void report_ratio(
    bench_report *report, const char *name, const double *over, const double *under, size_t count)
{
    double *ratios = calloc(count, sizeof *ratios);
    ort_require(ratios != NULL, "no memory", name);
    for (size_t i = 0; i < count; i++) {
        ratios[i] = over[i] / under[i];
    }
    bench_report_samples(report, name, "bare time over AegisRT time", ratios, count);
    free(ratios);
}

static void report_series(const char *model, const char *wait, series *times)
{
    bench_report report = bench_report_begin("throughput");
    json_object_set_new(report.root, "model", json_string(model));
    json_object_set_new(report.root, "wait", json_string(wait));
    bench_report_value(&report, "jobs_per_round", "jobs", (double)times->jobs);
    report_ratio(&report, "ratio", times->bare, times->piped, times->rounds);
    report_ratio(&report, "ratio_of_execution", times->bare, times->executed, times->rounds);
    report_ratio(&report, "ratio_of_dispatch", times->executed, times->piped, times->rounds);
    report_ratio(&report, "ratio_one_at_a_time", times->bare, times->single, times->rounds);
    bench_report_samples(&report, "bare", "ns", times->bare, times->rounds);
    bench_report_samples(&report, "aegisrt", "ns", times->piped, times->rounds);
    bench_report_samples(&report, "aegisrt_one_at_a_time", "ns", times->single, times->rounds);
    bench_report_end(&report);
}

int main(int argc, char **argv)
{
    const char *model = argc > 1 ? argv[1] : DEFAULT_MODEL;
    const char *inputs = argc > 2 ? argv[2] : "";
    long rounds = argc > 3 ? atol(argv[3]) : DEFAULT_ROUNDS;
    char *absolute = realpath(model, NULL);
    if (rounds < 1 || absolute == NULL) {
        fprintf(stderr, "%s: %s\n", model, rounds < 1 ? "ROUNDS must be positive" : "no such file");
        return 2;
    }
    char lines[1024];
    snprintf(lines, sizeof lines, "path = \"%s\"\n%s%s\n", absolute,
             inputs[0] != '\0' ? "inputs = " : "", inputs);
    bed self;
    const char *wait = argc > 4 ? argv[4] : "sleep";
    bed_start(&self, wait, lines, SLOTS, 0);
    ort_runtime ort;
    ort_session session;
    ort_open(&ort, NULL);
    ort_load(&ort, &self.workload->models[0].config, &session);

    series times = {.rounds = (size_t)rounds};
    double *values = calloc(4 * times.rounds, sizeof *values);
    ort_require(values != NULL, "no memory", model);
    times.bare = values;
    times.piped = values + times.rounds;
    times.single = values + 2 * times.rounds;
    times.executed = values + 3 * times.rounds;
    double once = time_bare(&self, &ort, &session, 10);
    times.jobs = once < ROUND_NS / 10 ? (size_t)(ROUND_NS / once) : 10;
    measure(&self, &ort, &session, &times);
    ort_require(self.failed == 0, "jobs failed", model);
    report_series(model, wait, &times);

    free(values);
    ort_unload(&ort, &session);
    bed_stop(&self);
    ort_close(&ort);
    free(absolute);
    return 0;
}
