/* SPDX-License-Identifier: Apache-2.0 */
/* Task set files: parse, and put what parses through every test with few steps. */
#include <aegisrt/admission.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* A verdict and its evidence never contradict each other. */
static void check_result(const aegis_admission_result *result)
{
    bool meets = true;
    for (size_t i = 0; i < result->task_count; i++) {
        meets = meets && result->tasks[i].meets;
        check(result->tasks[i].response >= AEGIS_RESPONSE_OMITTED);
    }
    check(result->verdict != AEGIS_SCHEDULABLE || meets);
    check(!result->has_violation || result->verdict == AEGIS_NOT_SCHEDULABLE);
    check(!result->has_violation || result->violation_demand > result->violation_at);
    check(result->witness_count <= result->witness_total);
}

static void analyse(aegis_analysis analysis, const aegis_task *tasks, size_t count)
{
    const aegis_admission_limits limits = {.steps = 300};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result;
    if (aegis_admission_test(analysis, tasks, count, &limits, &allocator, &result, NULL) ==
        AEGIS_OK) {
        check_result(&result);
        aegis_admission_result_finish(&result, &allocator);
    }
    aegis_fit fit;
    if (aegis_admission_what_fits(analysis, tasks, count, count / 2, &limits, &allocator, &fit,
                                  NULL) == AEGIS_OK) {
        check(fit.smallest_period >= 0 && fit.smallest_deadline >= 0 && fit.largest_execution >= 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_taskset *set;
    aegis_error err;
    if (aegis_taskset_parse((const char *)data, size, "fuzz", &allocator, &set, &err) != AEGIS_OK) {
        check(err.message[0] != '\0');
        return 0;
    }
    size_t count;
    const aegis_task *tasks = aegis_taskset_tasks(set, &count);
    for (int analysis = AEGIS_ANALYSIS_NP_FP; analysis <= AEGIS_ANALYSIS_FIFO && count <= 64;
         analysis++) {
        analyse((aegis_analysis)analysis, tasks, count);
    }
    aegis_taskset_destroy(set);
    return 0;
}
