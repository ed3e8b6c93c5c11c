/* SPDX-License-Identifier: Apache-2.0 */
/* TOML presets of edge-rt. */
#include "backend/transformer/engine/preset.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_transformer_preset preset;
    aegis_error error = {0};
    const aegis_status status =
        aegis_preset_parse((const char *)data, size, "fuzz.toml", &allocator, &preset, &error);
    if (status == AEGIS_OK) {
        if (!(preset.request.temperature >= 0) || preset.request.prompt != NULL) {
            abort();
        }
        aegis_transformer_preset_finish(&preset);
    } else if (error.status != status || strstr(error.message, "fuzz.toml") == NULL) {
        abort();
    }
    return 0;
}
