/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_HOST_MEMORY_H
#define AEGIS_DEVICE_HOST_MEMORY_H

#include "device/host/host_capabilities.h"

/* Maps and touches the arena that `config` asks for, after comparing its size with what `facts` say
 * is available. Page-aligned. NO_MEMORY, PERMISSION. */
aegis_status aegis_host_arena_map(const aegis_device_config *config,
                                  const aegis_host_facts *facts,
                                  void **ret_base,
                                  aegis_error *err);
void aegis_host_arena_unmap(void *base, uint64_t size_bytes);

#endif
