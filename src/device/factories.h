/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_FACTORIES_H
#define AEGIS_DEVICE_FACTORIES_H

/* What each kind of device offers to registry.c. The config has been checked. */

#include <aegisrt/device.h>

/* `root` is the folder that holds proc and sys. */
aegis_status aegis_host_query(const char *root,
                              bool measure,
                              aegis_device_capabilities *ret_capabilities,
                              aegis_error *err);
aegis_status aegis_host_device_create(const aegis_device_config *config,
                                      const aegis_allocator *allocator,
                                      aegis_device **ret_device,
                                      aegis_error *err);

/* From cuda/, or from no_cuda.c, where each fails with the flag that would provide it. */
aegis_status aegis_cuda_count(int *ret_count, aegis_error *err);
aegis_status aegis_cuda_query(int index,
                              bool measure,
                              aegis_device_capabilities *ret_capabilities,
                              aegis_error *err);
aegis_status aegis_cuda_device_create(const aegis_device_config *config,
                                      const aegis_allocator *allocator,
                                      aegis_device **ret_device,
                                      aegis_error *err);

#endif
