/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_CODE_H
#define AEGIS_BACKEND_CODE_H

#include <aegisrt/backend.h>

/* Shows the segments of the program or shared library that holds the address `inside`: code,
 * constants, data. */
void aegis_code_visit(uintptr_t inside, aegis_model_visit visit, void *self);

#endif
