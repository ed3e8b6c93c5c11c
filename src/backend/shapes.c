/* SPDX-License-Identifier: Apache-2.0 */
/* From what a model declares and a workload says to fixed shapes. */
#include "backend/surface.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "backend.shapes"

static const char *declared_text(const aegis_surface_declaration *one, char *buffer, size_t size)
{
    if (one->rank < 0) {
        snprintf(buffer, size, "no shape");
        return buffer;
    }
    size_t used = (size_t)snprintf(buffer, size, "[");
    for (int i = 0; i < one->rank && used < size; i++) {
        const char *comma = i == 0 ? "" : ", ";
        int wrote = one->shape[i] >= 0
                        ? snprintf(buffer + used, size - used, "%s%" PRId64, comma, one->shape[i])
                        : snprintf(buffer + used, size - used, "%s%s", comma,
                                   one->free_name[i] != NULL ? one->free_name[i] : "?");
        used += (size_t)wrote;
    }
    if (used < size) {
        snprintf(buffer + used, size - used, "]");
    }
    return buffer;
}

static aegis_status check_names(const aegis_model_config *config,
                                const aegis_surface_declaration *declared,
                                size_t count,
                                aegis_error *err)
{
    for (size_t i = 0; i < config->input_count; i++) {
        size_t k = 0;
        while (k < count && strcmp(declared[k].name, config->inputs[i].name) != 0) {
            k++;
        }
        if (k == count) {
            const char *names[64];
            size_t known = count < AEGIS_ARRAY_LENGTH(names) ? count : AEGIS_ARRAY_LENGTH(names);
            for (size_t j = 0; j < known; j++) {
                names[j] = declared[j].name;
            }
            return aegis_surface_unknown(NULL, "input", config->inputs[i].name, names, known,
                                         AEGIS_ERROR_CONFIG, err);
        }
    }
    return AEGIS_OK;
}

static aegis_status
check_given(const aegis_surface_declaration *one, const aegis_input_shape *given, aegis_error *err)
{
    char declared[200], asked[160];
    aegis_shape_text(given->shape, given->rank, asked, sizeof asked);
    declared_text(one, declared, sizeof declared);
    if (one->rank >= 0 && one->rank != given->rank) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "input '%s': %s has %d dimensions, the model declares %d: %s",
                               given->name, asked, given->rank, one->rank, declared);
    }
    for (int i = 0; i < given->rank; i++) {
        if (given->shape[i] <= 0) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                   "input '%s': dimension %d of %s must be positive (declared %s)",
                                   given->name, i, asked, declared);
        }
        if (one->rank >= 0 && one->shape[i] >= 0 && one->shape[i] != given->shape[i]) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                   "input '%s': dimension %d of %s is %" PRId64
                                   ", the model fixes it to %" PRId64 ": %s",
                                   given->name, i, asked, given->shape[i], one->shape[i], declared);
        }
    }
    return AEGIS_OK;
}

static const aegis_input_shape *find_given(const aegis_model_config *config, const char *name)
{
    for (size_t i = 0; i < config->input_count; i++) {
        if (strcmp(config->inputs[i].name, name) == 0) {
            return &config->inputs[i];
        }
    }
    return NULL;
}

/* The value that another input gave to a free dimension of the same name, or -1. */
static int64_t value_of_name(const aegis_model_config *config,
                             const aegis_surface_declaration *declared,
                             size_t count,
                             const char *name)
{
    for (size_t i = 0; i < count && name != NULL; i++) {
        const aegis_input_shape *given = find_given(config, declared[i].name);
        for (int k = 0; given != NULL && k < declared[i].rank; k++) {
            if (declared[i].free_name[k] != NULL && strcmp(declared[i].free_name[k], name) == 0) {
                return given->shape[k];
            }
        }
    }
    return -1;
}

static aegis_status derive(const aegis_model_config *config,
                           const aegis_surface_declaration *declared,
                           size_t count,
                           size_t index,
                           aegis_input_shape *ret_shape,
                           aegis_error *err)
{
    const aegis_surface_declaration *one = &declared[index];
    char text[200];
    ret_shape->rank = one->rank;
    int missing = one->rank < 0 ? 0 : -1;
    for (int i = 0; i < one->rank; i++) {
        ret_shape->shape[i] = one->shape[i] >= 0
                                  ? one->shape[i]
                                  : value_of_name(config, declared, count, one->free_name[i]);
        if (ret_shape->shape[i] < 0 && missing < 0) {
            missing = i;
        }
    }
    if (missing >= 0) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
            "input '%s' is declared %s: dimension %d is free; fix it, for example "
            "inputs = { \"%s\" = [...] }",
            one->name, declared_text(one, text, sizeof text), missing, one->name);
    }
    return AEGIS_OK;
}

aegis_status aegis_surface_fix_shapes(const aegis_model_config *config,
                                      const aegis_surface_declaration *declared,
                                      size_t count,
                                      aegis_input_shape *ret_shapes,
                                      aegis_error *err)
{
    aegis_status status = check_names(config, declared, count, err);
    for (size_t i = 0; status == AEGIS_OK && i < count; i++) {
        const aegis_input_shape *given = find_given(config, declared[i].name);
        if (given == NULL) {
            status = derive(config, declared, count, i, &ret_shapes[i], err);
        } else {
            status = check_given(&declared[i], given, err);
            ret_shapes[i] = *given;
        }
        ret_shapes[i].name = declared[i].name;
        /* Two inputs that share a free dimension must agree on it. */
        for (int k = 0; status == AEGIS_OK && given != NULL && k < declared[i].rank; k++) {
            int64_t other = value_of_name(config, declared, count, declared[i].free_name[k]);
            if (other >= 0 && other != given->shape[k]) {
                status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                         "input '%s': dimension %d ('%s') is %" PRId64
                                         ", another input gives it %" PRId64,
                                         declared[i].name, k, declared[i].free_name[k],
                                         given->shape[k], other);
            }
        }
    }
    return status;
}
