/* SPDX-License-Identifier: Apache-2.0 */
/* Which share of random task sets each test accepts: 1,000 sets of 8 tasks for each utilisation,
 * periods log-uniform from 10 to 100 ms in microseconds; once with D = T and once with D from T/2
 * to T. The exact test of non-preemptive EDF is what the others are to be held against; those of
 * preemptive scheduling show what giving up preemption costs, and cutting each model into four
 * equal segments what it wins back. scripts/plot_acceptance.py draws the result. */
#include "bench/bench.h"
#include "bench/tasksets.h"

#define TASKS 8
#define SETS 1000
#define SEGMENTS 4
#define FROM 30
#define TO 100
#define STEP 5

static const char *const names[] = {"liu-layland", "hyperbolic", "density", "np-fp-rm",
                                    "np-fp-dm",    "np-fp-opa",  "np-edf",  "fifo",
                                    "fpp-4-opa",   "np-edf-4",   "fp-dm",   "edf"};
enum {
    LIU_LAYLAND,
    HYPERBOLIC,
    DENSITY,
    NP_FP_RM,
    NP_FP_DM,
    NP_FP_OPA,
    NP_EDF,
    FIFO,
    FPP_CUT_OPA,
    NP_EDF_CUT,
    FP_DM,
    EDF
};

static void must(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
}

static bool accepts(aegis_analysis analysis, const aegis_task *tasks, aegis_simple_bounds *bounds)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result;
    aegis_error err;
    must(aegis_admission_test(analysis, tasks, TASKS, NULL, &allocator, &result, &err), &err);
    bool ok = result.verdict == AEGIS_SCHEDULABLE;
    if (bounds != NULL) {
        *bounds = result.bounds;
    }
    aegis_admission_result_finish(&result, &allocator);
    return ok;
}

static bool accepts_some_order(aegis_analysis analysis, const aegis_task *tasks)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_priority_assignment assignment;
    aegis_error err;
    size_t order[TASKS];
    must(aegis_admission_assign_priorities(analysis, tasks, TASKS, NULL, &allocator, order,
                                           &assignment, &err),
         &err);
    return assignment.verdict == AEGIS_SCHEDULABLE;
}

/* Four segments as equal as integers allow. */
static void cut(aegis_task *tasks, int64_t segments[TASKS][SEGMENTS])
{
    for (size_t i = 0; i < TASKS; i++) {
        int64_t left = tasks[i].execution;
        tasks[i].segment_count = 0;
        tasks[i].segments = segments[i];
        for (int64_t parts = SEGMENTS; parts > 0 && left > 0; parts--) {
            int64_t length = (left + parts - 1) / parts;
            segments[i][tasks[i].segment_count++] = length;
            left -= length;
        }
    }
}

static void judge(const aegis_task *drawn, int accepted[])
{
    aegis_task by_period[TASKS], by_deadline[TASKS];
    int64_t segments[TASKS][SEGMENTS];
    size_t order[TASKS];
    aegis_simple_bounds fixed, edf;
    aegis_admission_order_rm(drawn, TASKS, order);
    bench_take_order(drawn, order, TASKS, by_period);
    aegis_admission_order_dm(drawn, TASKS, order);
    bench_take_order(drawn, order, TASKS, by_deadline);
    accepted[NP_FP_RM] += accepts(AEGIS_ANALYSIS_NP_FP, by_period, &fixed);
    accepted[NP_FP_DM] += accepts(AEGIS_ANALYSIS_NP_FP, by_deadline, NULL);
    accepted[NP_FP_OPA] += accepts_some_order(AEGIS_ANALYSIS_NP_FP, drawn);
    accepted[NP_EDF] += accepts(AEGIS_ANALYSIS_NP_EDF, drawn, &edf);
    accepted[LIU_LAYLAND] += fixed.liu_layland;
    accepted[HYPERBOLIC] += fixed.hyperbolic;
    accepted[DENSITY] += edf.density;
    accepted[FIFO] += accepts(AEGIS_ANALYSIS_FIFO, drawn, NULL);
    accepted[FP_DM] += accepts(AEGIS_ANALYSIS_FP, by_deadline, NULL);
    accepted[EDF] += accepts(AEGIS_ANALYSIS_EDF, drawn, NULL);
    cut(by_deadline, segments);
    accepted[FPP_CUT_OPA] += accepts_some_order(AEGIS_ANALYSIS_FPP, by_deadline);
    accepted[NP_EDF_CUT] += accepts(AEGIS_ANALYSIS_NP_EDF, by_deadline, NULL);
}

static void measure(bench_report *report, const char *deadlines, double least_deadline)
{
    uint64_t seed = 1;
    for (int percent = FROM; percent <= TO; percent += STEP) {
        const bench_taskset_shape shape = {.count = TASKS,
                                           .utilisation = percent / 100.0,
                                           .least_period = 10000,
                                           .largest_period = 100000,
                                           .least_deadline = least_deadline};
        int accepted[AEGIS_ARRAY_LENGTH(names)] = {0};
        for (int n = 0; n < SETS; n++) {
            aegis_task tasks[TASKS];
            bench_draw_taskset(&seed, &shape, tasks);
            judge(tasks, accepted);
        }
        for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(names); k++) {
            char name[96];
            snprintf(name, sizeof name, "%s/%.2f/%s", deadlines, percent / 100.0, names[k]);
            bench_report_value(report, name, "share", (double)accepted[k] / SETS);
        }
    }
}

int main(void)
{
    bench_report report = bench_report_begin("acceptance");
    measure(&report, "implicit", 1.0);
    measure(&report, "constrained", 0.5);
    bench_report_end(&report);
    return 0;
}
