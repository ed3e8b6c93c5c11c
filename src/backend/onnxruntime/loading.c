/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/loading.h"

#include "base/base.h"

#include <aegisrt/doctor.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NOTES "loading.json"
/* Two copies of the file, and what the reader itself takes: 2.5 MiB measured. */
#define READING_FILES 2u
#define READING_RUNTIME (UINT64_C(4) << 20)
/* Growth of the process while it compiled, over the bytes of the file: 5.1 to 7 for models of 1 to
 * 86 MiB with their weights inside and small activations, two of which were there before (reading);
 * 1.5 for one whose weights lie in a file of their own. 12 to 15 MiB stay with the runtime. */
#define COMPILING_FILES 5u
#define COMPILING_EXTERNALS 2u
#define COMPILING_RUNTIME (UINT64_C(13) << 20)

static aegis_status
ask(const aegis_model_config *config, uint64_t bytes, const char *what, aegis_error *err)
{
    if (config->reserve == NULL) {
        return AEGIS_OK;
    }
    aegis_status status = config->reserve(config->reserve_self, bytes, err);
    if (status != AEGIS_OK) {
        aegis_error_prefix(err, "%s", what);
    }
    return status;
}

aegis_status aegis_ort_ask_reading(const aegis_model_config *config, aegis_error *err)
{
    struct stat info;
    if (stat(config->path, &info) != 0) {
        return AEGIS_OK; /* reading says why */
    }
    return ask(config, READING_FILES * (uint64_t)info.st_size + READING_RUNTIME, "reading its file",
               err);
}

aegis_status aegis_ort_ask_compiling(const aegis_model_config *config,
                                     uint64_t file_bytes,
                                     uint64_t external_bytes,
                                     aegis_error *err)
{
    return ask(config,
               COMPILING_FILES * file_bytes + COMPILING_EXTERNALS * external_bytes +
                   COMPILING_RUNTIME,
               "compiling it, estimated from the size of its files", err);
}

static void name_of(const aegis_ort_loading *loading, char *name, size_t size)
{
    snprintf(name, size, "%s, %zu segments, %" PRIu32 " slots, inputs of %" PRIu64 " elements",
             loading->paged     ? "paged"
             : loading->prepack ? "packed"
                                : "not packed",
             loading->segments, loading->slots, loading->input_elements);
}

static void path_of(const aegis_ort_compiled *compiled, char *path, size_t size)
{
    snprintf(path, size, "%s/" NOTES, compiled->folder);
}

/* 0 when it was not measured. */
static uint64_t measured(const aegis_ort_compiled *compiled, const aegis_ort_loading *loading)
{
    char path[1100], name[160];
    path_of(compiled, path, sizeof path);
    name_of(loading, name, sizeof name);
    json_t *root = json_load_file(path, 0, NULL);
    const json_int_t bytes = json_integer_value(json_object_get(root, name));
    json_decref(root);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

aegis_status aegis_ort_ask_sessions(const aegis_model_config *config,
                                    const aegis_ort_compiled *compiled,
                                    const aegis_ort_loading *loading,
                                    aegis_error *err)
{
    const uint64_t before = measured(compiled, loading);
    return before > 0 ? ask(config, before, "loading it, as measured before", err)
                      : ask(config, compiled->weights_bytes, "loading its weights", err);
}

aegis_ort_held aegis_ort_hold(void)
{
    aegis_ort_held held = {0};
    (void)aegis_process_memory(NULL, &held.now, &held.peak, NULL);
    return held;
}

static void
keep(const aegis_ort_compiled *compiled, const aegis_ort_loading *loading, uint64_t most)
{
    char path[1100], name[160];
    path_of(compiled, path, sizeof path);
    name_of(loading, name, sizeof name);
    json_t *root = json_load_file(path, 0, NULL);
    root = json_is_object(root) ? root : json_object();
    if (json_object_set_new(root, name, json_integer((json_int_t)most)) == 0) {
        char *text = json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS);
        if (text != NULL) {
            (void)aegis_file_write_atomic(path, text, strlen(text), NULL);
        }
        free(text);
    }
    json_decref(root);
}

void aegis_ort_keep_held(const aegis_ort_compiled *compiled,
                         const aegis_ort_loading *loading,
                         const aegis_ort_held *before,
                         uint64_t counted)
{
    aegis_ort_held after = {0};
    if (before->now == 0 || aegis_process_memory(NULL, &after.now, &after.peak, NULL) != AEGIS_OK) {
        return;
    }
    const uint64_t end = after.peak > before->peak ? after.peak : after.now;
    const uint64_t grown = end > before->now ? end - before->now : 0;
    const uint64_t most = grown > counted ? grown : counted;
    const uint64_t known = measured(compiled, loading);
    if (most > known + known / 16) { /* heaps differ a little from time to time */
        keep(compiled, loading, most);
    }
}
