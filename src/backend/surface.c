/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/surface.h"

#include "backend/block.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "backend.surface"
#define ALIGNMENT 64u

aegis_status aegis_surface_unknown(const aegis_surface *surface,
                                   const char *what,
                                   const char *name,
                                   const char *const *known,
                                   size_t count,
                                   aegis_status status,
                                   aegis_error *err)
{
    char list[300] = "";
    size_t used = 0;
    for (size_t i = 0; i < count && used < sizeof list; i++) {
        int wrote =
            snprintf(list + used, sizeof list - used, "%s'%s'", i == 0 ? "" : ", ", known[i]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    const char *nearest = aegis_nearest_word(name, known, count);
    return aegis_error_set(
        err, AEGIS_HERE(COMPONENT), status, "%s%s%sunknown %s '%s'%s%s%s; the model has: %s",
        surface != NULL ? "model '" : "", surface != NULL ? surface->model_name : "",
        surface != NULL ? "': " : "", what, name, nearest != NULL ? ", did you mean '" : "",
        nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "", list);
}

static int find(const aegis_tensor_info *tensors, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(tensors[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static aegis_status unknown_tensor(const aegis_surface *surface,
                                   bool names_model,
                                   bool input,
                                   const char *name,
                                   aegis_status status,
                                   aegis_error *err)
{
    const char *names[64];
    const aegis_tensor_info *tensors = input ? surface->inputs : surface->outputs;
    size_t count = input ? surface->input_count : surface->output_count;
    count = count < AEGIS_ARRAY_LENGTH(names) ? count : AEGIS_ARRAY_LENGTH(names);
    for (size_t i = 0; i < count; i++) {
        names[i] = tensors[i].name;
    }
    return aegis_surface_unknown(names_model ? surface : NULL, input ? "input" : "output", name,
                                 names, count, status, err);
}

/* While a model is opened its name is put in front by the one who opens it. */
static aegis_status unknown_in(
    const aegis_surface *surface, const char *key, bool input, const char *name, aegis_error *err)
{
    aegis_status status = unknown_tensor(surface, false, input, name, AEGIS_ERROR_CONFIG, err);
    aegis_error_prefix(err, "%s", key);
    return status;
}

static aegis_status copy_tensors(aegis_surface *surface,
                                 const aegis_tensor_info *from,
                                 size_t count,
                                 aegis_tensor_info **ret_tensors,
                                 size_t *ret_count,
                                 aegis_error *err)
{
    aegis_tensor_info *tensors =
        aegis_allocate_zeroed(&surface->allocator, count + 1, sizeof *tensors);
    *ret_tensors = tensors;
    *ret_count = tensors == NULL ? 0 : count;
    for (size_t i = 0; tensors != NULL && i < count; i++) {
        uint64_t elements;
        tensors[i] = from[i];
        tensors[i].name = aegis_copy_text(&surface->allocator, from[i].name);
        if (tensors[i].name == NULL) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                   "no memory for the surface of a model");
        }
        if (!aegis_shape_elements(from[i].shape, from[i].rank, &elements) ||
            __builtin_mul_overflow(elements, aegis_element_bytes(from[i].element),
                                   &tensors[i].size_bytes)) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                   "tensor '%s': its size overflows", from[i].name);
        }
        if (elements == 0) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                                   "tensor '%s' is empty with these shapes; give larger ones",
                                   from[i].name);
        }
    }
    return tensors != NULL ? AEGIS_OK
                           : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                             "no memory for the surface of a model");
}

static aegis_status
pair_state(aegis_surface *surface, const aegis_model_config *config, aegis_error *err)
{
    for (size_t i = 0; i < config->state_count; i++) {
        const aegis_state_pair *pair = &config->state[i];
        int input = find(surface->inputs, surface->input_count, pair->input);
        int output = find(surface->outputs, surface->output_count, pair->output);
        if (input < 0 || output < 0) {
            return unknown_in(surface, "state", input < 0, input < 0 ? pair->input : pair->output,
                              err);
        }
        const aegis_tensor_info *a = &surface->inputs[input], *b = &surface->outputs[output];
        bool same = a->element == b->element && a->rank == b->rank &&
                    memcmp(a->shape, b->shape, (size_t)a->rank * sizeof a->shape[0]) == 0;
        if (!same) {
            char from[160], to[160];
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                   "state: output '%s' is %s %s and cannot feed input '%s', %s %s",
                                   b->name, aegis_element_name(b->element),
                                   aegis_shape_text(b->shape, b->rank, from, sizeof from), a->name,
                                   aegis_element_name(a->element),
                                   aegis_shape_text(a->shape, a->rank, to, sizeof to));
        }
        if (surface->input_partner[input] >= 0 || surface->output_partner[output] >= 0) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                   "state: input '%s' or output '%s' is in two pairs", a->name,
                                   b->name);
        }
        surface->input_partner[input] = output;
        surface->output_partner[output] = input;
    }
    return AEGIS_OK;
}

