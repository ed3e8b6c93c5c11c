/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the reader promises of every configuration that it lets through. */
static void check(const aegis_decoder_config *c)
{
    if (c->layers == 0 || c->layers > 4096 || c->width == 0 || c->heads == 0 || c->kv_heads == 0 ||
        c->heads % c->kv_heads != 0 || c->head_width == 0 || c->feed_forward == 0 ||
        c->vocabulary == 0 || c->positions == 0 || !(c->norm_epsilon > 0) ||
        c->bos_token >= (int64_t)c->vocabulary || c->eos_count > AEGIS_CONFIG_MAX_EOS ||
        (uint64_t)c->heads * c->head_width > 1 << 24) {
        abort();
    }
    if (c->architecture == AEGIS_ARCHITECTURE_LLAMA &&
        (c->head_width % 2 != 0 || !(c->rope_theta >= 1))) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_decoder_config config;
    aegis_error error = {0};
    aegis_status status = aegis_model_config_parse((const char *)data, size, "fuzz.json",
                                                   &allocator, &config, &error);
    if (status == AEGIS_OK) {
        check(&config);
    } else if (error.status != status || strncmp(error.message, "fuzz.json:", 10) != 0) {
        abort();
    }
    return 0;
}
