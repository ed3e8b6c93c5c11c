/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/tensor/multiplier.h"

#include "base/base.h"

#include <string.h>

#define HERE AEGIS_HERE("transformer.multiplier")

aegis_status aegis_multiplier_open(const char *name,
                                   const aegis_allocator *allocator,
                                   aegis_multiplier *ret_multiplier,
                                   aegis_error *err)
{
    if (name == NULL || strcmp(name, "own") == 0) {
        *ret_multiplier = (aegis_multiplier){0};
        return AEGIS_OK;
    }
    if (strcmp(name, "blas") != 0) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG,
                               "products \"%s\"; there are \"own\" and \"blas\"", name);
    }
#if AEGISRT_WITH_BLAS
    return aegis_blas_open(allocator, ret_multiplier, err);
#else
    (void)allocator;
    return aegis_error_set(err, HERE, AEGIS_ERROR_RUNTIME_NOT_AVAILABLE,
                           "products \"blas\": this build has none; configure with "
                           "-DAEGISRT_BUILD_BLAS=ON, or write \"own\"");
#endif
}

void aegis_multiplier_close(aegis_multiplier *multiplier)
{
    if (multiplier->ops != NULL) {
        multiplier->ops->close(multiplier->self);
    }
    *multiplier = (aegis_multiplier){0};
}

const char *aegis_multiplier_name(const aegis_multiplier *multiplier)
{
    return multiplier->ops != NULL ? multiplier->ops->name : "own";
}
