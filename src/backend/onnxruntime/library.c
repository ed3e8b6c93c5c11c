/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX Runtime's library, its one environment, and what is registered there. */
#include "backend/onnxruntime/router.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "backend.onnxruntime"

static aegis_ort_router *const the_router = &aegis_ort_the_router;

/* ---- the library and its environment ---- */

aegis_status aegis_ort_error(const aegis_ort *ort,
                             OrtStatus *native,
                             aegis_place place,
                             aegis_status status,
                             const char *what,
                             aegis_error *err)
{
    int64_t code = ort->api->GetErrorCode(native);
    aegis_error_set_native(err, place, status, code, "%s: ONNX Runtime says: %s", what,
                           ort->api->GetErrorMessage(native));
    ort->api->ReleaseStatus(native);
    return status;
}

static void *try_library(const char *path, char *tried, size_t size)
{
    void *handle = path == NULL || path[0] == '\0' ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle != NULL) {
        snprintf(the_router->path, sizeof the_router->path, "%s", path);
    } else if (path != NULL && path[0] != '\0') {
        size_t used = strlen(tried);
        snprintf(tried + used, size - used, "%s%s", used == 0 ? "" : ", ", path);
    }
    return handle;
}

/* The library is never unloaded: its threads and static objects do not survive that. */
static aegis_status load(const char *library, const char *consumer, aegis_error *err)
{
    char tried[300] = "";
    void *handle = NULL;
    const char *wanted = library != NULL ? library : getenv("AEGISRT_ONNXRUNTIME");
    if (wanted != NULL && wanted[0] != '\0') { /* this one or none */
        handle = try_library(wanted, tried, sizeof tried);
    } else {
        const char *const candidates[] = {AEGISRT_ONNXRUNTIME_LIBRARY, "libonnxruntime.so.1"};
        for (size_t i = 0; handle == NULL && i < AEGIS_ARRAY_LENGTH(candidates); i++) {
            handle = try_library(candidates[i], tried, sizeof tried);
        }
    }
    if (handle == NULL) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_RUNTIME_NOT_AVAILABLE,
            "%s wants backend = \"onnxruntime\", and its library cannot be opened "
            "(tried: %s); run 'make setup', or set AEGISRT_ONNXRUNTIME to the path of "
            "libonnxruntime.so.1",
            consumer != NULL ? consumer : "the caller", tried);
    }
    /* From 1.31 on the library starts a thread that sends telemetry over the network. Nobody asked
     * for that, and a thread outside of the plan breaks the proofs of the cores. It looks here
     * once, when it makes its environment. */
    setenv("ORT_DISABLE_TELEMETRY", "1", 1);
    const OrtApiBase *(*get_base)(void) = NULL;
    void *symbol = dlsym(handle, "OrtGetApiBase");
    memcpy(&get_base, &symbol, sizeof get_base);
    const OrtApiBase *base = get_base != NULL ? get_base() : NULL;
    const OrtApi *api = base != NULL ? base->GetApi(ORT_API_VERSION) : NULL;
    if (api == NULL) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_RUNTIME_NOT_AVAILABLE,
            "%s is ONNX Runtime %s, which does not serve API %d; install 1.%d or newer",
            the_router->path, base != NULL ? base->GetVersionString() : "(no OrtGetApiBase)",
            ORT_API_VERSION, ORT_API_VERSION);
    }
    the_router->ort.api = api;
    the_router->ort.version = base->GetVersionString();
    return AEGIS_OK;
}

