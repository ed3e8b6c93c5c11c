/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_BACKEND_CONFORMANCE_H
#define AEGIS_TEST_BACKEND_CONFORMANCE_H

/* What every backend must do, whatever runs underneath. The model is given with 2 slots. */

#include "base/cache.h"
#include "support/placed_model.h"

#include "support/gpu_cases.h"

#include <math.h>

/* Where models run; NULL: on the calling thread, on the host. On a GPU outputs of the same run are
 * alike, not equal: its kernels are free in the order of their sums. */
static aegis_stream *conformance_stream;
#ifndef CONFORMANCE_ALIKE
#define CONFORMANCE_ALIKE 1e-4
#endif

typedef struct conformance_call {
    aegis_model *model;
    uint32_t segment, slot;
    aegis_status status;
    aegis_error error;
} conformance_call;

static inline void conformance_take_call(void *argument)
{
    conformance_call *call = argument;
    call->status = aegis_model_execute(call->model, call->segment, call->slot, conformance_stream,
                                       &call->error);
}

/* To its end, also on the device. */
static inline aegis_status
conformance_execute(aegis_model *model, uint32_t segment, uint32_t slot, aegis_error *err)
{
    conformance_call call = {.model = model, .segment = segment, .slot = slot};
    if (conformance_stream == NULL) {
        return aegis_model_execute(model, segment, slot, NULL, err);
    }
    must(aegis_stream_call(conformance_stream, conformance_take_call, &call, err), err);
    must(aegis_stream_synchronize(conformance_stream, err), err);
    if (call.status != AEGIS_OK) {
        *err = call.error;
    }
    return call.status;
}

static inline bool conformance_alike(const unsigned char *a, const unsigned char *b, uint64_t size)
{
    double difference = 0, norm = 0;
    float x, y;
    if (memcmp(a, b, size) == 0) {
        return true;
    }
    for (uint64_t at = 0; conformance_stream != NULL && at + sizeof x <= size; at += sizeof x) {
        memcpy(&x, a + at, sizeof x);
        memcpy(&y, b + at, sizeof y);
        difference += ((double)x - y) * ((double)x - y);
        norm += (double)y * y;
    }
    return conformance_stream != NULL && sqrt(difference) <= CONFORMANCE_ALIKE * sqrt(norm);
}

typedef struct conformance_outputs {
    unsigned char *bytes;
    uint64_t size;
} conformance_outputs;

static inline void conformance_run(aegis_model *model, uint32_t slot)
{
    aegis_error err;
    for (uint32_t segment = 0; segment < aegis_model_segment_count(model); segment++) {
        must(conformance_execute(model, segment, slot, &err), &err);
    }
}

/* All outputs of a slot, one behind the other. */
static inline conformance_outputs conformance_read(aegis_model *model, uint32_t slot)
{
    aegis_error err;
    size_t count = 0;
    conformance_outputs all = {NULL, 0};
    const aegis_tensor_info *outputs = aegis_model_outputs(model, &count);
    for (size_t i = 0; i < count; i++) {
        void *data = NULL;
        uint64_t size = 0;
        must(aegis_model_output(model, slot, outputs[i].name, &data, &size, &err), &err);
        assert_int_equal(size, outputs[i].size_bytes);
        all.bytes = realloc(all.bytes, all.size + size);
        assert_non_null(all.bytes);
        memcpy(all.bytes + all.size, data, size);
        all.size += size;
    }
    return all;
}

static inline bool
conformance_equal(aegis_model *model, uint32_t slot, const conformance_outputs *wanted)
{
    conformance_outputs now = conformance_read(model, slot);
    bool equal = now.size == wanted->size && conformance_alike(now.bytes, wanted->bytes, now.size);
    free(now.bytes);
    return equal;
}

