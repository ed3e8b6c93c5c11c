/* SPDX-License-Identifier: Apache-2.0 */
/* Admits a model, gives it ten inputs, and prints each response beside the bound that was proved.
 */
#include <aegisrt/aegis.h>

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    aegis_model *model;
    sem_t ended;
    float scores[2]; /* copied out in the callback: the slot is used again afterwards */
    aegis_job_result result;
} job;

static void check(aegis_status status, const aegis_error *error)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s: %s\n", error->component, error->message);
        exit(4);
    }
}

static void job_ended(void *self, const aegis_job_result *result) /* on the callback thread */
{
    job *j = self;
    size_t count;
    uint64_t size;
    void *data;
    const char *name = aegis_model_outputs(j->model, &count)[0].name;
    j->result = *result;
    if (aegis_model_output(j->model, result->slot, name, &data, &size, NULL) == AEGIS_OK) {
        memcpy(j->scores, data, sizeof j->scores);
    }
    sem_post(&j->ended);
}

int main(int argc, char **argv)
{
    static float pixels[3 * 48 * 192];
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload;
    aegis_system *system;
    aegis_error e;
    size_t count;
    check(aegis_workload_load(argc > 1 ? argv[1] : "embed.toml", &allocator, &workload, &e), &e);
    check(aegis_system_create(workload, NULL, &allocator, &system, &e), &e);
    const aegis_system_model *model = aegis_system_models(system, &count);
    if (!model->admitted) {
        fprintf(stderr, "%s was not admitted: %s\n", model->name, model->reason);
    } else {
        job j = {.model = aegis_system_backend_model(system, 0)};
        sem_init(&j.ended, 0, 0);
        check(aegis_system_start(system, &e), &e);
        for (int i = 0; i < 10; i++) {
            pixels[i * 100] = 1.0F;
            aegis_job_input input = {"x", pixels, sizeof pixels};
            aegis_submission submission = {
                .inputs = &input, .input_count = 1, .callback = job_ended, .callback_self = &j};
            check(aegis_scheduler_submit(aegis_system_scheduler(system), 0, &submission, NULL, &e),
                  &e);
            sem_wait(&j.ended);
            printf("job %d: %.3f %.3f; response %.3f ms, proved at most %.3f ms\n", i,
                   (double)j.scores[0], (double)j.scores[1],
                   (double)(j.result.finish_ns - j.result.release_ns) / 1e6,
                   (double)model->answer.response_ns / 1e6);
        }
        check(aegis_system_stop(system, &e), &e);
    }
    int exit_code = model->admitted ? 0 : 3;
    aegis_system_destroy(system);
    aegis_workload_free(workload);
    return exit_code;
}