/* A source that names an input wins over one for all. */
static aegis_status
copy_sources(aegis_surface *surface, const aegis_model_config *config, aegis_error *err)
{
    for (size_t s = 0; s < config->source_count; s++) {
        const aegis_source *source = &config->sources[s];
        if (source->input != NULL &&
            find(surface->inputs, surface->input_count, source->input) < 0) {
            return unknown_in(surface, "source", true, source->input, err);
        }
    }
    for (size_t i = 0; i < surface->input_count; i++) {
        const aegis_source *best = NULL;
        for (size_t s = 0; s < config->source_count; s++) {
            const char *input = config->sources[s].input;
            if (input != NULL ? strcmp(input, surface->inputs[i].name) == 0 : best == NULL) {
                best = &config->sources[s];
            }
        }
        if (best != NULL) {
            surface->sources[i] = *best;
            surface->sources[i].path = NULL;
            if (best->path != NULL) {
                surface->sources[i].path = aegis_copy_text(&surface->allocator, best->path);
                if (surface->sources[i].path == NULL) {
                    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                           "no memory for the sources of a model");
                }
            }
        }
        surface->sources[i].input = surface->inputs[i].name;
    }
    return AEGIS_OK;
}

/* Order: both halves of each state pair, then the inputs of slot 0, 1, ..., then the outputs. */
static aegis_status list_buffers(aegis_surface *surface, aegis_error *err)
{
    size_t most =
        (surface->input_count + surface->output_count) * surface->slots + 2 * surface->input_count;
    surface->buffers =
        aegis_allocate_zeroed(&surface->allocator, most + 1, sizeof *surface->buffers);
    surface->buffer_count = most;
    if (surface->buffers == NULL) {
        surface->buffer_count = 0;
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the buffers of a model");
    }
    size_t used = 0;
    for (size_t i = 0; i < surface->input_count; i++) {
        for (int half = 0; half < 2 && surface->input_partner[i] >= 0; half++) {
            surface->buffers[used++] =
                (aegis_surface_buffer){AEGIS_MEMORY_STATE, surface->inputs[i].size_bytes, NULL};
        }
    }
    for (uint32_t slot = 0; slot < surface->slots; slot++) {
        for (size_t i = 0; i < surface->input_count; i++) {
            if (surface->input_partner[i] < 0) {
                surface->buffers[used++] =
                    (aegis_surface_buffer){AEGIS_MEMORY_INPUT, surface->inputs[i].size_bytes, NULL};
            }
        }
    }
    for (uint32_t slot = 0; slot < surface->slots; slot++) {
        for (size_t i = 0; i < surface->output_count; i++) {
            if (surface->output_partner[i] < 0) {
                surface->buffers[used++] = (aegis_surface_buffer){
                    AEGIS_MEMORY_OUTPUT, surface->outputs[i].size_bytes, NULL};
            }
        }
    }
    /* Keep exactly what is used, so that count and allocation agree. */
    aegis_surface_buffer *exact =
        aegis_allocate_zeroed(&surface->allocator, used + 1, sizeof *exact);
    if (exact == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the buffers of a model");
    }
    memcpy(exact, surface->buffers, used * sizeof *exact);
    aegis_deallocate(&surface->allocator, surface->buffers, most + 1, sizeof *exact);
    surface->buffers = exact;
    surface->buffer_count = used;
    return AEGIS_OK;
}

/* Partners, all none, and sources. */
static bool make_links(aegis_surface *surface, size_t inputs, size_t outputs)
{
    const aegis_allocator *allocator = &surface->allocator;
    surface->input_partner = aegis_allocate_zeroed(allocator, inputs + 1, sizeof(int));
    surface->output_partner = aegis_allocate_zeroed(allocator, outputs + 1, sizeof(int));
    surface->sources = aegis_allocate_zeroed(allocator, inputs + 1, sizeof *surface->sources);
    if (surface->input_partner == NULL || surface->output_partner == NULL ||
        surface->sources == NULL) {
        return false;
    }
    memset(surface->input_partner, 0xff, inputs * sizeof(int)); /* all -1 */
    memset(surface->output_partner, 0xff, outputs * sizeof(int));
    return true;
}