static inline void conformance_describes_itself(aegis_backend *backend, aegis_model *model)
{
    size_t inputs = 0, outputs = 0;
    assert_int_equal(strlen(aegis_model_hash(model)), 64);
    assert_int_equal(strspn(aegis_model_hash(model), "0123456789abcdef"), 64);
    assert_non_null(strstr(aegis_model_label(model), aegis_backend_name(backend)));
    assert_non_null(strstr(aegis_model_label(model), aegis_backend_version(backend)));
    assert_true(aegis_model_is_valid(model));
    assert_false(aegis_model_is_placed(model));
    assert_true(aegis_model_segment_count(model) >= 1);
    const aegis_tensor_info *tensors = aegis_model_inputs(model, &inputs);
    for (size_t i = 0; i < inputs; i++) {
        assert_true(tensors[i].size_bytes > 0);
    }
    tensors = aegis_model_outputs(model, &outputs);
    for (size_t i = 0; i < outputs; i++) {
        assert_true(tensors[i].size_bytes > 0);
    }
    assert_true(inputs > 0 && outputs > 0);
}

static inline void conformance_refuses_wrong_calls(aegis_model *model)
{
    aegis_error err;
    void *data = NULL;
    uint64_t size = 0;
    size_t count = 0;
    const char *name = aegis_model_inputs(model, &count)[0].name;
    assert_int_equal(aegis_model_input(model, 0, "no such name", &data, &size, &err),
                     AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, name));
    assert_int_equal(aegis_model_output(model, 0, "no such name", &data, &size, &err),
                     AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_model_input(model, 2, name, &data, &size, &err), AEGIS_ERROR_NOT_FOUND);
    assert_null(data);
    assert_int_equal(conformance_execute(model, aegis_model_segment_count(model), 0, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(conformance_execute(model, 0, 2, &err), AEGIS_ERROR_INVALID_ARGUMENT);
}

/* `kept_bytes`: state besides the pairs. */
static inline void conformance_lifetimes_add_up(aegis_model *model, uint64_t kept_bytes)
{
    aegis_error err;
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0, inputs = 0;
    uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT], sums[AEGIS_MEMORY_CLASS_COUNT] = {0}, given = 0;
    must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
    must(aegis_model_estimate_memory(model, by_class, &err), &err);
    for (size_t i = 0; i < count; i++) {
        /* Weights that the runtime has packed need no bytes of the plan. */
        assert_true(lifetimes[i].size_bytes > 0 ||
                    lifetimes[i].memory_class == AEGIS_MEMORY_WEIGHTS);
        assert_true(lifetimes[i].start < lifetimes[i].end);
        assert_true(lifetimes[i].segment < aegis_model_segment_count(model));
        sums[lifetimes[i].memory_class] += lifetimes[i].size_bytes;
    }
    assert_true(by_class[AEGIS_MEMORY_ACTIVATION] <= sums[AEGIS_MEMORY_ACTIVATION]);
    for (int c = 0; c < AEGIS_MEMORY_ACTIVATION; c++) {
        assert_int_equal(by_class[c], sums[c]);
    }
    const aegis_tensor_info *tensors = aegis_model_inputs(model, &inputs);
    for (size_t i = 0; i < inputs; i++) {
        given += 2 * tensors[i].size_bytes; /* two slots, or two halves of a state */
    }
    assert_int_equal(sums[AEGIS_MEMORY_INPUT] + sums[AEGIS_MEMORY_STATE], given + kept_bytes);
}

/* A job that is not committed leaves the state; a committed one moves it on; reset goes back. */
static inline void conformance_state_moves_on_commit(aegis_model *model,
                                                     bool stateful,
                                                     const conformance_outputs *first)
{
    aegis_error err;
    must(aegis_model_reset(model, &err), &err);
    conformance_run(model, 0);
    assert_true(conformance_equal(model, 0, first));
    conformance_run(model, 0);
    assert_true(conformance_equal(model, 0, first));
    aegis_model_commit(model);
    aegis_model_commit(model); /* nothing new to commit */
    conformance_run(model, 0);
    assert_int_equal(conformance_equal(model, 0, first), !stateful);
    must(aegis_model_reset(model, &err), &err);
    conformance_run(model, 1);
    assert_true(conformance_equal(model, 1, first));
}

typedef struct conformance_search {
    const unsigned char *bytes;
    uint64_t size;
    bool found;
} conformance_search;

