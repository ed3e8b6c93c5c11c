/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_HOST_MEMORY_H
#define AEGIS_DEVICE_HOST_MEMORY_H

#include "device/host/host_capabilities.h"

/* Maps and touches memory for the arena or the pinned region, locked and with huge pages as
 * `config` asks. Page-aligned. NO_MEMORY, PERMISSION. */
aegis_status aegis_host_map(const aegis_device_config *config,
                            uint64_t size_bytes,
                            void **ret_base,
                            aegis_error *err);
void aegis_host_unmap(void *base, uint64_t size_bytes);

#endif
