/* SPDX-License-Identifier: Apache-2.0 */
/* Where requests go, and the allocators that ONNX Runtime calls. */
#include "backend/onnxruntime/router.h"

#include "backend/block.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "backend.onnxruntime"

aegis_ort_router aegis_ort_the_router = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local aegis_ort_context *current;
static _Thread_local aegis_ort_context *pool_owner; /* of a pool thread */
static _Thread_local const aegis_ort_log_taker *log_taker;

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

/* What stays of a block is told by its content, gaps that nobody writes included. */
static void note_cleared(aegis_tape *tape, uint64_t tag, void *block, uint64_t size)
{
    memset(block, 0, size);
    if (tag < tape->allocation_count) {
        tape->allocations[tag].at = block;
    }
}

/* ONNX Runtime dies of NULL: when not even address space is left, the reserve's bytes are better.
 * On a device there is no such thing, and since 1.23 the library turns NULL into a failed run. */
static void *serve_block(aegis_ort_context *context, uint64_t size)
{
    uint64_t tag = context->tape != NULL ? aegis_tape_alloc(context->tape, size) : 0;
    void *block = context->heap != NULL
                      ? aegis_ort_heap_alloc(context->heap, size, tag, context->tape)
                      : aegis_block_alloc(size, tag, context->tape);
    if (context->clears && context->tape != NULL && block != NULL) {
        note_cleared(context->tape, tag, block, size);
    }
    count_live(context, size);
    return block != NULL ? block : context->player.reserve->base;
}

static bool describe_block(const aegis_ort_context *context,
                           const void *pointer,
                           uint64_t *ret_size,
                           uint64_t *ret_tag,
                           const void **ret_owner)
{
    if (context->heap == NULL) {
        return aegis_block_describe(pointer, ret_size, ret_tag, ret_owner);
    }
    const aegis_ort_heap_block *block = aegis_ort_heap_find(context->heap, pointer);
    if (block != NULL) {
        *ret_size = block->size_bytes;
        *ret_tag = block->tag;
        *ret_owner = block->owner;
    }
    return block != NULL;
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
        if (place->shared) {
            memset(place->address, 0, size);
        }
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
        atomic_fetch_add(&aegis_ort_the_router.strays, 1);
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

static void *serve(aegis_ort_context *context, size_t size)
{
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

/* Of a model on a CUDA device, on the CPU: outside of the plan, in memory that was taken before. */
static void *serve_beside(aegis_ort_context *context, aegis_ort_heap *heap, size_t size)
{
    void *memory = aegis_ort_heap_alloc(heap, size, 0, NULL);
    if (memory != NULL) {
        return memory;
    }
    context->unserved++;
    return serve_stray(size);
}

static void *route_alloc(OrtAllocator *self, size_t size)
{
    (void)self;
    if (current == NULL) {
        return serve_stray(size);
    }
    return current->host != NULL ? serve_beside(current, current->host, size)
                                 : serve(current, size);
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
        !describe_block(context, pointer, &size, &tag, &owner)) {
        return; /* planned bytes need no release */
    }
    if (owner != NULL && owner == context->tape) {
        aegis_tape_free(context->tape, tag);
    } else if (context->tape != NULL) {
        context->crossed = true;
    }
    context->live_bytes -= size < context->live_bytes ? size : context->live_bytes;
    if (context->heap != NULL) {
        aegis_ort_heap_free(context->heap, pointer);
    } else {
        aegis_block_free(pointer);
    }
}

static void route_free(OrtAllocator *self, void *pointer)
{
    (void)self;
    if (current != NULL && current->host != NULL) {
        if (!aegis_ort_heap_free(current->host, pointer)) {
            aegis_block_free(pointer);
        }
    } else if (current != NULL) {
        free_entered(current, pointer);
    } else if (pool_owner == NULL || !aegis_player_holds(&pool_owner->player, pointer)) {
        aegis_block_free(pointer); /* leaves alone what is no block */
    }
}

static const OrtMemoryInfo *route_info(const OrtAllocator *self)
{
    (void)self;
    return aegis_ort_the_router.ort.memory;
}

/* ---- memory of a CUDA device ---- */

/* NULL for a thread that has entered no context of such a model: nothing on the device is its. */
static void *device_alloc(OrtAllocator *self, size_t size)
{
    (void)self;
    if (current == NULL || current->host == NULL) {
        atomic_fetch_add(&aegis_ort_the_router.strays, 1);
        return NULL;
    }
    return serve(current, size);
}

static void device_free(OrtAllocator *self, void *pointer)
{
    (void)self;
    if (current != NULL && current->host != NULL) {
        free_entered(current, pointer);
    }
}

static const OrtMemoryInfo *device_info(const OrtAllocator *self)
{
    (void)self;
    return aegis_ort_the_router.ort.device_memory;
}

static void *pinned_alloc(OrtAllocator *self, size_t size)
{
    (void)self;
    return current == NULL || current->pinned == NULL
               ? serve_stray(size)
               : serve_beside(current, current->pinned, size);
}

static void pinned_free(OrtAllocator *self, void *pointer)
{
    (void)self;
    if (current == NULL || current->pinned == NULL ||
        !aegis_ort_heap_free(current->pinned, pointer)) {
        aegis_block_free(pointer);
    }
}

static const OrtMemoryInfo *pinned_info(const OrtAllocator *self)
{
    (void)self;
    return aegis_ort_the_router.ort.pinned_memory;
}

uint64_t aegis_ort_strays(void)
{
    return atomic_load(&aegis_ort_the_router.strays);
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

/* ---- the log ---- */

/* Failures come back as statuses; the runtime's own log would only repeat them on stderr. */
void aegis_ort_route_log(void *parameter,
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
    if (log_taker != NULL) {
        log_taker->line(log_taker->self, message);
    }
}

void aegis_ort_listen(const aegis_ort_log_taker *taker)
{
    log_taker = taker;
}

/* ---- allocators ---- */

OrtAllocator aegis_ort_host_allocator(void)
{
    return (OrtAllocator){.version = ORT_API_VERSION,
                          .Alloc = route_alloc,
                          .Free = route_free,
                          .Info = route_info,
                          .Reserve = route_alloc};
}

OrtAllocator aegis_ort_device_allocator(void)
{
    return (OrtAllocator){.version = ORT_API_VERSION,
                          .Alloc = device_alloc,
                          .Free = device_free,
                          .Info = device_info,
                          .Reserve = device_alloc};
}

OrtAllocator aegis_ort_pinned_allocator(void)
{
    return (OrtAllocator){.version = ORT_API_VERSION,
                          .Alloc = pinned_alloc,
                          .Free = pinned_free,
                          .Info = pinned_info,
                          .Reserve = pinned_alloc};
}
