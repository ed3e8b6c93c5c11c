/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_BACKEND_INTERNAL_H
#define AEGIS_BACKEND_BACKEND_INTERNAL_H

/* What stands behind the public calls on backends and models (backend.c, model_run.c). */

#include <aegisrt/ext/backend_ops.h>

#include "base/base.h"

struct aegis_backend {
    const aegis_backend_ops *ops;
    void *self;
    aegis_allocator allocator;
};

struct aegis_model {
    const aegis_backend_ops *ops;
    void *self;
    aegis_allocator allocator;
    char *name;
    bool early_copies;
};

static inline aegis_status invalid(aegis_error *err, aegis_place place, const char *what)
{
    return aegis_error_set(err, place, AEGIS_ERROR_INVALID_ARGUMENT, "%s", what);
}

#endif