aegis_status aegis_surface_init(aegis_surface *surface,
                                const aegis_model_config *config,
                                const aegis_tensor_info *inputs,
                                size_t input_count,
                                const aegis_tensor_info *outputs,
                                size_t output_count,
                                const aegis_allocator *allocator,
                                aegis_error *err)
{
    memset(surface, 0, sizeof *surface);
    surface->allocator = *allocator;
    surface->seed = config->seed;
    surface->slots = config->slots == 0 ? 1 : config->slots;
    surface->model_name = aegis_copy_text(allocator, config->name);
    aegis_status status =
        copy_tensors(surface, inputs, input_count, &surface->inputs, &surface->input_count, err);
    if (status == AEGIS_OK) {
        status = copy_tensors(surface, outputs, output_count, &surface->outputs,
                              &surface->output_count, err);
    }
    if (status == AEGIS_OK &&
        (surface->model_name == NULL || !make_links(surface, input_count, output_count))) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                 "no memory for the surface of a model");
    }
    if (status == AEGIS_OK) {
        status = pair_state(surface, config, err);
    }
    if (status == AEGIS_OK) {
        status = copy_sources(surface, config, err);
    }
    if (status == AEGIS_OK) {
        status = list_buffers(surface, err);
    }
    if (status != AEGIS_OK) {
        aegis_surface_finish(surface);
    }
    return status;
}

static void free_tensors(aegis_surface *surface, aegis_tensor_info *tensors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        aegis_free_text(&surface->allocator, (char *)tensors[i].name);
    }
    aegis_deallocate(&surface->allocator, tensors, count + 1, sizeof *tensors);
}

void aegis_surface_finish(aegis_surface *surface)
{
    const aegis_allocator *allocator = &surface->allocator;
    if (allocator->free == NULL) {
        return;
    }
    aegis_block_free(surface->trial);
    for (size_t i = 0; surface->sources != NULL && i < surface->input_count; i++) {
        aegis_free_text(allocator, (char *)surface->sources[i].path);
    }
    aegis_deallocate(allocator, surface->sources, surface->input_count + 1,
                     sizeof *surface->sources);
    aegis_deallocate(allocator, surface->input_partner, surface->input_count + 1, sizeof(int));
    aegis_deallocate(allocator, surface->output_partner, surface->output_count + 1, sizeof(int));
    aegis_deallocate(allocator, surface->buffers, surface->buffer_count + 1,
                     sizeof *surface->buffers);
    free_tensors(surface, surface->inputs, surface->input_count);
    free_tensors(surface, surface->outputs, surface->output_count);
    aegis_free_text(allocator, surface->model_name);
    memset(surface, 0, sizeof *surface);
}

/* Index of a buffer by the order of list_buffers. */
static size_t
buffer_index(const aegis_surface *surface, bool input, size_t which, uint32_t slot, uint32_t parity)
{
    const int *partner = input ? surface->input_partner : surface->output_partner;
    size_t states = 0, plain_inputs = 0, plain_outputs = 0, before = 0;
    for (size_t i = 0; i < surface->input_count; i++) {
        states += surface->input_partner[i] >= 0;
        plain_inputs += surface->input_partner[i] < 0;
    }
    for (size_t i = 0; i < surface->output_count; i++) {
        plain_outputs += surface->output_partner[i] < 0;
    }
    if (partner[which] >= 0) {
        size_t state_input = input ? which : (size_t)partner[which];
        for (size_t i = 0; i < state_input; i++) {
            before += surface->input_partner[i] >= 0;
        }
        return 2 * before + (input ? parity : parity ^ 1u);
    }
    for (size_t i = 0; i < which; i++) {
        before += partner[i] < 0;
    }
    return 2 * states +
           (input ? slot * plain_inputs : surface->slots * plain_inputs + slot * plain_outputs) +
           before;
}

void *aegis_surface_input_pointer(const aegis_surface *surface,
                                  size_t input,
                                  uint32_t slot,
                                  uint32_t parity)
{
    return surface->buffers[buffer_index(surface, true, input, slot, parity)].pointer;
}

void *aegis_surface_output_pointer(const aegis_surface *surface,
                                   size_t output,
                                   uint32_t slot,
                                   uint32_t parity)
{
    return surface->buffers[buffer_index(surface, false, output, slot, parity)].pointer;
}