static inline void conformance_look(void *self, const void *bytes, size_t size)
{
    conformance_search *wanted = self;
    const unsigned char *from = bytes;
    assert_true(aegis_cache_evict(bytes, size)); /* it is all readable */
    wanted->found = wanted->found || (from != NULL && wanted->bytes >= from &&
                                      wanted->bytes + wanted->size <= from + size);
}

/* A backend that tells what runs touch tells of all that has a place for as long as the model. */
static inline void conformance_tells_touched(aegis_model *model, const placed_memory *memory)
{
    aegis_error err;
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0;
    must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        conformance_search wanted = {memory->base + memory->placements[i].offset_bytes,
                                     lifetimes[i].size_bytes, lifetimes[i].size_bytes == 0};
        if (lifetimes[i].memory_class == AEGIS_MEMORY_WEIGHTS ||
            lifetimes[i].memory_class == AEGIS_MEMORY_STATE ||
            lifetimes[i].memory_class == AEGIS_MEMORY_INPUT ||
            lifetimes[i].memory_class == AEGIS_MEMORY_OUTPUT) {
            bool told = aegis_model_visit_touched(model, conformance_look, &wanted);
            assert_true(wanted.found || !told);
        }
    }
}

static inline aegis_status conformance_deny(void *self, uint64_t bytes, aegis_error *err)
{
    uint64_t *asked = self;
    assert_int_equal(*asked, 0); /* once */
    *asked = bytes;
    return aegis_error_set(err, AEGIS_HERE("test"), AEGIS_ERROR_BUSY, "not now");
}

/* A backend that asks whether it may load takes no for an answer. */
static inline void conformance_asks_to_load(aegis_backend *backend,
                                            const aegis_model_config *config)
{
    aegis_error err;
    aegis_model *model = NULL;
    uint64_t asked = 0;
    aegis_model_config denied = *config;
    denied.reserve = conformance_deny;
    denied.reserve_self = &asked;
    aegis_status status = aegis_model_open(backend, &denied, &model, &err);
    assert_int_equal(status, asked > 0 ? AEGIS_ERROR_BUSY : AEGIS_OK);
    assert_true((model != NULL) == (status == AEGIS_OK));
    aegis_model_close(model);
}

static inline void conformance_check_keeping(aegis_backend *backend,
                                             const aegis_model_config *config,
                                             uint64_t kept_bytes)
{
    aegis_error err;
    aegis_model *model = NULL;
    placed_memory memory;
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0;
    aegis_model_spill spill;
    aegis_model_config two = *config;
    two.slots = 2;
    two.stream = conformance_stream;
    conformance_asks_to_load(backend, &two);
    must(aegis_model_open(backend, &two, &model, &err), &err);
    assert_string_equal(aegis_model_name(model), config->name);
    conformance_describes_itself(backend, model);
    conformance_refuses_wrong_calls(model);
    assert_int_equal(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err),
                     AEGIS_ERROR_STATE);
    conformance_run(model, 0);
    conformance_outputs first = conformance_read(model, 0);
    must(aegis_model_record(model, NULL, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    aegis_model_visit_touched(model, conformance_look, &(conformance_search){0});
    conformance_lifetimes_add_up(model, kept_bytes);
    placed_make_on(model, 4096,
                   conformance_stream != NULL ? aegis_stream_device(conformance_stream) : NULL,
                   &memory);
    assert_int_equal(aegis_model_record(model, NULL, &err), AEGIS_ERROR_STATE);
    conformance_refuses_wrong_calls(model);
    conformance_tells_touched(model, &memory);
    conformance_state_moves_on_commit(model, config->state_count > 0, &first);
    aegis_model_terminate(model); /* idle: no effect on what comes */
    const int jobs = (int)repeats(20, 4);
    for (int i = 0; i < jobs; i++) {
        must(aegis_model_reset(model, &err), &err);
        conformance_run(model, (uint32_t)i % 2);
        assert_true(conformance_equal(model, (uint32_t)i % 2, &first));
        aegis_model_last_spill(model, &spill);
        assert_int_equal(spill.bytes, 0);
        assert_int_equal(spill.first_index, -1);
    }
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    placed_free(&memory);
    free(first.bytes);
}

static inline void conformance_check(aegis_backend *backend, const aegis_model_config *config)
{
    conformance_check_keeping(backend, config, 0);
}

#endif