static aegis_status make_environment(aegis_error *err)
{
    aegis_ort *ort = &the_router->ort;
    const char *what = "creating its environment";
    OrtStatus *native = ort->api->CreateEnvWithCustomLogger(
        aegis_ort_route_log, NULL, ORT_LOGGING_LEVEL_FATAL, "aegisrt", &ort->env);
    if (native == NULL) {
        native = ort->api->DisableTelemetryEvents(ort->env);
    }
    if (native == NULL) {
        native = ort->api->CreateMemoryInfo("Cpu", OrtDeviceAllocator, 0, OrtMemTypeDefault,
                                            &ort->memory);
    }
    if (native == NULL) {
        what = "registering the allocator";
        the_router->allocator = aegis_ort_host_allocator();
        native = ort->api->RegisterAllocator(ort->env, &the_router->allocator);
    }
    if (native == NULL) {
        return AEGIS_OK;
    }
    aegis_status status = aegis_ort_error(ort, native, AEGIS_HERE(COMPONENT),
                                          AEGIS_ERROR_RUNTIME_NOT_AVAILABLE, what, err);
    if (ort->memory != NULL) {
        ort->api->ReleaseMemoryInfo(ort->memory);
        ort->memory = NULL;
    }
    if (ort->env != NULL) {
        ort->api->ReleaseEnv(ort->env);
        ort->env = NULL;
    }
    return status;
}

/* ---- CUDA ---- */

static bool has_cuda_provider(void)
{
    const OrtApi *api = the_router->ort.api;
    char **providers = NULL;
    int count = 0;
    bool found = false;
    OrtStatus *native = api->GetAvailableProviders(&providers, &count);
    if (native != NULL) {
        api->ReleaseStatus(native);
        return false;
    }
    for (int i = 0; i < count; i++) {
        found = found || strcmp(providers[i], "CUDAExecutionProvider") == 0;
    }
    native = api->ReleaseAvailableProviders(providers, count);
    if (native != NULL) {
        api->ReleaseStatus(native);
    }
    return found;
}

static OrtStatus *register_cuda(void)
{
    aegis_ort *ort = &the_router->ort;
    the_router->device_allocator = aegis_ort_device_allocator();
    the_router->pinned_allocator = aegis_ort_pinned_allocator();
    OrtStatus *native = ort->api->CreateMemoryInfo("Cuda", OrtDeviceAllocator, 0, OrtMemTypeDefault,
                                                   &ort->device_memory);
    if (native == NULL) {
        native = ort->api->CreateMemoryInfo("CudaPinned", OrtDeviceAllocator, 0,
                                            OrtMemTypeCPUOutput, &ort->pinned_memory);
    }
    if (native == NULL) {
        native = ort->api->RegisterAllocator(ort->env, &the_router->device_allocator);
    }
    if (native == NULL) {
        native = ort->api->RegisterAllocator(ort->env, &the_router->pinned_allocator);
    }
    return native;
}

static void unregister_one(OrtMemoryInfo **memory)
{
    aegis_ort *ort = &the_router->ort;
    if (*memory == NULL) {
        return;
    }
    OrtStatus *native = ort->api->UnregisterAllocator(ort->env, *memory);
    if (native != NULL) {
        ort->api->ReleaseStatus(native); /* it was not registered */
    }
    ort->api->ReleaseMemoryInfo(*memory);
    *memory = NULL;
}

static void unregister_cuda(void)
{
    unregister_one(&the_router->ort.device_memory);
    unregister_one(&the_router->ort.pinned_memory);
}

/* The provider is a library of its own, with needs of its own: better told now than at the first
 * model. */
static OrtStatus *load_provider(void)
{
    const OrtApi *api = the_router->ort.api;
    OrtSessionOptions *options = NULL;
    OrtCUDAProviderOptionsV2 *provider = NULL;
    OrtStatus *native = api->CreateSessionOptions(&options);
    if (native == NULL) {
        native = api->CreateCUDAProviderOptions(&provider);
    }
    if (native == NULL) {
        native = api->SessionOptionsAppendExecutionProvider_CUDA_V2(options, provider);
    }
    if (provider != NULL) {
        api->ReleaseCUDAProviderOptions(provider);
    }
    if (options != NULL) {
        api->ReleaseSessionOptions(options);
    }
    return native;
}