static aegis_status fill_slot(aegis_surface *surface, uint32_t slot, aegis_error *err)
{
    for (size_t i = 0; i < surface->input_count; i++) {
        if (surface->input_partner[i] >= 0) {
            continue;
        }
        aegis_status status = aegis_source_fill(
            &surface->sources[i], &surface->inputs[i], surface->seed, &surface->allocator,
            aegis_surface_input_pointer(surface, i, slot, 0), err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

aegis_status aegis_surface_reset(aegis_surface *surface, aegis_error *err)
{
    for (uint32_t slot = 0; slot < surface->slots; slot++) {
        aegis_status status = fill_slot(surface, slot, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < surface->buffer_count; i++) {
        if (surface->buffers[i].memory_class != AEGIS_MEMORY_INPUT) {
            memset(surface->buffers[i].pointer, 0, surface->buffers[i].size_bytes);
        }
    }
    surface->parity = surface->written = 0;
    return AEGIS_OK;
}

aegis_status aegis_surface_open_trial(aegis_surface *surface, aegis_error *err)
{
    uint64_t total = 0;
    for (size_t i = 0; i < surface->buffer_count; i++) {
        uint64_t rounded = aegis_align_up(surface->buffers[i].size_bytes, ALIGNMENT);
        if (rounded < surface->buffers[i].size_bytes ||
            __builtin_add_overflow(total, rounded, &total)) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_OVERFLOW,
                                   "model '%s': inputs and outputs are too large together",
                                   surface->model_name);
        }
    }
    surface->trial = aegis_block_alloc(total, 0, surface);
    if (surface->trial == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "model '%s': no %" PRIu64 " bytes for inputs and outputs",
                               surface->model_name, total);
    }
    unsigned char *at = surface->trial;
    for (size_t i = 0; i < surface->buffer_count; i++) {
        surface->buffers[i].pointer = at;
        at += aegis_align_up(surface->buffers[i].size_bytes, ALIGNMENT);
    }
    return aegis_surface_reset(surface, err);
}

aegis_status aegis_surface_place(aegis_surface *surface, void *const *pointers, aegis_error *err)
{
    void **old = aegis_allocate_zeroed(&surface->allocator, surface->buffer_count + 1, sizeof *old);
    if (old == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to place a model");
    }
    for (size_t i = 0; i < surface->buffer_count; i++) {
        old[i] = surface->buffers[i].pointer;
        surface->buffers[i].pointer = pointers[i];
    }
    aegis_status status = aegis_surface_reset(surface, err);
    if (status == AEGIS_OK) {
        aegis_block_free(surface->trial);
        surface->trial = NULL;
    } else {
        for (size_t i = 0; i < surface->buffer_count; i++) {
            surface->buffers[i].pointer = old[i];
        }
    }
    aegis_deallocate(&surface->allocator, old, surface->buffer_count + 1, sizeof *old);
    return status;
}

static aegis_status find_tensor(aegis_surface *surface,
                                bool input,
                                uint32_t slot,
                                const char *name,
                                void **ret_data,
                                uint64_t *ret_size,
                                aegis_error *err)
{
    const aegis_tensor_info *tensors = input ? surface->inputs : surface->outputs;
    int which = find(tensors, input ? surface->input_count : surface->output_count, name);
    if (which < 0) {
        return unknown_tensor(surface, true, input, name, AEGIS_ERROR_NOT_FOUND, err);
    }
    if (slot >= surface->slots) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NOT_FOUND,
                               "model '%s' has %" PRIu32 " slots, there is no slot %" PRIu32,
                               surface->model_name, surface->slots, slot);
    }
    /* An output's buffer is the half opposite to its parity. Runs change the parity; what has one
     * half only may be asked for meanwhile. */
    const int partner = (input ? surface->input_partner : surface->output_partner)[which];
    uint32_t parity = partner < 0 ? 0 : input ? surface->parity : surface->written ^ 1u;
    *ret_data = surface->buffers[buffer_index(surface, input, (size_t)which, slot, parity)].pointer;
    *ret_size = tensors[which].size_bytes;
    return AEGIS_OK;
}

aegis_status aegis_surface_find_input(aegis_surface *surface,
                                      uint32_t slot,
                                      const char *name,
                                      void **ret_data,
                                      uint64_t *ret_size,
                                      aegis_error *err)
{
    return find_tensor(surface, true, slot, name, ret_data, ret_size, err);
}

aegis_status aegis_surface_find_output(aegis_surface *surface,
                                       uint32_t slot,
                                       const char *name,
                                       void **ret_data,
                                       uint64_t *ret_size,
                                       aegis_error *err)
{
    return find_tensor(surface, false, slot, name, ret_data, ret_size, err);
}

void aegis_surface_lifetimes(const aegis_surface *surface,
                             uint32_t first,
                             aegis_tensor_lifetime *ret_lifetimes)
{
    for (size_t i = 0; i < surface->buffer_count; i++) {
        ret_lifetimes[i] = (aegis_tensor_lifetime){
            .tensor = first + (uint32_t)i,
            .memory_class = surface->buffers[i].memory_class,
            .end = 1,
            .size_bytes = surface->buffers[i].size_bytes,
            .alignment = ALIGNMENT,
        };
    }
}
