/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/dtype.h"
#include "backend/transformer/tensor/tensor.h"
#include "base/base.h"

#include <aegisrt/transformer.h>

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HERE AEGIS_HERE("transformer.synthetic")

typedef struct shape {
    const char *name;
    bool llama, tied;
    uint32_t layers, width, heads, kv_heads, feed_forward, vocabulary, positions;
} shape;

static const shape shapes[] = {
    {"gpt2-small", false, true, 12, 768, 12, 12, 3072, 50257, 1024},
    {"gpt2-medium", false, true, 24, 1024, 16, 16, 4096, 50257, 1024},
    {"gpt2-large", false, true, 36, 1280, 20, 20, 5120, 50257, 1024},
    {"gpt2-tiny", false, true, 3, 48, 4, 4, 192, 301, 96},
    {"gpt2-shallow", false, true, 3, 768, 12, 12, 3072, 1003, 320},
    {"llama-135m", true, true, 30, 576, 9, 3, 1536, 49152, 2048},
    {"llama-shallow", true, true, 3, 576, 9, 3, 1536, 1003, 320},
    {"llama-tiny", true, true, 3, 72, 6, 2, 152, 301, 96},
    {"llama-tiny-untied", true, false, 2, 64, 4, 2, 96, 301, 96},
};

const char *aegis_transformer_shape_at(uint32_t index)
{
    return index < AEGIS_ARRAY_LENGTH(shapes) ? shapes[index].name : NULL;
}

/* A tensor of the file: name and shape; the header is written in a first walk, values in a second.
 */
typedef struct writer {
    FILE *file;
    bool values; /* second walk */
    bool first;
    aegis_dtype matrices;
    uint64_t offset, random;
    char *header;
    size_t header_size, header_capacity;
    bool failed;
} writer;

static void header_add(writer *out, const char *format, ...) AEGIS_PRINTF(2, 3);

static void header_add(writer *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const size_t room = out->header_capacity - out->header_size;
    const int size = vsnprintf(out->header + out->header_size, room, format, arguments);
    va_end(arguments);
    out->failed |= size < 0 || (size_t)size >= room;
    out->header_size += out->failed ? 0 : (size_t)size;
}

static const char *file_dtype(aegis_dtype dtype)
{
    return dtype == AEGIS_DTYPE_F32    ? "F32"
           : dtype == AEGIS_DTYPE_F16  ? "F16"
           : dtype == AEGIS_DTYPE_BF16 ? "BF16"
                                       : "I8";
}

/* Uniform in [-1, 1). */
static float noise(uint64_t *random)
{
    return (float)(int32_t)(uint32_t)(aegis_random_next(random) >> 32) * 0x1p-31f;
}

static void store(aegis_dtype dtype, float value, uint8_t *to)
{
    const uint16_t half = aegis_float_to_half(value);
    const int8_t byte = (int8_t)lrintf(value * 127.0f);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t upper = (uint16_t)(bits >> 16);
    switch (dtype) {
    case AEGIS_DTYPE_F32:
        memcpy(to, &value, sizeof value);
        break;
    case AEGIS_DTYPE_F16:
        memcpy(to, &half, sizeof half);
        break;
    case AEGIS_DTYPE_BF16:
        memcpy(to, &upper, sizeof upper);
        break;
    case AEGIS_DTYPE_I8:
        memcpy(to, &byte, sizeof byte);
        break;
    case AEGIS_DTYPE_OTHER:
        break;
    }
}

/* `centre` plus noise of that amplitude; int8 fills its range, the scale has the amplitude. */
static void
write_values(writer *out, aegis_dtype dtype, uint64_t count, float centre, float amplitude)
{
    uint8_t block[4096];
    const size_t element = aegis_dtype_bytes(dtype);
    const float scale = dtype == AEGIS_DTYPE_I8 ? 1.0f : amplitude;
    while (count > 0 && !out->failed) {
        const size_t most = sizeof block / element;
        const size_t some = count < most ? (size_t)count : most;
        for (size_t i = 0; i < some; i++) {
            store(dtype, centre + scale * noise(&out->random), block + i * element);
        }
        out->failed = fwrite(block, element, some, out->file) != some;
        count -= some;
    }
}

static void put(writer *out,
                const char *name,
                aegis_dtype dtype,
                uint64_t rows,
                uint64_t columns,
                float centre,
                float amplitude)
{
    const uint64_t count = rows * (columns > 0 ? columns : 1);
    if (out->values) {
        write_values(out, dtype, count, centre, amplitude);
        return;
    }
    const uint64_t bytes = count * aegis_dtype_bytes(dtype);
    header_add(out, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%" PRIu64, out->first ? "" : ",", name,
               file_dtype(dtype), rows);
    if (columns > 0) {
        header_add(out, ",%" PRIu64, columns);
    }
    header_add(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", out->offset,
               out->offset + bytes);
    out->first = false;
    out->offset += bytes;
}

