/* SPDX-License-Identifier: Apache-2.0 */
/* The suite that every backend passes, on ONNX Runtime with real models. */
#include "integration/onnx_models.h"
#include "support/backend_conformance.h"

static aegis_backend *backend;

static void check(const char *stem, bool prepack, unsigned threads)
{
    aegis_source sources[4];
    char path[1024];
    RUNTIME_OR_SKIP(backend);
    if (!onnx_there(stem)) {
        print_message("skipped: no models/%s.onnx; 'make models' fetches it\n", stem);
        skip();
    }
    aegis_model_config config = onnx_config(onnx_find(stem), sources, path, sizeof path);
    config.prepack = prepack;
    config.threads = threads;
    conformance_check(backend, &config);
}

static void stateful_model_conforms(void **state)
{
    (void)state;
    check("silero_vad_16k_op15", true, 1);
}

static void model_with_branches_conforms(void **state)
{
    (void)state;
    check("silero_vad", true, 1);
}

static void vision_model_conforms(void **state)
{
    (void)state;
    check("light_squeezenet", true, 1);
}

static void model_without_prepacking_conforms(void **state)
{
    (void)state;
    check("magika", false, 1);
}

/* Two cores: the session's own thread computes, and allocates nothing of its own. */
static void model_on_two_cores_conforms(void **state)
{
    (void)state;
    check("light_shufflenet", true, 2);
    check("ch_ppocr_mobile_v2.0_cls_infer", true, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stateful_model_conforms),
        cmocka_unit_test(model_with_branches_conforms),
        cmocka_unit_test(vision_model_conforms),
        cmocka_unit_test(model_without_prepacking_conforms),
        cmocka_unit_test(model_on_two_cores_conforms),
    };
    backend = onnx_backend(NULL);
    int failures = backend == NULL ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
    aegis_backend_destroy(backend);
    return failures;
}
