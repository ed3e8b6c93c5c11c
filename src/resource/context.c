/* SPDX-License-Identifier: Apache-2.0 */

/* One model's budget. Memory and streams are charged by compare-and-swap, so a refused charge
 * changes nothing. The error record is the one thing under a lock; whether there is one is not. */

#include <aegisrt/context.h>

#include "base/base.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

struct aegis_context {
    aegis_allocator allocator;
    uint32_t id;
    char *name;
    aegis_resource_budget budget;
    struct aegis_model *model;
    _Atomic uint64_t memory_used, memory_peak;
    _Atomic uint32_t streams;
    /* Orchestration thread only. */
    _Atomic uint64_t compute_period; /* index of the period that compute_used belongs to */
    _Atomic uint64_t compute_used_ns;
    pthread_mutex_t error_lock;
    _Atomic bool has_error;
    aegis_error error;
};

aegis_status aegis_context_create(uint32_t id,
                                  const char *name,
                                  const aegis_resource_budget *budget,
                                  struct aegis_model *model,
                                  const aegis_allocator *allocator,
                                  aegis_context **ret_context,
                                  aegis_error *err)
{
    if (name == NULL || budget == NULL || allocator == NULL || ret_context == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.context"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "name, budget, allocator and output must be given");
    }
    if (budget->compute_budget_ns != 0 && budget->period_ns < budget->compute_budget_ns) {
        return aegis_error_set(err, AEGIS_HERE("resource.context"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "model '%s': a compute budget of %" PRIu64
                               " ns needs a period at least as long, not %" PRIu64 " ns",
                               name, budget->compute_budget_ns, budget->period_ns);
    }
    aegis_context *context = aegis_allocate_zeroed(allocator, 1, sizeof *context);
    char *copy = aegis_copy_text(allocator, name);
    if (context == NULL || copy == NULL) {
        aegis_deallocate(allocator, context, 1, sizeof *context);
        aegis_free_text(allocator, copy);
        return aegis_error_set(err, AEGIS_HERE("resource.context"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for the context of model '%s'", name);
    }
    context->allocator = *allocator;
    context->id = id;
    context->name = copy;
    context->budget = *budget;
    context->budget.stream_limit = budget->stream_limit == 0 ? 1 : budget->stream_limit;
    context->model = model;
    pthread_mutex_init(&context->error_lock, NULL); /* default attributes: cannot fail on Linux */
    *ret_context = context;
    return AEGIS_OK;
}

void aegis_context_destroy(aegis_context *context)
{
    if (context != NULL) {
        aegis_allocator allocator = context->allocator;
        pthread_mutex_destroy(&context->error_lock);
        aegis_free_text(&allocator, context->name);
        aegis_deallocate(&allocator, context, 1, sizeof *context);
    }
}

uint32_t aegis_context_id(const aegis_context *context)
{
    return context->id;
}

const char *aegis_context_name(const aegis_context *context)
{
    return context->name;
}

const aegis_resource_budget *aegis_context_budget(const aegis_context *context)
{
    return &context->budget;
}

struct aegis_model *aegis_context_model(const aegis_context *context)
{
    return context->model;
}

void aegis_context_set_model(aegis_context *context, struct aegis_model *model)
{
    context->model = model;
}

/* ---- memory ---- */

static uint64_t memory_limit(const aegis_context *context)
{
    uint64_t limit = context->budget.memory_limit_bytes;
    return limit == 0 ? UINT64_MAX : limit;
}

aegis_status
aegis_context_charge_memory(aegis_context *context, uint64_t size_bytes, aegis_error *err)
{
    uint64_t limit = memory_limit(context), used = atomic_load(&context->memory_used);
    do {
        if (size_bytes > limit - used) {
            return aegis_error_set(err, AEGIS_HERE("resource.context"), AEGIS_ERROR_BUDGET_EXCEEDED,
                                   "model '%s' asks for %" PRIu64 " bytes with %" PRIu64
                                   " of its limit %" PRIu64 " in use",
                                   context->name, size_bytes, used, limit);
        }
    } while (!atomic_compare_exchange_weak(&context->memory_used, &used, used + size_bytes));
    uint64_t now = used + size_bytes, peak = atomic_load(&context->memory_peak);
    while (now > peak && !atomic_compare_exchange_weak(&context->memory_peak, &peak, now)) {
    }
    return AEGIS_OK;
}

void aegis_context_release_memory(aegis_context *context, uint64_t size_bytes)
{
    uint64_t used = atomic_load(&context->memory_used), left;
    do {
        left = size_bytes < used ? used - size_bytes : 0;
    } while (!atomic_compare_exchange_weak(&context->memory_used, &used, left));
}

uint64_t aegis_context_memory_used(const aegis_context *context)
{
    return atomic_load(&context->memory_used);
}

uint64_t aegis_context_memory_peak(const aegis_context *context)
{
    return atomic_load(&context->memory_peak);
}

bool aegis_context_can_allocate(const aegis_context *context, uint64_t size_bytes)
{
    return size_bytes <= memory_limit(context) - atomic_load(&context->memory_used);
}

/* ---- streams ---- */

aegis_status aegis_context_acquire_stream(aegis_context *context, aegis_error *err)
{
    uint32_t used = atomic_load(&context->streams);
    do {
        if (used >= context->budget.stream_limit) {
            return aegis_error_set(err, AEGIS_HERE("resource.context"),
                                   AEGIS_ERROR_STREAMS_EXHAUSTED,
                                   "model '%s' has all of its %" PRIu32 " streams in use",
                                   context->name, context->budget.stream_limit);
        }
    } while (!atomic_compare_exchange_weak(&context->streams, &used, used + 1));
    return AEGIS_OK;
}

void aegis_context_release_stream(aegis_context *context)
{
    uint32_t used = atomic_load(&context->streams);
    while (used > 0 && !atomic_compare_exchange_weak(&context->streams, &used, used - 1)) {
    }
}

uint32_t aegis_context_streams_in_use(const aegis_context *context)
{
    return atomic_load(&context->streams);
}

/* ---- compute ---- */

bool aegis_context_charge_compute(aegis_context *context, uint64_t now_ns, uint64_t used_ns)
{
    const aegis_resource_budget *b = &context->budget;
    if (b->compute_budget_ns == 0) {
        return true;
    }
    uint64_t period = now_ns / b->period_ns;
    bool is_same = period == atomic_load_explicit(&context->compute_period, memory_order_relaxed);
    uint64_t used =
        is_same ? atomic_load_explicit(&context->compute_used_ns, memory_order_relaxed) : 0;
    if (__builtin_add_overflow(used, used_ns, &used)) {
        used = UINT64_MAX;
    }
    atomic_store_explicit(&context->compute_used_ns, used, memory_order_relaxed);
    atomic_store_explicit(&context->compute_period, period, memory_order_relaxed);
    return used <= b->compute_budget_ns;
}

uint64_t aegis_context_compute_left_ns(const aegis_context *context, uint64_t now_ns)
{
    const aegis_resource_budget *b = &context->budget;
    if (b->compute_budget_ns == 0) {
        return UINT64_MAX;
    }
    uint64_t period = atomic_load_explicit(&context->compute_period, memory_order_relaxed);
    uint64_t used = now_ns / b->period_ns == period
                        ? atomic_load_explicit(&context->compute_used_ns, memory_order_relaxed)
                        : 0;
    return used < b->compute_budget_ns ? b->compute_budget_ns - used : 0;
}

/* ---- fault state ---- */

void aegis_context_set_error(aegis_context *context, const aegis_error *error)
{
    pthread_mutex_lock(&context->error_lock);
    if (!atomic_load(&context->has_error)) {
        context->error = *error;
        atomic_store(&context->has_error, true);
    }
    pthread_mutex_unlock(&context->error_lock);
}

bool aegis_context_has_error(const aegis_context *context)
{
    return atomic_load(&context->has_error);
}

bool aegis_context_last_error(const aegis_context *context, aegis_error *ret_error)
{
    aegis_context *self =
        (aegis_context *)(uintptr_t)context; /* the lock is not part of the state */
    pthread_mutex_lock(&self->error_lock);
    bool found = atomic_load(&context->has_error);
    if (found) {
        *ret_error = context->error;
    }
    pthread_mutex_unlock(&self->error_lock);
    return found;
}

void aegis_context_clear_error(aegis_context *context)
{
    pthread_mutex_lock(&context->error_lock);
    atomic_store(&context->has_error, false);
    pthread_mutex_unlock(&context->error_lock);
}
