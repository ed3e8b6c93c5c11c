/* SPDX-License-Identifier: Apache-2.0 */
/* Which devices exist, and which one a configuration means. */
#include "device/factories.h"

/* What "auto" means here and now: CUDA when it was built and has a usable device. */
static aegis_device_kind resolve(aegis_device_kind kind)
{
    int count = 0;
    if (kind != AEGIS_DEVICE_AUTO) {
        return kind;
    }
    return aegis_cuda_count(&count, NULL) == AEGIS_OK && count > 0 ? AEGIS_DEVICE_CUDA
                                                                   : AEGIS_DEVICE_HOST;
}

static aegis_status unknown_kind(aegis_device_kind kind, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("device.registry"), AEGIS_ERROR_INVALID_ARGUMENT,
                           "device kind %d does not exist; use host, cuda or auto", (int)kind);
}

static aegis_status check_host_index(int index, aegis_error *err)
{
    if (index != 0) {
        return aegis_error_set(err, AEGIS_HERE("device.registry"), AEGIS_ERROR_DEVICE_NOT_AVAILABLE,
                               "host device %d does not exist: there is one, index 0", index);
    }
    return AEGIS_OK;
}

aegis_status aegis_device_query(aegis_device_kind kind,
                                int index,
                                bool measure,
                                aegis_device_capabilities *ret_capabilities,
                                aegis_error *err)
{
    if (ret_capabilities == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.registry"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "ret_capabilities is NULL");
    }
    aegis_status status;
    switch (resolve(kind)) {
    case AEGIS_DEVICE_HOST:
        status = check_host_index(index, err);
        return status != AEGIS_OK ? status : aegis_host_query("/", measure, ret_capabilities, err);
    case AEGIS_DEVICE_CUDA:
        return aegis_cuda_query(index, measure, ret_capabilities, err);
    case AEGIS_DEVICE_AUTO:
        break;
    }
    return unknown_kind(kind, err);
}

aegis_status aegis_device_query_all(aegis_device_capabilities *capabilities,
                                    size_t capacity,
                                    size_t *ret_count,
                                    aegis_error *err)
{
    if (ret_count == NULL || (capabilities == NULL && capacity > 0)) {
        return aegis_error_set(err, AEGIS_HERE("device.registry"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "ret_count or capabilities is NULL");
    }
    int gpus = 0;
    if (aegis_cuda_count(&gpus, NULL) != AEGIS_OK) {
        gpus = 0; /* none that this process can use: the list says so by leaving them out */
    }
    size_t count = 1 + (size_t)gpus;
    for (size_t i = 0; i < count && i < capacity; i++) {
        aegis_device_kind kind = i == 0 ? AEGIS_DEVICE_HOST : AEGIS_DEVICE_CUDA;
        int index = i == 0 ? 0 : (int)i - 1;
        aegis_status status = aegis_device_query(kind, index, false, &capabilities[i], err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    *ret_count = count;
    return AEGIS_OK;
}

aegis_status aegis_device_create(const aegis_device_config *config,
                                 const aegis_allocator *allocator,
                                 aegis_device **ret_device,
                                 aegis_error *err)
{
    if (config == NULL || allocator == NULL || ret_device == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.registry"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "config, allocator or ret_device is NULL");
    }
    if (config->arena_bytes == 0) {
        return aegis_error_set(err, AEGIS_HERE("device.registry"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "arena_bytes is 0: say how much memory the device may use "
                               "([device] memory = \"512MiB\")");
    }
    aegis_status status;
    switch (resolve(config->kind)) {
    case AEGIS_DEVICE_HOST:
        status = check_host_index(config->index, err);
        return status != AEGIS_OK ? status
                                  : aegis_host_device_create(config, allocator, ret_device, err);
    case AEGIS_DEVICE_CUDA:
        return aegis_cuda_device_create(config, allocator, ret_device, err);
    case AEGIS_DEVICE_AUTO:
        break;
    }
    return unknown_kind(config->kind, err);
}
