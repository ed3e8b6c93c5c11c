/* SPDX-License-Identifier: Apache-2.0 */
#include "device/factories.h"

#ifndef AEGISRT_HAVE_CUDA
static aegis_status not_built(aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("device.registry"), AEGIS_ERROR_DEVICE_NOT_AVAILABLE,
                           "this build has no CUDA device: configure with "
                           "-DAEGISRT_BUILD_CUDA=ON (AEGISRT_BUILD_CUDA), or use device kind = "
                           "\"host\"");
}

aegis_status aegis_cuda_count(int *ret_count, aegis_error *err)
{
    (void)ret_count;
    return not_built(err);
}

aegis_status aegis_cuda_query(int index,
                              bool measure,
                              aegis_device_capabilities *ret_capabilities,
                              aegis_error *err)
{
    (void)index;
    (void)measure;
    (void)ret_capabilities;
    return not_built(err);
}

aegis_status aegis_cuda_device_create(const aegis_device_config *config,
                                      const aegis_allocator *allocator,
                                      aegis_device **ret_device,
                                      aegis_error *err)
{
    (void)config;
    (void)allocator;
    (void)ret_device;
    return not_built(err);
}
#endif