/* The runtime does not say what the loader said: it is asked again. */
static aegis_status no_provider(OrtStatus *native, aegis_error *err)
{
    char path[sizeof the_router->path + 64], what[512];
    const char *slash = strrchr(the_router->path, '/');
    snprintf(path, sizeof path, "%.*slibonnxruntime_providers_cuda.so",
             slash == NULL ? 0 : (int)(slash - the_router->path + 1), the_router->path);
    void *handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    snprintf(
        what, sizeof what,
        "the CUDA provider cannot be loaded (%s); the folders of CUDA's libraries and of cuDNN "
        "belong into LD_LIBRARY_PATH: scripts/cuda-libraries.sh prints them",
        handle != NULL ? path : dlerror());
    return aegis_ort_error(&the_router->ort, native, AEGIS_HERE(COMPONENT),
                           AEGIS_ERROR_RUNTIME_NOT_AVAILABLE, what, err);
}

static aegis_status start_cuda(const char *consumer, aegis_error *err)
{
    if (!has_cuda_provider()) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_RUNTIME_NOT_AVAILABLE,
            "%s wants backend = \"onnxruntime\" on a CUDA device, and %s (%s) has no CUDA "
            "provider: "
            "set AEGISRT_ONNXRUNTIME to the libonnxruntime.so.1 of the package onnxruntime-gpu, "
            "beside which lies libonnxruntime_providers_cuda.so, or write [device] kind = \"host\"",
            consumer != NULL ? consumer : "the caller", the_router->path, the_router->ort.version);
    }
    /* By default cuBLAS takes 64 MiB of the device for every session, and more, inside of captured
     * graphs. It looks here when a session makes its handle. */
    setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8", 0);
    OrtStatus *native = load_provider();
    if (native != NULL) {
        return no_provider(native, err);
    }
    native = register_cuda();
    if (native != NULL) {
        unregister_cuda();
        return aegis_ort_error(&the_router->ort, native, AEGIS_HERE(COMPONENT),
                               AEGIS_ERROR_RUNTIME_NOT_AVAILABLE,
                               "registering the allocators of a CUDA device", err);
    }
    return AEGIS_OK;
}

aegis_status aegis_ort_use_cuda(const char *consumer, aegis_error *err)
{
    pthread_mutex_lock(&the_router->lock);
    aegis_status status = the_router->cuda_users > 0 ? AEGIS_OK : start_cuda(consumer, err);
    the_router->cuda_users += status == AEGIS_OK;
    pthread_mutex_unlock(&the_router->lock);
    return status;
}

void aegis_ort_leave_cuda(void)
{
    pthread_mutex_lock(&the_router->lock);
    if (--the_router->cuda_users == 0) {
        unregister_cuda();
    }
    pthread_mutex_unlock(&the_router->lock);
}

aegis_status aegis_ort_acquire(const char *library,
                               const char *consumer,
                               const aegis_ort **ret_ort,
                               aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    pthread_mutex_lock(&the_router->lock);
    if (library != NULL && the_router->ort.api != NULL && strcmp(library, the_router->path) != 0) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_RUNTIME_NOT_AVAILABLE,
                                 "%s is loaded, %s was asked for: a process holds one ONNX Runtime",
                                 the_router->path, library);
    }
    if (status == AEGIS_OK && the_router->ort.api == NULL) {
        status = load(library, consumer, err);
    }
    if (status == AEGIS_OK && the_router->references == 0) {
        status = make_environment(err);
    }
    if (status == AEGIS_OK) {
        the_router->references++;
        *ret_ort = &the_router->ort;
    }
    pthread_mutex_unlock(&the_router->lock);
    return status;
}

void aegis_ort_release(void)
{
    pthread_mutex_lock(&the_router->lock);
    if (--the_router->references == 0) {
        aegis_ort *ort = &the_router->ort;
        OrtStatus *native = ort->api->UnregisterAllocator(ort->env, ort->memory);
        if (native != NULL) {
            ort->api->ReleaseStatus(native);
        }
        ort->api->ReleaseEnv(ort->env);
        ort->api->ReleaseMemoryInfo(ort->memory);
        ort->env = NULL;
        ort->memory = NULL;
    }
    pthread_mutex_unlock(&the_router->lock);
}