/* A matrix whose products keep the size of what goes in; `outputs` for the scales of int8. */
static void put_matrix(writer *out,
                       const char *name,
                       uint64_t rows,
                       uint64_t columns,
                       uint64_t inputs,
                       uint64_t outputs)
{
    char scales[160];
    const float amplitude = sqrtf(3.0f / (float)inputs); /* variance 1 / inputs */
    if (out->matrices == AEGIS_DTYPE_I8) {               /* first, so that f32 stays aligned */
        snprintf(scales, sizeof scales, "%s.scales", name);
        put(out, scales, AEGIS_DTYPE_F32, outputs, 0, amplitude / 127.0f, amplitude / 1270.0f);
    }
    put(out, name, out->matrices, rows, columns, 0, amplitude);
}

static void put_norm(writer *out, const char *name, uint64_t width, bool bias)
{
    char text[160];
    snprintf(text, sizeof text, "%s.weight", name);
    put(out, text, AEGIS_DTYPE_F32, width, 0, 1.0f, 0.1f);
    if (bias) {
        snprintf(text, sizeof text, "%s.bias", name);
        put(out, text, AEGIS_DTYPE_F32, width, 0, 0, 0.1f);
    }
}

static void put_linear(
    writer *out, const char *prefix, const char *name, uint32_t outputs, uint32_t inputs, bool gpt2)
{
    char text[160];
    snprintf(text, sizeof text, "%s.%s.weight", prefix, name);
    put_matrix(out, text, gpt2 ? inputs : outputs, gpt2 ? outputs : inputs, inputs, outputs);
    if (gpt2) {
        snprintf(text, sizeof text, "%s.%s.bias", prefix, name);
        put(out, text, AEGIS_DTYPE_F32, outputs, 0, 0, 0.1f);
    }
}

static void put_gpt2(writer *out, const shape *model)
{
    char block[64], norm[96];
    put_matrix(out, "wte.weight", model->vocabulary, model->width, model->width, model->vocabulary);
    put(out, "wpe.weight", out->matrices == AEGIS_DTYPE_I8 ? AEGIS_DTYPE_F32 : out->matrices,
        model->positions, model->width, 0, 0.1f);
    for (uint32_t b = 0; b < model->layers; b++) {
        snprintf(block, sizeof block, "h.%u", b);
        snprintf(norm, sizeof norm, "%s.ln_1", block);
        put_norm(out, norm, model->width, true);
        put_linear(out, block, "attn.c_attn", 3 * model->width, model->width, true);
        put_linear(out, block, "attn.c_proj", model->width, model->width, true);
        snprintf(norm, sizeof norm, "%s.ln_2", block);
        put_norm(out, norm, model->width, true);
        put_linear(out, block, "mlp.c_fc", model->feed_forward, model->width, true);
        put_linear(out, block, "mlp.c_proj", model->width, model->feed_forward, true);
    }
    put_norm(out, "ln_f", model->width, true);
}

static void put_llama(writer *out, const shape *model)
{
    char block[64], norm[96];
    const uint32_t kv = model->width / model->heads * model->kv_heads;
    put_matrix(out, "model.embed_tokens.weight", model->vocabulary, model->width, model->width,
               model->vocabulary);
    for (uint32_t b = 0; b < model->layers; b++) {
        snprintf(block, sizeof block, "model.layers.%u", b);
        snprintf(norm, sizeof norm, "%s.input_layernorm", block);
        put_norm(out, norm, model->width, false);
        put_linear(out, block, "mlp.down_proj", model->width, model->feed_forward, false);
        put_linear(out, block, "mlp.gate_proj", model->feed_forward, model->width, false);
        put_linear(out, block, "mlp.up_proj", model->feed_forward, model->width, false);
        snprintf(norm, sizeof norm, "%s.post_attention_layernorm", block);
        put_norm(out, norm, model->width, false);
        put_linear(out, block, "self_attn.k_proj", kv, model->width, false);
        put_linear(out, block, "self_attn.o_proj", model->width, model->width, false);
        put_linear(out, block, "self_attn.q_proj", model->width, model->width, false);
        put_linear(out, block, "self_attn.v_proj", kv, model->width, false);
    }
    put_norm(out, "model.norm", model->width, false);
    if (!model->tied) {
        put_matrix(out, "lm_head.weight", model->vocabulary, model->width, model->width,
                   model->vocabulary);
    }
}

