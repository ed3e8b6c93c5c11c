/* SPDX-License-Identifier: Apache-2.0 */
/* What language models with jobs have in common, wherever they compute. */
#include "backend/transformer/backend/language_base.h"

#include <aegisrt/version.h>

#include <inttypes.h>

#define HERE(language) AEGIS_HERE((language)->component)

/* ---- opening ---- */

static aegis_status
check_streaming(const aegis_language *language, const aegis_model_config *config, aegis_error *err)
{
    if (language->stream && config->memory_limit_bytes == 0) {
        return aegis_error_set(
            err, HERE(language), AEGIS_ERROR_CONFIG,
            "residency = \"streamed\" divides a memory limit, and there is none: "
            "write memory");
    }
    if (language->stream && config->cut_count > 0) {
        return aegis_error_set(err, HERE(language), AEGIS_ERROR_CONFIG,
                               "residency = \"streamed\": its segments are the weights that come "
                               "together; remove cuts");
    }
    return AEGIS_OK;
}

aegis_status aegis_language_init(aegis_language *language,
                                 const char *component,
                                 const aegis_model_config *config,
                                 const aegis_allocator *allocator,
                                 aegis_error *err)
{
    language->allocator = *allocator;
    language->component = component;
    language->memory_limit = config->memory_limit_bytes;
    language->stop_at_end = config->stop_at_end;
    language->stream = config->residency == AEGIS_STREAMED;
    if (config->threads > 1) {
        return aegis_error_set(err, HERE(language), AEGIS_ERROR_UNSUPPORTED,
                               "%u threads; a step is bound by memory and takes the one thread of "
                               "its lane: write threads = 1",
                               config->threads);
    }
    return check_streaming(language, config, err);
}

void aegis_language_finish(aegis_language *language)
{
    const aegis_allocator *allocator = &language->allocator;
    aegis_deallocate(allocator, language->lifetimes, language->lifetime_room,
                     sizeof *language->lifetimes);
    aegis_deallocate(allocator, language->candidates, language->candidate_room,
                     sizeof *language->candidates);
    aegis_deallocate(allocator, language->written, language->prompt, sizeof *language->written);
    aegis_surface_finish(&language->surface);
}

/* ---- the surface ---- */

