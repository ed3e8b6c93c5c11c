/* SPDX-License-Identifier: Apache-2.0 */
/* A policy of one's own, with its proof: the model with the least slack, deadline minus execution
 * bound, goes first. Admits a workload under it, runs it for a second and compares. */
#include <aegisrt/aegis.h>
#include <aegisrt/ext/policy_ops.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A function of the model and the job alone: simulator and replay ask it too. */
static int64_t slack(void *self, const aegis_policy_model *model, const aegis_policy_job *job)
{
    (void)self, (void)job;
    return (int64_t)model->deadline_ns - (int64_t)model->bound_ns;
}

/* These are fixed priorities, so the test of fixed priorities covers them, given the order of the
 * run: by key, ties by number. Cut models need the one with preemption points. */
static bool proof(void *self,
                  const aegis_policy_model *models,
                  size_t count,
                  aegis_analysis *ret_analysis,
                  size_t *ret_order)
{
    *ret_analysis = AEGIS_ANALYSIS_NP_FP;
    for (size_t i = 0, at; i < count; i++) {
        for (at = i; at > 0; at--) {
            const aegis_policy_model *other = &models[ret_order[at - 1]];
            int64_t own = slack(self, &models[i], NULL), theirs = slack(self, other, NULL);
            if (theirs < own || (theirs == own && other->model < models[i].model)) {
                break;
            }
            ret_order[at] = ret_order[at - 1];
        }
        ret_order[at] = i;
        if (models[i].segment_count > 1) {
            *ret_analysis = AEGIS_ANALYSIS_FPP;
        }
    }
    return true;
}

static const aegis_policy_ops least_slack = {
    .version = AEGIS_POLICY_OPS_VERSION, .name = "least-slack", .key = slack, .proof = proof};

static void check(aegis_status status, const aegis_error *error)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s: %s\n", error->component, error->message);
        exit(4);
    }
}

int main(int argc, char **argv)
{
    const aegis_policy policy = {.ops = &least_slack};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_system_options options = {.policy = &policy, .trace_path = argc > 2 ? argv[2] : NULL};
    aegis_workload *workload;
    aegis_system *system;
    aegis_error e;
    size_t count, admitted = 0, broken = 0;
    check(aegis_workload_load(argc > 1 ? argv[1] : "policy.toml", &allocator, &workload, &e), &e);
    check(aegis_system_create(workload, &options, &allocator, &system, &e), &e);
    const aegis_system_model *models = aegis_system_models(system, &count);
    check(aegis_system_start(system, &e), &e);
    sleep(1);
    check(aegis_system_stop(system, &e), &e);
    for (size_t i = 0; i < count; i++) {
        aegis_model_metrics metrics = {0};
        if (models[i].admitted) {
            check(aegis_scheduler_model_metrics(aegis_system_scheduler(system), models[i].model,
                                                &metrics, &e),
                  &e);
            admitted++;
        }
        broken += metrics.counters.unexcused;
        printf("%s under %s: %s, %llu jobs, response %.3f ms, proved at most %.3f ms\n",
               models[i].name, least_slack.name, models[i].admitted ? "admitted" : models[i].reason,
               (unsigned long long)metrics.counters.jobs, (double)metrics.response_ns.max / 1e6,
               (double)models[i].answer.response_ns / 1e6);
    }
    aegis_system_destroy(system);
    aegis_workload_free(workload);
    return broken > 0 ? 1 : admitted < count ? 3 : 0;
}
