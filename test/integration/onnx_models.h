/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_ONNX_MODELS_H
#define AEGIS_TEST_ONNX_MODELS_H

/* The real models that tests use, with the shapes and inputs they are given. */

#include "support/placed_model.h"

#include <sys/stat.h>
#include <unistd.h>

#define RUNTIME_OR_SKIP(backend) \
    do {                         \
        if ((backend) == NULL) { \
            skip();              \
        }                        \
    } while (0)

typedef struct onnx_recipe {
    const char *stem;
    aegis_input_shape inputs[3];
    size_t input_count;
    aegis_state_pair state[2];
    size_t state_count;
    int64_t high;     /* of random integers */
    const char *ones; /* input that is constant 1 */
} onnx_recipe;

static const onnx_recipe ONNX_RECIPES[] = {
    {.stem = "silero_vad_16k_op15",
     .inputs = {{"input", 2, {1, 576}}},
     .input_count = 1,
     .state = {{"state", "stateN"}},
     .state_count = 1},
    {.stem = "silero_vad",
     .inputs = {{"input", 2, {1, 576}}, {"state", 3, {2, 1, 128}}},
     .input_count = 2,
     .state = {{"state", "stateN"}},
     .state_count = 1},
    {.stem = "silero_vad_op18_ifless",
     .inputs = {{"input", 2, {1, 576}}},
     .input_count = 1,
     .state = {{"state", "stateN"}},
     .state_count = 1},
    {.stem = "silero_vad_half",
     .inputs = {{"input", 2, {1, 576}}},
     .input_count = 1,
     .state = {{"state", "stateN"}},
     .state_count = 1},
    {.stem = "silero_vad_16k_sequence",
     .inputs = {{"input", 2, {1, 576}}},
     .input_count = 1,
     .state = {{"h", "hn"}, {"c", "cn"}},
     .state_count = 2},
    {.stem = "silero_vad_openvino_16k", .state = {{"state", "stateN"}}, .state_count = 1},
    {.stem = "ch_ppocr_mobile_v2.0_cls_infer",
     .inputs = {{"x", 4, {1, 3, 48, 192}}},
     .input_count = 1},
    {.stem = "ch_ppocr_mobile_v2.0_cls_mobile",
     .inputs = {{"x", 4, {1, 3, 48, 192}}},
     .input_count = 1},
    {.stem = "ch_PP-OCRv4_rec_infer", .inputs = {{"x", 4, {1, 3, 48, 320}}}, .input_count = 1},
    {.stem = "ch_PP-OCRv4_det_infer", .inputs = {{"x", 4, {1, 3, 480, 640}}}, .input_count = 1},
    {.stem = "PP-OCRv6_rec_small", .inputs = {{"x", 4, {1, 3, 48, 320}}}, .input_count = 1},
    {.stem = "PP-OCRv6_det_small", .inputs = {{"x", 4, {1, 3, 480, 640}}}, .input_count = 1},
    {.stem = "magika", .inputs = {{"bytes", 2, {1, 2048}}}, .input_count = 1, .high = 255},
    {.stem = "all-minilm-l6-v2",
     .inputs = {{"input_ids", 2, {1, 64}}},
     .input_count = 1,
     .high = 30000,
     .ones = "attention_mask"},
    {.stem = "light_squeezenet"},
    {.stem = "light_shufflenet"},
    {.stem = "light_densenet121"},
    {.stem = "light_inception_v1"},
    {.stem = "light_inception_v2"},
    {.stem = "light_resnet50"},
    {.stem = "light_bvlc_alexnet"},
    {.stem = "light_zfnet512"},
    {.stem = "light_vgg19"},
};
#define ONNX_RECIPE_COUNT (sizeof ONNX_RECIPES / sizeof ONNX_RECIPES[0])

static inline const onnx_recipe *onnx_find(const char *stem)
{
    for (size_t i = 0; i < ONNX_RECIPE_COUNT; i++) {
        if (strcmp(ONNX_RECIPES[i].stem, stem) == 0) {
            return &ONNX_RECIPES[i];
        }
    }
    fail_msg("no recipe for %s", stem);
    return NULL;
}

static inline const char *onnx_source_dir(void)
{
    const char *folder = getenv("AEGISRT_SOURCE_DIR");
    return folder != NULL ? folder : ".";
}

static inline void onnx_path(const char *stem, char *path, size_t size)
{
    snprintf(path, size, "%s/models/%s.onnx", onnx_source_dir(), stem);
}

static inline bool onnx_there(const char *stem)
{
    char path[1024];
    onnx_path(stem, path, sizeof path);
    return access(path, R_OK) == 0;
}

/* The cache of compiled models that all tests of one build share. */
static inline void onnx_cache_dir(char *path, size_t size)
{
    const char *folder = getenv("AEGISRT_BINARY_DIR");
    snprintf(path, size, "%s/test-model-cache", folder != NULL ? folder : "/tmp/aegisrt-test");
}

/* NULL when this build or machine has no ONNX Runtime; the reason is printed. */
static inline aegis_backend *onnx_backend(const char *cache_dir)
{
    aegis_error err;
    char shared[1024];
    aegis_backend *backend = NULL;
    aegis_allocator allocator = aegis_allocator_default();
    onnx_cache_dir(shared, sizeof shared);
    aegis_backend_config config = {.runtime = "onnxruntime",
                                   .cache_dir = cache_dir != NULL ? cache_dir : shared,
                                   .consumer = "a test"};
    aegis_status status = aegis_backend_create(&config, NULL, &allocator, &backend, &err);
    if (status == AEGIS_ERROR_RUNTIME_NOT_AVAILABLE) {
        print_message("skipped: %s\n", err.message);
        return NULL;
    }
    must(status, &err);
    return backend;
}

/* Random inputs, `sr` = 16000. Fills `sources` (3 entries) and returns the config. */
static inline aegis_model_config
onnx_config(const onnx_recipe *recipe, aegis_source *sources, char *path, size_t size)
{
    onnx_path(recipe->stem, path, size);
    size_t count = 0;
    sources[count++] = (aegis_source){.kind = AEGIS_SOURCE_RANDOM, .high = recipe->high};
    if (strcmp(recipe->stem, "silero_vad") == 0 ||
        strcmp(recipe->stem, "silero_vad_16k_op15") == 0 ||
        strcmp(recipe->stem, "silero_vad_op18_ifless") == 0) {
        sources[count++] =
            (aegis_source){.input = "sr", .kind = AEGIS_SOURCE_CONSTANT, .constant = 16000};
    }
    if (recipe->ones != NULL) {
        sources[count++] =
            (aegis_source){.input = recipe->ones, .kind = AEGIS_SOURCE_CONSTANT, .constant = 1};
        sources[count++] = (aegis_source){.input = "token_type_ids", .kind = AEGIS_SOURCE_ZEROS};
    }
    return (aegis_model_config){.name = recipe->stem,
                                .path = path,
                                .inputs = recipe->inputs,
                                .input_count = recipe->input_count,
                                .state = recipe->state,
                                .state_count = recipe->state_count,
                                .sources = sources,
                                .source_count = count,
                                .seed = 7,
                                .prepack = true};
}

static inline aegis_model *onnx_open(aegis_backend *backend, const char *stem)
{
    aegis_error err;
    aegis_source sources[4];
    char path[1024];
    aegis_model *model = NULL;
    aegis_model_config config = onnx_config(onnx_find(stem), sources, path, sizeof path);
    must(aegis_model_open(backend, &config, &model, &err), &err);
    return model;
}

#endif
