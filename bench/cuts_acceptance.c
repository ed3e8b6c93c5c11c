/* SPDX-License-Identifier: Apache-2.0 */
/* How many random task sets are accepted whole and how many with cuts, under np-edf and np-fp.
 *
 *   bench_cuts_acceptance [--sets N] [--overhead PERCENT] [--table]
 *
 * Sets: UUniFast (Bini & Buttazzo 2005), 8 tasks, periods log-uniform from 10 ms to 1 s in
 * microseconds, implicit deadlines; np-fp by deadline-monotonic priorities. A task is cut into even
 * segments, as many as the others' tolerance asks for and at most 64; each cut adds to C the
 * PERCENT / 8 of the task's C that was measured for real models at 8 cuts (default 3). For
 * comparison, what preemption at any instant and at no cost would give: under EDF nothing can do
 * better; under fixed priorities cuts can, since the last segment of a job is not interrupted.
 * Seeds are fixed and nothing is measured, so that the result is the same everywhere. */
#include "bench/bench.h"

#include "base/base.h"

#include <aegisrt/cuts.h>

#include <math.h>

#define TASKS 8
#define MOST_SEGMENTS 64
#define ROUNDS 64
#define DEFAULT_SETS 1000
#define CUTS_MEASURED 8
#define STEPS UINT64_C(2000000)

typedef struct cut_set {
    aegis_task tasks[TASKS]; /* by deadline */
    int64_t whole[TASKS];
    int64_t segments[TASKS][MOST_SEGMENTS];
} cut_set;

typedef struct options {
    unsigned sets;
    double overhead; /* share of C that one cut adds */
    bool table;
} bench_options;

typedef struct counts {
    size_t whole, cut, preemptive, undecided;
    double cuts; /* of the sets accepted only with cuts */
} bench_counts;

static void must(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
}

static double uniform(uint64_t *seed)
{
    return (double)(aegis_random_next(seed) >> 11) * 0x1p-53;
}

static int by_deadline(const void *a, const void *b)
{
    const aegis_task *x = a, *y = b;
    return (x->deadline > y->deadline) - (x->deadline < y->deadline);
}

static void draw(uint64_t seed, double utilisation, cut_set *set)
{
    double left = utilisation;
    for (size_t i = 0; i < TASKS; i++) {
        double rest = left * pow(uniform(&seed), 1.0 / (double)(TASKS - i));
        double share = i + 1 == TASKS ? left : left - rest;
        left = rest;
        double period = 10000 * pow(100, uniform(&seed));
        int64_t execution = (int64_t)(share * period);
        set->tasks[i] = (aegis_task){.execution = execution < 1 ? 1 : execution,
                                     .period = (int64_t)period,
                                     .deadline = (int64_t)period};
    }
    qsort(set->tasks, TASKS, sizeof set->tasks[0], by_deadline);
    for (size_t i = 0; i < TASKS; i++) {
        set->whole[i] = set->tasks[i].execution;
    }
}

static bool accepts(aegis_analysis analysis, const cut_set *set, bench_counts *counts)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_admission_limits limits = {.steps = STEPS};
    aegis_admission_result result;
    aegis_error err;
    must(aegis_admission_test(analysis, set->tasks, TASKS, &limits, &allocator, &result, &err),
         &err);
    bool accepted = result.verdict == AEGIS_SCHEDULABLE;
    counts->undecided += result.verdict == AEGIS_ADMISSION_UNDECIDED;
    aegis_admission_result_finish(&result, &allocator);
    return accepted;
}

static int64_t cost(const cut_set *set, size_t i, size_t segments, double overhead)
{
    return set->whole[i] + (int64_t)ceil(overhead * (double)set->whole[i] * (double)(segments - 1));
}

/* The fewest even segments of at most `longest`; 0: none. */
static size_t fewest(const cut_set *set, size_t i, int64_t longest, double overhead)
{
    for (size_t segments = 1; segments <= MOST_SEGMENTS; segments++) {
        int64_t sum = cost(set, i, segments, overhead);
        if ((int64_t)segments <= sum && (sum - 1) / (int64_t)segments + 1 <= longest) {
            return segments;
        }
    }
    return 0;
}

static void split(cut_set *set, size_t i, size_t segments, double overhead)
{
    aegis_task *task = &set->tasks[i];
    int64_t count = (int64_t)segments;
    task->execution = cost(set, i, segments, overhead);
    for (int64_t k = 0; k < count; k++) {
        set->segments[i][k] = task->execution / count + (k < task->execution % count);
    }
    task->segments = segments > 1 ? set->segments[i] : NULL;
    task->segment_count = segments > 1 ? segments : 0;
}

/* Cuts every task to what the others tolerate until all keep to it: each cut makes C longer and the
 * others' slack smaller. */
