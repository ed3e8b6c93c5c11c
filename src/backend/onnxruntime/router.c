/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/ort.h"

#include "backend/block.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "backend.onnxruntime"

static struct {
    pthread_mutex_t lock;
    unsigned references;
    aegis_ort ort;
    OrtAllocator allocator;
    char path[512];
    _Atomic uint64_t strays;
} router = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local aegis_ort_context *current;
static _Thread_local aegis_ort_context *pool_owner; /* of a pool thread */

/* ---- contexts ---- */

void aegis_ort_context_init(aegis_ort_context *context, aegis_reserve *reserve)
{
    memset(context, 0, sizeof *context);
    context->player.reserve = reserve;
    context->player.inject_index = -1;
    context->player.spill.first_index = -1;
    context->player.empty = (void *)aegis_align_up((uintptr_t)context->empty, 64);
    atomic_init(&context->strays, 0);
}

void aegis_ort_enter(aegis_ort_context *context)
{
    current = context;
}

void aegis_ort_leave(void)
{
    current = NULL;
}

static void count_live(aegis_ort_context *context, uint64_t size)
{
    context->live_bytes += size;
    if (context->live_bytes > context->peak_bytes) {
        context->peak_bytes = context->live_bytes;
    }
    if (context->cap_bytes != 0 && context->live_bytes > context->cap_bytes && !context->capped) {
        context->capped = true;
        if (context->on_cap != NULL) {
            context->on_cap(context->argument);
        }
    }
}

/* ONNX Runtime dies of NULL: when not even address space is left, the reserve's bytes are better.
 */
static void *serve_block(aegis_ort_context *context, uint64_t size)
{
    uint64_t tag = context->tape != NULL ? aegis_tape_alloc(context->tape, size) : 0;
    void *block = aegis_block_alloc(size, tag, context->tape);
    count_live(context, size);
    return block != NULL ? block : context->player.reserve->base;
}

static aegis_ort_place *find_place(const aegis_ort_context *context, uint64_t size)
{
    for (size_t i = 0; i < context->place_count; i++) {
        if (context->places[i].size_bytes == size && !context->places[i].used) {
            return &context->places[i];
        }
    }
    return NULL;
}

/* A temporary block may sit on a place for a while: it is free again when the block is. */
static void *serve_loading(aegis_ort_context *context, uint64_t size)
{
    if (size == 0) {
        return context->player.empty;
    }
    aegis_ort_place *place = find_place(context, size);
    if (place != NULL) {
        place->used = true;
        return place->address;
    }
    if (!context->departed) {
        context->departed = true;
        context->asked_bytes = size;
    }
    return serve_block(context, size);
}

static void leave_place(aegis_ort_context *context, const void *pointer)
{
    for (size_t i = 0; i < context->place_count; i++) {
        if (context->places[i].address == pointer) {
            context->places[i].used = false;
        }
    }
}

static void *serve_stray(uint64_t size)
{
    if (pool_owner != NULL) {
        atomic_fetch_add(&pool_owner->strays, 1);
    } else {
        atomic_fetch_add(&router.strays, 1);
    }
    void *block = aegis_block_alloc(size, 0, NULL);
    if (block == NULL) {
        /* The address space has ended in a thread that is none of ours. ONNX Runtime would write
         * through whatever is returned, NULL included: an end with a reason is the safer one. */
        fputs("aegisrt: fatal: no memory for a request of an unknown ONNX Runtime thread\n",
              stderr);
        abort();
    }
    return block;
}

static void *route_alloc(OrtAllocator *self, size_t size)
{
    aegis_ort_context *context = current;
    (void)self;
    if (context == NULL) {
        return serve_stray(size);
    }
    switch (context->mode) {
    case AEGIS_ORT_BLOCKS:
        return serve_block(context, size);
    case AEGIS_ORT_LOADING:
        return serve_loading(context, size);
    case AEGIS_ORT_PLAYING:
        return aegis_player_alloc(&context->player, size);
    }
    return serve_block(context, size);
}

/* Of a thread that has entered a context. */
static void free_entered(aegis_ort_context *context, void *pointer)
{
    uint64_t size, tag;
    const void *owner;
    if (context->mode == AEGIS_ORT_PLAYING) {
        aegis_player_free(&context->player, pointer);
        return;
    }
    if (context->mode == AEGIS_ORT_LOADING) {
        leave_place(context, pointer);
    }
    if (aegis_player_holds(&context->player, pointer) ||
        !aegis_block_describe(pointer, &size, &tag, &owner)) {
        return; /* planned bytes need no release */
    }
    if (owner != NULL && owner == context->tape) {
        aegis_tape_free(context->tape, tag);
    } else if (context->tape != NULL) {
        context->crossed = true;
    }
    context->live_bytes -= size < context->live_bytes ? size : context->live_bytes;
    aegis_block_free(pointer);
}

static void route_free(OrtAllocator *self, void *pointer)
{
    (void)self;
    if (current != NULL) {
        free_entered(current, pointer);
    } else if (pool_owner == NULL || !aegis_player_holds(&pool_owner->player, pointer)) {
        aegis_block_free(pointer); /* leaves alone what is no block */
    }
}

