/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_PRESET_H
#define AEGIS_TRANSFORMER_PRESET_H

#include <aegisrt/transformer.h>

/* As aegis_transformer_preset_load, from memory; `origin` stands for the path. */
aegis_status aegis_preset_parse(const char *text,
                                size_t size,
                                const char *origin,
                                const aegis_allocator *allocator,
                                aegis_transformer_preset *ret_preset,
                                aegis_error *err);

#endif