static aegis_status fix_inputs(aegis_language *language,
                               const aegis_model_config *config,
                               uint32_t context,
                               aegis_tensor_info inputs[LANGUAGE_INPUTS],
                               aegis_error *err)
{
    static const aegis_surface_declaration declared[LANGUAGE_INPUTS] = {
        {.name = "tokens",
         .element = AEGIS_ELEMENT_I64,
         .rank = 1,
         .shape = {-1},
         .free_name = {"prompt"}},
        {.name = "cursor", .element = AEGIS_ELEMENT_I64, .rank = 1, .shape = {2}}};
    aegis_input_shape shapes[LANGUAGE_INPUTS];
    const aegis_input_shape written = {.name = "tokens", .rank = 1, .shape = {language->prompt}};
    aegis_model_config shaped = *config;
    if (language->written != NULL) {
        shaped.inputs = &written;
        shaped.input_count = 1;
    }
    aegis_status status = aegis_surface_fix_shapes(&shaped, declared, LANGUAGE_INPUTS, shapes, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (int i = 0; i < LANGUAGE_INPUTS; i++) {
        inputs[i] =
            (aegis_tensor_info){.name = declared[i].name, .element = AEGIS_ELEMENT_I64, .rank = 1};
        inputs[i].shape[0] = shapes[i].shape[0];
    }
    if (inputs[LANGUAGE_TOKENS].shape[0] >= (int64_t)context) {
        return aegis_error_set(err, HERE(language), AEGIS_ERROR_CONFIG,
                               "input 'tokens' has %" PRId64 " tokens and leaves no room in a "
                               "context of %u; write fewer or raise context",
                               inputs[LANGUAGE_TOKENS].shape[0], context);
    }
    language->prompt = (uint32_t)inputs[LANGUAGE_TOKENS].shape[0];
    return AEGIS_OK;
}

aegis_status aegis_language_make_surface(aegis_language *language,
                                         const aegis_model_config *config,
                                         uint32_t context,
                                         uint32_t vocabulary,
                                         aegis_error *err)
{
    static const aegis_state_pair pair = {"cursor", "next_cursor"};
    aegis_tensor_info inputs[LANGUAGE_INPUTS];
    const aegis_tensor_info outputs[LANGUAGE_OUTPUTS] = {
        {.name = "token", .element = AEGIS_ELEMENT_I64, .rank = 1, .shape = {1}},
        {.name = "logits", .element = AEGIS_ELEMENT_F32, .rank = 1, .shape = {vocabulary}},
        {.name = "next_cursor", .element = AEGIS_ELEMENT_I64, .rank = 1, .shape = {2}}};
    aegis_model_config paired = *config;
    aegis_status status =
        config->prompt != NULL ? aegis_language_read_prompt(language, config, err) : AEGIS_OK;
    if (status == AEGIS_OK) {
        status = fix_inputs(language, config, context, inputs, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    if (config->state_count == 0) {
        paired.state = &pair;
        paired.state_count = 1;
    }
    status = aegis_surface_init(&language->surface, &paired, inputs, LANGUAGE_INPUTS, outputs,
                                LANGUAGE_OUTPUTS, &language->allocator, err);
    if (status == AEGIS_OK && language->surface.input_partner[LANGUAGE_CURSOR] < 0) {
        status = aegis_error_set(err, HERE(language), AEGIS_ERROR_CONFIG,
                                 "its state is cursor = \"next_cursor\"; write that, or no state");
    }
    return status;
}

uint64_t aegis_language_surface_bytes(const aegis_language *language)
{
    uint64_t total = 0;
    for (size_t i = 0; i < language->surface.buffer_count; i++) {
        total += language->surface.buffers[i].size_bytes;
    }
    return total;
}

/* ---- lists ---- */

aegis_status aegis_language_make_lifetimes(aegis_language *language, size_t room, aegis_error *err)
{
    if (language->lifetimes != NULL) {
        return AEGIS_OK;
    }
    language->lifetimes =
        aegis_allocate_zeroed(&language->allocator, room, sizeof *language->lifetimes);
    if (language->lifetimes == NULL) {
        return aegis_error_set(err, HERE(language), AEGIS_ERROR_NO_MEMORY,
                               "no memory for lifetimes");
    }
    language->lifetime_room = room;
    return AEGIS_OK;
}

aegis_status aegis_language_make_candidates(aegis_language *language, size_t room, aegis_error *err)
{
    if (language->stream) {
        return aegis_error_set(err, HERE(language), AEGIS_ERROR_UNSUPPORTED,
                               "residency = \"streamed\": its segments are the weights that come "
                               "together and cannot be chosen");
    }
    if (language->placed || !language->recorded || language->segment_count > 1) {
        return aegis_error_set(err, HERE(language), AEGIS_ERROR_STATE,
                               "cuts are looked for in a recorded, uncut model that is not placed");
    }
    if (language->candidates != NULL) {
        return AEGIS_OK;
    }
    language->candidates =
        aegis_allocate_zeroed(&language->allocator, room, sizeof *language->candidates);
    if (language->candidates == NULL) {
        return aegis_error_set(err, HERE(language), AEGIS_ERROR_NO_MEMORY,
                               "no memory for %zu places to cut", room);
    }
    language->candidate_room = room;
    return AEGIS_OK;
}

/* ---- jobs ---- */

bool aegis_language_is_measured(const aegis_language *language)
{
    return language->recorded && !language->placed;
}

aegis_status aegis_language_check_segment(const aegis_language *language,
                                          uint32_t segment,
                                          uint32_t slot,
                                          aegis_error *err)
{
    if (segment >= language->segment_count || slot >= language->surface.slots) {
        return aegis_error_set(err, HERE(language), AEGIS_ERROR_INVALID_ARGUMENT,
                               "there is no segment %" PRIu32 " of %" PRIu32 " or no slot %" PRIu32
                               " of %" PRIu32,
                               segment, language->segment_count, slot, language->surface.slots);
    }
    if (segment != 0 && (segment > language->next || segment + 1 < language->next)) {
        return aegis_error_set(err, HERE(language), AEGIS_ERROR_STATE,
                               "segment %" PRIu32 " is due, not %" PRIu32, language->next, segment);
    }
    return AEGIS_OK;
}

/* ---- entries of an ops table ---- */

const char *aegis_language_hash(void *self)
{
    return ((aegis_language *)self)->hash;
}

const char *aegis_language_label(void *self)
{
    return ((aegis_language *)self)->label;
}

/* On the host nothing that runs can break a model. On a device failures are its stream's to report;
 * after a fatal one all of the device is lost. */
bool aegis_language_is_valid(void *self)
{
    (void)self;
    return true;
}

const aegis_tensor_info *aegis_language_inputs(void *self, size_t *ret_count)
{
    const aegis_language *language = self;
    *ret_count = language->surface.input_count;
    return language->surface.inputs;
}

const aegis_tensor_info *aegis_language_outputs(void *self, size_t *ret_count)
{
    const aegis_language *language = self;
    *ret_count = language->surface.output_count;
    return language->surface.outputs;
}

uint32_t aegis_language_segment_count(void *self)
{
    return ((aegis_language *)self)->segment_count;
}

aegis_status aegis_language_lifetimes(void *self,
                                      const aegis_tensor_lifetime **ret_lifetimes,
                                      size_t *ret_count,
                                      aegis_error *err)
{
    const aegis_language *language = self;
    if (!language->recorded) {
        return aegis_error_set(err, HERE(language), AEGIS_ERROR_STATE,
                               "the model was not recorded yet");
    }
    *ret_lifetimes = language->lifetimes;
    *ret_count = language->lifetime_count;
    return AEGIS_OK;
}

bool aegis_language_is_placed(void *self)
{
    return ((aegis_language *)self)->placed;
}

void aegis_language_commit(void *self)
{
    aegis_language *language = self;
    language->surface.parity = language->surface.written;
}

/* A step allocates nothing. */
void aegis_language_last_spill(void *self, aegis_model_spill *ret_spill)
{
    (void)self;
    *ret_spill = (aegis_model_spill){.first_index = -1};
}

const char *aegis_language_version(void *backend)
{
    (void)backend;
    return AEGIS_VERSION_STRING;
}