static bool cut_to_tolerance(aegis_analysis analysis, cut_set *set, double overhead)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_cut_tolerance tolerances[TASKS];
    size_t segments[TASKS];
    bool changed = true;
    for (size_t i = 0; i < TASKS; i++) {
        segments[i] = 1;
    }
    for (int round = 0; changed && round < ROUNDS; round++) {
        aegis_error err;
        changed = false;
        aegis_status status =
            aegis_cut_tolerances(analysis, set->tasks, TASKS, NULL, &allocator, tolerances, &err);
        if (status == AEGIS_ERROR_UNDECIDED) {
            return false;
        }
        must(status, &err);
        for (size_t i = 0; i < TASKS; i++) {
            size_t wanted = fewest(set, i, tolerances[i].segment, overhead);
            if (wanted == 0) {
                return false;
            }
            if (wanted > segments[i]) {
                segments[i] = wanted;
                changed = true;
            }
        }
        for (size_t i = 0; i < TASKS; i++) {
            split(set, i, segments[i], overhead);
        }
    }
    return !changed;
}

static bench_counts count_accepted(bool edf, double utilisation, const bench_options *options)
{
    const aegis_analysis whole = edf ? AEGIS_ANALYSIS_NP_EDF : AEGIS_ANALYSIS_NP_FP;
    const aegis_analysis cut = edf ? AEGIS_ANALYSIS_NP_EDF : AEGIS_ANALYSIS_FPP;
    const aegis_analysis best = edf ? AEGIS_ANALYSIS_EDF : AEGIS_ANALYSIS_FP;
    bench_counts counts = {0};
    for (unsigned i = 0; i < options->sets; i++) {
        cut_set set;
        draw(1000000 * (uint64_t)(utilisation * 100) + i, utilisation, &set);
        counts.preemptive += accepts(best, &set, &counts);
        if (accepts(whole, &set, &counts)) {
            counts.whole++;
            counts.cut++;
            continue;
        }
        if (cut_to_tolerance(whole, &set, options->overhead) && accepts(cut, &set, &counts)) {
            counts.cut++;
            for (size_t k = 0; k < TASKS; k++) {
                size_t segments = set.tasks[k].segment_count;
                counts.cuts += segments > 1 ? (double)(segments - 1) : 0;
            }
        }
    }
    return counts;
}

static void read_options(int argc, char **argv, bench_options *ret_options)
{
    *ret_options = (bench_options){.sets = DEFAULT_SETS, .overhead = 0.03 / CUTS_MEASURED};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--table") == 0) {
            ret_options->table = true;
        } else if (strcmp(argv[i], "--sets") == 0 && i + 1 < argc) {
            ret_options->sets = (unsigned)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--overhead") == 0 && i + 1 < argc) {
            ret_options->overhead = strtod(argv[++i], NULL) / 100 / CUTS_MEASURED;
        } else {
            fprintf(stderr, "usage: %s [--sets N] [--overhead PERCENT] [--table]\n", argv[0]);
            exit(2);
        }
    }
}

static void
add(bench_report *report, const char *policy, double utilisation, const bench_counts *counts)
{
    char name[64];
    snprintf(name, sizeof name, "%s U=%.1f whole", policy, utilisation);
    bench_report_value(report, name, "sets", (double)counts->whole);
    snprintf(name, sizeof name, "%s U=%.1f cut", policy, utilisation);
    bench_report_value(report, name, "sets", (double)counts->cut);
    snprintf(name, sizeof name, "%s U=%.1f preemptive", policy, utilisation);
    bench_report_value(report, name, "sets", (double)counts->preemptive);
    snprintf(name, sizeof name, "%s U=%.1f undecided", policy, utilisation);
    bench_report_value(report, name, "tests", (double)counts->undecided);
}

static void print_row(const char *policy, double utilisation, const bench_counts *counts)
{
    size_t gained = counts->cut - counts->whole;
    printf("| %s | %.1f | %zu | %zu | %.1f | %zu | %.1f |\n", policy, utilisation, counts->whole,
           counts->cut, counts->whole == 0 ? 0.0 : (double)counts->cut / (double)counts->whole,
           counts->preemptive, gained == 0 ? 0.0 : counts->cuts / (double)gained);
}

int main(int argc, char **argv)
{
    bench_options options;
    read_options(argc, argv, &options);
    bench_report report = bench_report_begin("cuts_acceptance");
    bench_report_value(&report, "sets", "sets", options.sets);
    bench_report_value(&report, "overhead of a cut", "share of C", options.overhead);
    if (options.table) {
        printf("| policy | U | whole | cut | ratio | preemptive | cuts in a set gained |\n"
               "|---|---|---|---|---|---|---|\n");
    }
    for (int edf = 1; edf >= 0; edf--) {
        for (int tenth = 7; tenth <= 9; tenth++) {
            const char *policy = edf != 0 ? "np-edf" : "np-fp";
            bench_counts counts = count_accepted(edf != 0, tenth / 10.0, &options);
            add(&report, policy, tenth / 10.0, &counts);
            if (options.table) {
                print_row(policy, tenth / 10.0, &counts);
            }
        }
    }
    if (options.table) {
        json_decref(report.root);
        return 0;
    }
    bench_report_end(&report);
    return 0;
}
