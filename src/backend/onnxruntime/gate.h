/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_GATE_H
#define AEGIS_BACKEND_ORT_GATE_H

/*
 * Ends the run that is going on, never a later one. Each run has a generation and one of two
 * OrtRunOptions. Who terminates pins the options it read, looks again whether that generation still
 * runs, and only then sets the flag; a run starts on options that nobody has pinned. All accesses
 * are sequentially consistent: either the starter sees the pin, or the terminator sees that its run
 * is over. The terminator never waits.
 */

#include "backend/onnxruntime/ort.h"

typedef struct aegis_ort_gate {
    const OrtApi *api;
    OrtRunOptions *options[2];
    _Atomic uint32_t pins[2];
    _Atomic uint64_t running;    /* 2 * generation + index, 0 when idle */
    _Atomic uint64_t terminated; /* the last `running` that was ended from outside */
    uint64_t generation;         /* of the run that started last */
} aegis_ort_gate;

OrtStatus *aegis_ort_gate_init(aegis_ort_gate *gate, const OrtApi *api);
/* An entry of the options of all runs. When nothing runs. */
OrtStatus *aegis_ort_gate_set(aegis_ort_gate *gate, const char *key, const char *value);
void aegis_ort_gate_finish(aegis_ort_gate *gate);
/* On the running thread: options for the run that starts. */
OrtRunOptions *aegis_ort_gate_start(aegis_ort_gate *gate, aegis_error *err);
/* On the running thread: true when the run was terminated from outside. */
bool aegis_ort_gate_stop(aegis_ort_gate *gate);
/* On the running thread, within the run: whether it was terminated from outside. */
bool aegis_ort_gate_ending(const aegis_ort_gate *gate);
/* Any thread. */
void aegis_ort_gate_terminate(aegis_ort_gate *gate);
/* On the running thread, within the run. */
void aegis_ort_gate_abandon(aegis_ort_gate *gate);

#endif