static const OrtMemoryInfo *route_info(const OrtAllocator *self)
{
    (void)self;
    return router.ort.memory;
}

uint64_t aegis_ort_strays(void)
{
    return atomic_load(&router.strays);
}

/* ---- pool threads ---- */

typedef struct pool_thread {
    pthread_t thread;
    OrtThreadWorkerFn worker;
    void *parameter;
    aegis_ort_context *owner;
} pool_thread;

static void *pool_main(void *argument)
{
    pool_thread *self = argument;
    pool_owner = self->owner;
    self->worker(self->parameter);
    return NULL;
}

static OrtCustomThreadHandle pool_create(void *owner, OrtThreadWorkerFn worker, void *parameter)
{
    pool_thread *self = malloc(sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    *self = (pool_thread){.worker = worker, .parameter = parameter, .owner = owner};
    if (pthread_create(&self->thread, NULL, pool_main, self) != 0) {
        free(self);
        return NULL;
    }
    return (OrtCustomThreadHandle)self;
}

static void pool_join(OrtCustomThreadHandle handle)
{
    pool_thread *self = (pool_thread *)handle;
    pthread_join(self->thread, NULL);
    free(self);
}

OrtStatus *
aegis_ort_own_threads(const aegis_ort *ort, OrtSessionOptions *options, aegis_ort_context *context)
{
    OrtStatus *native = ort->api->SessionOptionsSetCustomCreateThreadFn(options, pool_create);
    if (native == NULL) {
        native = ort->api->SessionOptionsSetCustomThreadCreationOptions(options, context);
    }
    return native != NULL ? native
                          : ort->api->SessionOptionsSetCustomJoinThreadFn(options, pool_join);
}

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

/* Failures come back as statuses; the runtime's own log would only repeat them on stderr. */
static void drop_log(void *parameter,
                     OrtLoggingLevel severity,
                     const char *category,
                     const char *id,
                     const char *location,
                     const char *message)
{
    (void)parameter;
    (void)severity;
    (void)category;
    (void)id;
    (void)location;
    (void)message;
}

static void *try_library(const char *path, char *tried, size_t size)
{
    void *handle = path == NULL || path[0] == '\0' ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle != NULL) {
        snprintf(router.path, sizeof router.path, "%s", path);
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
    if (library != NULL) {
        handle = try_library(library, tried, sizeof tried);
    } else {
        const char *const candidates[] = {getenv("AEGISRT_ONNXRUNTIME"),
                                          AEGISRT_ONNXRUNTIME_LIBRARY, "libonnxruntime.so.1"};
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
            router.path, base != NULL ? base->GetVersionString() : "(no OrtGetApiBase)",
            ORT_API_VERSION, ORT_API_VERSION);
    }
    router.ort.api = api;
    router.ort.version = base->GetVersionString();
    return AEGIS_OK;
}

static aegis_status make_environment(aegis_error *err)
{
    aegis_ort *ort = &router.ort;
    const char *what = "creating its environment";
    OrtStatus *native = ort->api->CreateEnvWithCustomLogger(drop_log, NULL, ORT_LOGGING_LEVEL_FATAL,
                                                            "aegisrt", &ort->env);
    if (native == NULL) {
        native = ort->api->DisableTelemetryEvents(ort->env);
    }
    if (native == NULL) {
        native = ort->api->CreateMemoryInfo("Cpu", OrtDeviceAllocator, 0, OrtMemTypeDefault,
                                            &ort->memory);
    }
    if (native == NULL) {
        what = "registering the allocator";
        router.allocator = (OrtAllocator){
            .version = ORT_API_VERSION,
            .Alloc = route_alloc,
            .Free = route_free,
            .Info = route_info,
            .Reserve = route_alloc,
        };
        native = ort->api->RegisterAllocator(ort->env, &router.allocator);
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

aegis_status aegis_ort_acquire(const char *library,
                               const char *consumer,
                               const aegis_ort **ret_ort,
                               aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    pthread_mutex_lock(&router.lock);
    if (library != NULL && router.ort.api != NULL && strcmp(library, router.path) != 0) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_RUNTIME_NOT_AVAILABLE,
                                 "%s is loaded, %s was asked for: a process holds one ONNX Runtime",
                                 router.path, library);
    }
    if (status == AEGIS_OK && router.ort.api == NULL) {
        status = load(library, consumer, err);
    }
    if (status == AEGIS_OK && router.references == 0) {
        status = make_environment(err);
    }
    if (status == AEGIS_OK) {
        router.references++;
        *ret_ort = &router.ort;
    }
    pthread_mutex_unlock(&router.lock);
    return status;
}

void aegis_ort_release(void)
{
    pthread_mutex_lock(&router.lock);
    if (--router.references == 0) {
        aegis_ort *ort = &router.ort;
        OrtStatus *native = ort->api->UnregisterAllocator(ort->env, ort->memory);
        if (native != NULL) {
            ort->api->ReleaseStatus(native);
        }
        ort->api->ReleaseEnv(ort->env);
        ort->api->ReleaseMemoryInfo(ort->memory);
        ort->env = NULL;
        ort->memory = NULL;
    }
    pthread_mutex_unlock(&router.lock);
}