static void put_all(writer *out, const shape *model)
{
    if (model->llama) {
        put_llama(out, model);
    } else {
        put_gpt2(out, model);
    }
}

static aegis_status
write_config(const char *folder, const shape *model, aegis_dtype dtype, aegis_error *err)
{
    char path[4096], text[1024];
    const char *torch = dtype == AEGIS_DTYPE_F16 ? "float16" : "float32";
    int size;
    if (model->llama) {
        size = snprintf(
            text, sizeof text,
            "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\",\n"
            " \"num_hidden_layers\": %u, \"hidden_size\": %u, \"num_attention_heads\": %u,\n"
            " \"num_key_value_heads\": %u, \"intermediate_size\": %u, \"vocab_size\": %u,\n"
            " \"max_position_embeddings\": %u, \"hidden_act\": \"silu\",\n"
            " \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"tie_word_embeddings\": %s,\n"
            " \"torch_dtype\": \"%s\"}\n",
            model->layers, model->width, model->heads, model->kv_heads, model->feed_forward,
            model->vocabulary, model->positions, model->tied ? "true" : "false", torch);
    } else {
        size = snprintf(text, sizeof text,
                        "{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"gpt2\",\n"
                        " \"n_layer\": %u, \"n_embd\": %u, \"n_head\": %u, \"n_inner\": %u,\n"
                        " \"vocab_size\": %u, \"n_positions\": %u, \"n_ctx\": %u,\n"
                        " \"activation_function\": \"gelu_new\", \"layer_norm_epsilon\": 1e-05,\n"
                        " \"torch_dtype\": \"%s\"}\n",
                        model->layers, model->width, model->heads, model->feed_forward,
                        model->vocabulary, model->positions, model->positions, torch);
    }
    snprintf(path, sizeof path, "%s/config.json", folder);
    return aegis_file_write_atomic(path, text, (size_t)size, err);
}

static aegis_status
write_weights(const char *path, const shape *model, writer *out, aegis_error *err)
{
    put_all(out, model);
    header_add(out, "}");
    while (out->header_size % 8 != 0 && !out->failed) {
        header_add(out, " ");
    }
    out->file = fopen(path, "wbe");
    const uint64_t size = out->header_size;
    uint8_t length[8];
    for (int i = 0; i < 8; i++) {
        length[i] = (uint8_t)(size >> (8 * i));
    }
    out->failed |= out->file == NULL || fwrite(length, sizeof length, 1, out->file) != 1 ||
                   fwrite(out->header, out->header_size, 1, out->file) != 1;
    out->values = true;
    if (!out->failed) {
        put_all(out, model);
    }
    if (out->file != NULL && fclose(out->file) != 0) {
        out->failed = true;
    }
    if (out->failed) {
        const int code = errno;
        unlink(path);
        return aegis_error_set_native(err, HERE, AEGIS_ERROR_IO, code, "%s cannot be written: %s",
                                      path, strerror(code));
    }
    return AEGIS_OK;
}

aegis_status aegis_transformer_synthesize(
    const char *folder, const char *name, const char *dtype, uint64_t seed, aegis_error *err)
{
    static const aegis_dtype dtypes[] = {AEGIS_DTYPE_F32, AEGIS_DTYPE_F16, AEGIS_DTYPE_BF16,
                                         AEGIS_DTYPE_I8};
    const shape *model = NULL;
    writer out = {.first = true, .matrices = AEGIS_DTYPE_OTHER, .random = seed};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(shapes); i++) {
        model = strcmp(shapes[i].name, name) == 0 ? &shapes[i] : model;
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(dtypes); i++) {
        out.matrices = strcmp(aegis_dtype_name(dtypes[i]), dtype) == 0 ? dtypes[i] : out.matrices;
    }
    if (model == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NOT_FOUND,
                               "no shape \"%s\"; there are gpt2-small, gpt2-medium, gpt2-large, "
                               "gpt2-tiny, gpt2-shallow, llama-135m, llama-shallow, llama-tiny "
                               "and llama-tiny-untied",
                               name);
    }
    if (out.matrices == AEGIS_DTYPE_OTHER) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG,
                               "dtype \"%s\"; write f32, f16, bf16 or i8", dtype);
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    out.header_capacity = (size_t)4096 + (size_t)model->layers * 4096;
    out.header = malloc(out.header_capacity);
    if (out.header == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a header");
    }
    header_add(&out, "{");
    aegis_status status = aegis_folder_create(folder, err);
    if (status == AEGIS_OK) {
        status = write_weights(path, model, &out, err);
    }
    if (status == AEGIS_OK) {
        status = write_config(folder, model, out.matrices, err);
    }
    free(out.header);
    return status;
}
