/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_PROBE_H
#define AEGIS_DEVICE_PROBE_H

/* One probe of the doctor fills state, found and cure of its check. Probes read below `root` and
 * change nothing. */

#include <aegisrt/doctor.h>

typedef struct aegis_probe {
    const char *id, *title;
    void (*run)(const char *root, aegis_doctor_check *check);
} aegis_probe;

/* Ends with an id of NULL. */
extern const aegis_probe aegis_probes_cpu[];
extern const aegis_probe aegis_probes_process[];
extern const aegis_probe aegis_probes_machine[];

/* Each sets the state and writes a text; the cure may be added with aegis_probe_cure. */
void aegis_probe_set(aegis_doctor_check *check, aegis_doctor_state state, const char *format, ...)
    AEGIS_PRINTF(3, 4);
void aegis_probe_cure(aegis_doctor_check *check, const char *format, ...) AEGIS_PRINTF(2, 3);

#endif
