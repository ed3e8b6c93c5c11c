/* SPDX-License-Identifier: Apache-2.0 */
/* A program that embeds AegisRT: admits a model, gives it ten inputs, and compares each response
 * with the bound that admission proved. Usage: embed WORKLOAD */
#include <aegisrt/aegis.h>

#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#define JOBS 10
#define PIXELS (3 * 48 * 192)

/* What the callback leaves for the main thread. */
typedef struct job {
    aegis_model *model;
    sem_t *ended;
    aegis_job_result result;
    float upright, turned; /* the model's output, copied out */
} job;

static int fail(const aegis_error *error)
{
    fprintf(stderr, "%s: %s\n", error->component, error->message);
    return 4;
}

/* Runs on AegisRT's callback thread. The slot's outputs stay as they are until it returns. */
static void job_ended(void *self, const aegis_job_result *result)
{
    job *ended = self;
    size_t count;
    void *scores;
    uint64_t size;
    const char *name = aegis_model_outputs(ended->model, &count)[0].name;
    ended->result = *result;
    if (result->status == AEGIS_OK &&
        aegis_model_output(ended->model, result->slot, name, &scores, &size, NULL) == AEGIS_OK) {
        memcpy(&ended->upright, scores, sizeof ended->upright);
        memcpy(&ended->turned, (const char *)scores + sizeof(float), sizeof ended->turned);
    }
    sem_post(ended->ended);
}

static int run_jobs(aegis_system *system, int64_t bound_ns)
{
    static float pixels[PIXELS];
    job jobs[JOBS] = {0};
    sem_t ended;
    aegis_error error;
    int late = 0;
    sem_init(&ended, 0, 0);
    for (int i = 0; i < JOBS; i++) {
        for (int p = 0; p < PIXELS; p++) {
            pixels[p] = (float)((p / (i + 1)) % 2); /* stripes, wider each time */
        }
        const aegis_job_input input = {"x", pixels, sizeof pixels};
        jobs[i].model = aegis_system_backend_model(system, 0);
        jobs[i].ended = &ended;
        const aegis_submission submission = {.inputs = &input, /* copied before submit returns */
                                             .input_count = 1,
                                             .callback = job_ended,
                                             .callback_self = &jobs[i]};
        if (aegis_scheduler_submit(aegis_system_scheduler(system), 0, &submission, NULL, &error) !=
            AEGIS_OK) {
            return fail(&error);
        }
        sem_wait(&ended);
        int64_t response_ns = (int64_t)(jobs[i].result.finish_ns - jobs[i].result.release_ns);
        late += jobs[i].result.end != AEGIS_JOB_COMPLETED;
        printf("job %2d: upright %.3f, turned %.3f; response %7.3f ms, proved at most %.3f ms\n", i,
               (double)jobs[i].upright, (double)jobs[i].turned, (double)response_ns / 1e6,
               (double)bound_ns / 1e6);
    }
    sem_destroy(&ended);
    return late == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    aegis_system *system = NULL;
    aegis_error error;
    size_t count;
    int exit_code = 3;
    if (aegis_workload_load(argc > 1 ? argv[1] : "embed.toml", &allocator, &workload, &error) !=
            AEGIS_OK ||
        aegis_system_create(workload, NULL, &allocator, &system, &error) != AEGIS_OK) {
        aegis_workload_free(workload);
        return fail(&error);
    }
    const aegis_system_model *model = aegis_system_models(system, &count);
    if (!model->admitted) {
        fprintf(stderr, "%s was not admitted: %s\n", model->name, model->reason);
    } else if (aegis_system_start(system, &error) != AEGIS_OK) {
        exit_code = fail(&error);
    } else {
        exit_code = run_jobs(system, model->answer.response_ns);
        if (aegis_system_stop(system, &error) != AEGIS_OK) {
            exit_code = fail(&error);
        }
    }
    aegis_system_destroy(system);
    aegis_workload_free(workload);
    return exit_code;
}
