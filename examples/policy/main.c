/* SPDX-License-Identifier: Apache-2.0 */
/* A policy of one's own, with its proof: the model with the least slack, deadline minus execution
 * bound, goes first. Admits a workload under it, runs it for a second and compares. */
#include <aegisrt/aegis.h>
#include <aegisrt/ext/policy_ops.h>

#include <stdio.h>
#include <unistd.h>

/* A function of the model and the job alone: simulator and replay ask it too. */
static int64_t slack(void *self, const aegis_policy_model *model, const aegis_policy_job *job)
{
    (void)self, (void)job;
    return (int64_t)model->deadline_ns - (int64_t)model->bound_ns;
}

/* These are fixed priorities: their test, with preemption points for cut models, in the order of
 * the run. */
static bool proof(void *self,
                  const aegis_policy_model *models,
                  size_t count,
                  aegis_analysis *ret_analysis,
                  size_t *ret_order)
{
    *ret_analysis = AEGIS_ANALYSIS_FPP;
    for (size_t i = 0; i < count; i++) {
        int64_t own = slack(self, &models[i], NULL);
        size_t above = 0;
        for (size_t j = 0; j < count; j++) {
            int64_t other = slack(self, &models[j], NULL);
            above += other < own || (other == own && models[j].model < models[i].model);
        }
        ret_order[above] = i;
    }
    return true;
}

static const aegis_policy_ops least_slack = {.version = AEGIS_POLICY_OPS_VERSION,
                                             .name = "least-slack",
                                             .key = slack,
                                             .proof = proof,
                                             .key_keeps = true};

int main(int argc, char **argv)
{
    const aegis_policy policy = {.ops = &least_slack};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_system_options options = {.policy = &policy, .trace_path = argc > 2 ? argv[2] : NULL};
    aegis_workload *workload;
    aegis_system *system;
    aegis_error e;
    size_t count, refused = 0, broken = 0;
    if (aegis_workload_load(argc > 1 ? argv[1] : "policy.toml", &allocator, &workload, &e) ||
        aegis_system_create(workload, &options, &allocator, &system, &e) ||
        aegis_system_start(system, &e) || sleep(1) != 0 || aegis_system_stop(system, &e)) {
        fprintf(stderr, "%s: %s\n", e.component, e.message);
        return 4;
    }
    const aegis_system_model *models = aegis_system_models(system, &count);
    for (const aegis_system_model *m = models; m < models + count; m++) {
        aegis_model_metrics got = {0};
        aegis_scheduler_model_metrics(aegis_system_scheduler(system), m->model, &got, NULL);
        refused += !m->admitted;
        broken += got.counters.unexcused;
        printf("%s under %s: %s, %llu jobs, response %.3f ms, proved at most %.3f ms\n", m->name,
               least_slack.name, m->admitted ? "admitted" : m->reason,
               (unsigned long long)got.counters.jobs, (double)got.response_ns.max / 1e6,
               (double)m->answer.response_ns / 1e6);
    }
    aegis_system_destroy(system);
    aegis_workload_free(workload);
    return broken > 0 ? 1 : refused > 0 ? 3 : 0;
}
