/* SPDX-License-Identifier: Apache-2.0 */
/* Admission against the number of tasks: a test from scratch, and the test after one more task was
 * added to a set that had been tested; wall time, and thread time ("_thread") for machines that
 * others use. Random sets of utilisation 0.7 and 0.9, periods log-uniform
 * from 10 ms to 1 s in nanoseconds, D = T, rate-monotonic; results that say neither refused nor
 * accepted are counted apart. */
#include "bench/bench.h"
#include "bench/tasksets.h"

#include <signal.h>
#include <time.h>

#define MOST_TASKS 10000
#define MOST_SAMPLES 1000
#define CASE_NS UINT64_C(3000000000) /* a case ends after this time with the samples it has */
#define MS 1000000.0

/* A test that takes longer is ended and counted as undecided. */
#define TEST_SECONDS 1

/* A signal handler reaches nothing else than a variable of the program. */
static volatile bool time_is_up;

static void on_alarm(int signal_number)
{
    (void)signal_number;
    time_is_up = true;
}

static aegis_admission_limits one_second(void)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    time_is_up = false;
    alarm(TEST_SECONDS);
    return (aegis_admission_limits){.cancel = &time_is_up};
}

static void must(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
}

typedef struct bed {
    aegis_analysis analysis;
    size_t count;
    double utilisation;
    uint64_t seed;
    aegis_task drawn[MOST_TASKS], tasks[MOST_TASKS];
    size_t order[MOST_TASKS];
    double fresh_us[MOST_SAMPLES], added_us[MOST_SAMPLES];
    double fresh_thread_us[MOST_SAMPLES], added_thread_us[MOST_SAMPLES];
    size_t samples, open;
} bed;

static double us_since(uint64_t start_ns)
{
    return (double)(bench_now_ns() - start_ns) / 1000.0;
}

static double thread_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void draw(bed *b)
{
    const bench_taskset_shape shape = {.count = b->count,
                                       .utilisation = b->utilisation,
                                       .least_period = 10 * MS,
                                       .largest_period = 1000 * MS,
                                       .least_deadline = 1.0};
    bench_draw_taskset(&b->seed, &shape, b->drawn);
    aegis_admission_order_rm(b->drawn, b->count, b->order);
    bench_take_order(b->drawn, b->order, b->count, b->tasks);
}

static void measure_fresh(bed *b)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result;
    aegis_error err;
    aegis_admission_limits limits = one_second();
    double start_thread = thread_us();
    uint64_t start = bench_now_ns();
    must(aegis_admission_test(b->analysis, b->tasks, b->count, &limits, &allocator, &result, &err),
         &err);
    b->fresh_us[b->samples] = us_since(start);
    b->fresh_thread_us[b->samples] = thread_us() - start_thread;
    b->open += result.verdict == AEGIS_ADMISSION_UNDECIDED;
    aegis_admission_result_finish(&result, &allocator);
}

/* All but one task, drawn at random, are in a tested set; it is added in its place and tested. */
static void measure_added(bed *b)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_set *set = NULL;
    aegis_admission_result result;
    aegis_error err;
    size_t late = (size_t)(aegis_random_next(&b->seed) % b->count);
    must(aegis_admission_set_create(b->analysis, &allocator, &set, &err), &err);
    for (size_t i = 0; i < b->count; i++) {
        if (i != late) {
            must(aegis_admission_set_add(set, &b->tasks[i], aegis_admission_set_count(set), &err),
                 &err);
        }
    }
    aegis_admission_limits limits = one_second();
    must(aegis_admission_set_test(set, &limits, &result, &err), &err);
    aegis_admission_result_finish(&result, &allocator);
    limits = one_second();
    double start_thread = thread_us();
    uint64_t start = bench_now_ns();
    must(aegis_admission_set_add(set, &b->tasks[late], late, &err), &err);
    must(aegis_admission_set_test(set, &limits, &result, &err), &err);
    b->added_us[b->samples] = us_since(start);
    b->added_thread_us[b->samples] = thread_us() - start_thread;
    aegis_admission_result_finish(&result, &allocator);
    aegis_admission_set_destroy(set);
}

static void
measure(bench_report *report, bed *b, aegis_analysis analysis, size_t count, double utilisation)
{
    char name[96];
    uint64_t start = bench_now_ns();
    b->analysis = analysis;
    b->count = count;
    b->utilisation = utilisation;
    b->seed = 1;
    b->open = 0;
    for (b->samples = 0;
         b->samples < MOST_SAMPLES && (b->samples == 0 || bench_now_ns() - start < CASE_NS);
         b->samples++) {
        draw(b);
        measure_fresh(b);
        measure_added(b);
    }
    const char *policy = aegis_analysis_name(analysis);
    snprintf(name, sizeof name, "%s_u%.1f_n%zu_test", policy, utilisation, count);
    bench_report_samples(report, name, "us", b->fresh_us, b->samples);
    snprintf(name, sizeof name, "%s_u%.1f_n%zu_test_thread", policy, utilisation, count);
    bench_report_samples(report, name, "us", b->fresh_thread_us, b->samples);
    snprintf(name, sizeof name, "%s_u%.1f_n%zu_add_one", policy, utilisation, count);
    bench_report_samples(report, name, "us", b->added_us, b->samples);
    snprintf(name, sizeof name, "%s_u%.1f_n%zu_add_one_thread", policy, utilisation, count);
    bench_report_samples(report, name, "us", b->added_thread_us, b->samples);
    if (b->open > 0) {
        snprintf(name, sizeof name, "%s_u%.1f_n%zu_undecided", policy, utilisation, count);
        bench_report_value(report, name, "sets", (double)b->open);
    }
}

int main(void)
{
    static const size_t counts[] = {8, 32, 256, 1000, MOST_TASKS};
    static const double loads[] = {0.7, 0.9};
    static bed b;
    bench_report report = bench_report_begin("admission");
    for (int k = AEGIS_ANALYSIS_NP_FP; k <= AEGIS_ANALYSIS_FIFO; k++) {
        for (size_t n = 0; n < AEGIS_ARRAY_LENGTH(counts); n++) {
            for (size_t u = 0; u < AEGIS_ARRAY_LENGTH(loads); u++) {
                measure(&report, &b, (aegis_analysis)k, counts[n], loads[u]);
            }
        }
    }
    bench_report_end(&report);
    return 0;
}
