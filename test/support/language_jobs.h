/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_LANGUAGE_JOBS_H
#define AEGIS_TEST_LANGUAGE_JOBS_H

/* Jobs of a language model, on the host and on a device. */

#include "support/backend_conformance.h"

static inline const void *output(aegis_model *model, const char *name)
{
    aegis_error err;
    void *data = NULL;
    uint64_t size;
    must(aegis_model_output(model, 0, name, &data, &size, &err), &err);
    return data;
}

static inline int64_t token(aegis_model *model)
{
    return *(const int64_t *)output(model, "token");
}

static inline int64_t job(aegis_model *model)
{
    conformance_run(model, 0);
    aegis_model_commit(model);
    return token(model);
}

/* The `count` tokens that a model's input has room for; to be written. */
static inline int64_t *prompt_input(aegis_model *model, uint32_t count)
{
    aegis_error err;
    void *data = NULL;
    uint64_t size = 0;
    must(aegis_model_input(model, 0, "tokens", &data, &size, &err), &err);
    assert_int_equal(size, count * sizeof(int64_t));
    return data;
}

#endif
