/* SPDX-License-Identifier: Apache-2.0 */
/* A model that can be read and not be compiled. */
#include "integration/onnx_models.h"
#include "support/expect.h"
#include "support/onnx_writer.h"
#include "support/own_folder.h"

#include <stdio.h>

static aegis_backend *backend;

/* Adds four numbers and five. */
static onnx_bytes uneven_sum(void)
{
    onnx_bytes graph = {NULL, 0, 0};
    onnx_message(&graph, 1, onnx_node("Add", "a,b", "y"));
    onnx_text(&graph, 2, "g");
    onnx_message(&graph, 11, onnx_value("a", 4));
    onnx_message(&graph, 11, onnx_value("b", 5));
    onnx_message(&graph, 12, onnx_value("y", 4));
    return onnx_model(graph);
}

static void shapes_that_do_not_go_together_are_not_built(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "%s/sum.onnx", own_folder);
    const aegis_model_config config = {.name = "sum", .path = path};
    onnx_bytes bytes = uneven_sum();
    aegis_model *model = NULL;
    aegis_error err = {0};
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.size, file), bytes.size);
    assert_int_equal(fclose(file), 0);
    free(bytes.data);
    expect(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_ENGINE_BUILD, &err,
           "model 'sum'");
    assert_null(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_that_do_not_go_together_are_not_built),
    };
    backend = onnx_backend(NULL);
    const int failures =
        backend == NULL ? 77 : cmocka_run_group_tests(tests, make_own_folder, remove_own_folder);
    aegis_backend_destroy(backend);
    return failures;
}
