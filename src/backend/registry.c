/* SPDX-License-Identifier: Apache-2.0 */
/* Which runtimes this build holds, and how one is made. */
#include "backend/runtimes.h"
#include "base/base.h"

#include <stdio.h>
#include <string.h>

#define COMPONENT "backend.registry"

#ifdef AEGISRT_HAVE_ONNXRUNTIME
#define ONNXRUNTIME_BUILT true
#else
#define ONNXRUNTIME_BUILT false
#endif

static const aegis_runtime_info RUNTIMES[] = {
    {"onnxruntime", ONNXRUNTIME_BUILT, true, "AEGISRT_BUILD_ONNXRUNTIME"},
    {"transformer", true, true, ""},
    {"null", true, false, ""},
};

const aegis_runtime_info *aegis_runtime_list(size_t *ret_count)
{
    *ret_count = AEGIS_ARRAY_LENGTH(RUNTIMES);
    return RUNTIMES;
}

/* "'onnxruntime'": the built production runtimes, for messages. */
static void list_usable(char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(RUNTIMES) && used < size; i++) {
        if (RUNTIMES[i].built && RUNTIMES[i].production) {
            used += (size_t)snprintf(text + used, size - used, "%s'%s'", used == 0 ? "" : ", ",
                                     RUNTIMES[i].name);
        }
    }
    if (used == 0) {
        snprintf(text, size, "none");
    }
}

static aegis_status refuse(const aegis_backend_config *config, aegis_error *err)
{
    const char *consumer = config->consumer != NULL ? config->consumer : "the caller";
    const char *names[AEGIS_ARRAY_LENGTH(RUNTIMES)];
    size_t count = 0;
    char usable[128];
    list_usable(usable, sizeof usable);
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(RUNTIMES); i++) {
        if (strcmp(RUNTIMES[i].name, config->runtime) == 0) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_RUNTIME_NOT_AVAILABLE,
                                   "%s wants backend = \"%s\", which is not in this build: "
                                   "configure with -D%s=ON (in this build: %s)",
                                   consumer, config->runtime, RUNTIMES[i].build_flag, usable);
        }
        if (RUNTIMES[i].production) {
            names[count++] = RUNTIMES[i].name;
        }
    }
    const char *nearest = aegis_nearest_word(config->runtime, names, count);
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_RUNTIME_NOT_AVAILABLE,
                           "%s wants backend = \"%s\", and there is no such runtime%s%s%s (in this "
                           "build: %s)",
                           consumer, config->runtime, nearest != NULL ? "; did you mean \"" : "",
                           nearest != NULL ? nearest : "", nearest != NULL ? "\"?" : "", usable);
}

static bool is_cuda(const aegis_device *device)
{
    return device != NULL && aegis_device_get_capabilities(device)->kind == AEGIS_DEVICE_CUDA;
}

aegis_status aegis_backend_create(const aegis_backend_config *config,
                                  aegis_device *device,
                                  const aegis_allocator *allocator,
                                  aegis_backend **ret_backend,
                                  aegis_error *err)
{
    if (config == NULL || config->runtime == NULL || allocator == NULL || ret_backend == NULL) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
            "a backend needs a config with a runtime, an allocator and a result");
    }
#ifdef AEGISRT_HAVE_CUDA
    if (strcmp(config->runtime, "transformer") == 0 && is_cuda(device)) {
        return aegis_transformer_cuda_backend_create(config, device, allocator, ret_backend, err);
    }
#endif
    /* The backend of ONNX Runtime keeps what the device reads in the device's own memory. */
    bool knows_cuda = strcmp(config->runtime, "onnxruntime") == 0 && is_cuda(device);
    if (device != NULL && !aegis_device_host_addressable(device) && !knows_cuda) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "the runtime \"%s\" works in host memory, and the device's memory "
                               "cannot be reached from the host; use kind = \"host\"",
                               config->runtime);
    }
    if (strcmp(config->runtime, "null") == 0) {
        return aegis_null_backend_create(config, device, allocator, ret_backend, err);
    }
    if (strcmp(config->runtime, "transformer") == 0) {
        return aegis_transformer_backend_create(config, device, allocator, ret_backend, err);
    }
#ifdef AEGISRT_HAVE_ONNXRUNTIME
    if (strcmp(config->runtime, "onnxruntime") == 0) {
        return aegis_onnxruntime_backend_create(config, device, allocator, ret_backend, err);
    }
#endif
    return refuse(config, err);
}
