/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/gate.h"

#include <sched.h>

#define COMPONENT "backend.onnxruntime"

static void drop(const OrtApi *api, OrtStatus *native)
{
    if (native != NULL) {
        api->ReleaseStatus(native);
    }
}

OrtStatus *aegis_ort_gate_init(aegis_ort_gate *gate, const OrtApi *api)
{
    gate->api = api;
    OrtStatus *native = NULL;
    for (int i = 0; i < 2 && native == NULL; i++) {
        native = api->CreateRunOptions(&gate->options[i]);
        if (native == NULL) {
            native =
                api->RunOptionsSetRunLogSeverityLevel(gate->options[i], ORT_LOGGING_LEVEL_FATAL);
        }
    }
    return native;
}

OrtStatus *aegis_ort_gate_set(aegis_ort_gate *gate, const char *key, const char *value)
{
    OrtStatus *native = NULL;
    for (int i = 0; i < 2 && native == NULL; i++) {
        native = gate->api->AddRunConfigEntry(gate->options[i], key, value);
    }
    return native;
}

void aegis_ort_gate_finish(aegis_ort_gate *gate)
{
    for (int i = 0; i < 2; i++) {
        if (gate->options[i] != NULL) {
            gate->api->ReleaseRunOptions(gate->options[i]);
            gate->options[i] = NULL;
        }
    }
}

OrtRunOptions *aegis_ort_gate_start(aegis_ort_gate *gate, aegis_error *err)
{
    uint64_t generation = gate->generation + 1;
    uint32_t index = (uint32_t)(generation & 1u);
    /* A terminator holds a pin for a few instructions; with two options it is hardly ever met. */
    while (atomic_load(&gate->pins[index]) != 0) {
        index ^= 1u;
        sched_yield();
    }
    OrtStatus *native = gate->api->RunOptionsUnsetTerminate(gate->options[index]);
    if (native != NULL) {
        drop(gate->api, native);
        aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INTERNAL, "run options refused");
        return NULL;
    }
    gate->generation = generation;
    atomic_store(&gate->running, 2 * generation + index);
    return gate->options[index];
}

bool aegis_ort_gate_stop(aegis_ort_gate *gate)
{
    uint64_t running = atomic_exchange(&gate->running, 0);
    return atomic_load(&gate->terminated) == running;
}

bool aegis_ort_gate_ending(const aegis_ort_gate *gate)
{
    return atomic_load(&gate->terminated) == atomic_load(&gate->running);
}

void aegis_ort_gate_terminate(aegis_ort_gate *gate)
{
    uint64_t running = atomic_load(&gate->running);
    if (running == 0) {
        return;
    }
    uint32_t index = (uint32_t)(running & 1u);
    atomic_fetch_add(&gate->pins[index], 1);
    if (atomic_load(&gate->running) == running) {
        atomic_store(&gate->terminated, running);
        drop(gate->api, gate->api->RunOptionsSetTerminate(gate->options[index]));
    }
    atomic_fetch_sub(&gate->pins[index], 1);
}

void aegis_ort_gate_abandon(aegis_ort_gate *gate)
{
    uint64_t running = atomic_load(&gate->running);
    if (running != 0) {
        drop(gate->api, gate->api->RunOptionsSetTerminate(gate->options[running & 1u]));
    }
}
