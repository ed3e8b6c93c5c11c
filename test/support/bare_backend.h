/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_BARE_BACKEND_H
#define AEGIS_TEST_BARE_BACKEND_H

/* What a backend's table has to have when its models are nothing but segments: no memory, one input
 * and one output that nobody reads. Open, close, execute and destroy are the test's. */

#include <aegisrt/ext/backend_ops.h>

typedef struct bare_model {
    uint32_t segments, input, output;
    aegis_tensor_info in, out;
} bare_model; /* the first member of the test's own */

static inline aegis_tensor_info bare_tensor(const char *name)
{
    return (aegis_tensor_info){
        .name = name, .element = AEGIS_ELEMENT_U32, .rank = 1, .shape = {1}, .size_bytes = 4};
}

static inline void bare_model_init(bare_model *model)
{
    model->in = bare_tensor("in");
    model->out = bare_tensor("out");
}

static inline const char *bare_version(void *self)
{
    (void)self;
    return "1";
}

static inline const char *bare_hash(void *self)
{
    (void)self;
    return "0000000000000000000000000000000000000000000000000000000000000000";
}

static inline bool bare_yes(void *self)
{
    (void)self;
    return true;
}

static inline const aegis_tensor_info *bare_inputs(void *self, size_t *ret_count)
{
    *ret_count = 1;
    return &((bare_model *)self)->in;
}

static inline const aegis_tensor_info *bare_outputs(void *self, size_t *ret_count)
{
    *ret_count = 1;
    return &((bare_model *)self)->out;
}

static inline uint32_t bare_segments(void *self)
{
    return ((bare_model *)self)->segments;
}

static inline aegis_status bare_record(void *self, aegis_stream *stream, aegis_error *err)
{
    (void)self;
    (void)stream;
    (void)err;
    return AEGIS_OK;
}

static inline aegis_status bare_lifetimes(void *self,
                                          const aegis_tensor_lifetime **ret_lifetimes,
                                          size_t *ret_count,
                                          aegis_error *err)
{
    (void)self;
    (void)err;
    *ret_lifetimes = NULL;
    *ret_count = 0;
    return AEGIS_OK;
}

static inline uint64_t bare_bytes(void *self)
{
    (void)self;
    return 0;
}

static inline aegis_status
bare_place(void *self, const aegis_model_placement *placement, aegis_error *err)
{
    (void)self;
    (void)placement;
    (void)err;
    return AEGIS_OK;
}

static inline aegis_status bare_reset(void *self, aegis_error *err)
{
    (void)self;
    (void)err;
    return AEGIS_OK;
}

static inline aegis_status bare_word(uint32_t *word, void **ret_data, uint64_t *ret_size)
{
    *ret_data = word;
    *ret_size = sizeof *word;
    return AEGIS_OK;
}

static inline aegis_status bare_input(void *self,
                                      uint32_t slot,
                                      const char *name,
                                      void **ret_data,
                                      uint64_t *ret_size,
                                      aegis_error *err)
{
    (void)slot;
    (void)name;
    (void)err;
    return bare_word(&((bare_model *)self)->input, ret_data, ret_size);
}

static inline aegis_status bare_output(void *self,
                                       uint32_t slot,
                                       const char *name,
                                       void **ret_data,
                                       uint64_t *ret_size,
                                       aegis_error *err)
{
    (void)slot;
    (void)name;
    (void)err;
    return bare_word(&((bare_model *)self)->output, ret_data, ret_size);
}

static inline void bare_commit(void *self)
{
    (void)self;
}

static inline void bare_last_spill(void *self, aegis_model_spill *ret_spill)
{
    (void)self;
    *ret_spill = (aegis_model_spill){.first_index = -1};
}

static inline void bare_backend_fill(aegis_backend_ops *ops)
{
    *ops = (aegis_backend_ops){
        .version = AEGIS_BACKEND_OPS_VERSION,
        .runtime_version = bare_version,
        .hash = bare_hash,
        .label = bare_version,
        .is_valid = bare_yes,
        .inputs = bare_inputs,
        .outputs = bare_outputs,
        .segment_count = bare_segments,
        .record = bare_record,
        .lifetimes = bare_lifetimes,
        .overhead_bytes = bare_bytes,
        .loading_peak_bytes = bare_bytes,
        .place = bare_place,
        .is_placed = bare_yes,
        .reset = bare_reset,
        .input = bare_input,
        .output = bare_output,
        .commit = bare_commit,
        .last_spill = bare_last_spill,
    };
}

#endif
