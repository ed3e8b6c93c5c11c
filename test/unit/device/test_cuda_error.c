/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA's codes become statuses and categories; needs the CUDA headers, no GPU. */
#include <stdio.h>

#ifdef AEGISRT_HAVE_CUDA
#include "device/cuda/cuda_error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>
#include <cmocka.h>

static void codes_become_statuses(void **state)
{
    (void)state;
    static const struct {
        cudaError_t code;
        aegis_status status;
        aegis_error_category category;
    } cases[] = {
        {cudaErrorNotReady, AEGIS_ERROR_BUSY, AEGIS_CATEGORY_TRANSIENT},
        {cudaErrorMemoryAllocation, AEGIS_ERROR_NO_MEMORY, AEGIS_CATEGORY_PERMANENT},
        {cudaErrorInvalidValue, AEGIS_ERROR_INVALID_ARGUMENT, AEGIS_CATEGORY_PERMANENT},
        {cudaErrorNoDevice, AEGIS_ERROR_DEVICE_NOT_AVAILABLE, AEGIS_CATEGORY_PERMANENT},
        {cudaErrorInsufficientDriver, AEGIS_ERROR_DEVICE_NOT_AVAILABLE, AEGIS_CATEGORY_PERMANENT},
        {cudaErrorECCUncorrectable, AEGIS_ERROR_DEVICE_LOST, AEGIS_CATEGORY_FATAL},
        {cudaErrorIllegalAddress, AEGIS_ERROR_DEVICE_LOST, AEGIS_CATEGORY_FATAL},
        {cudaErrorLaunchFailure, AEGIS_ERROR_DEVICE_LOST, AEGIS_CATEGORY_FATAL},
        {cudaErrorLaunchOutOfResources, AEGIS_ERROR_DEVICE, AEGIS_CATEGORY_PERMANENT},
    };
    assert_int_equal(aegis_cuda_status(cudaSuccess), AEGIS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        aegis_error err;
        assert_int_equal(aegis_cuda_check(cases[i].code, "cudaCall", AEGIS_HERE("test"), &err),
                         cases[i].status);
        assert_int_equal(err.category, cases[i].category);
        assert_int_equal(err.native_code, cases[i].code);
        assert_non_null(strstr(err.message, "cudaCall: "));
        assert_non_null(strstr(err.message, cudaGetErrorName(cases[i].code)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(codes_become_statuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    printf("skipped: built without AEGISRT_BUILD_CUDA\n");
    return 77;
}
#endif
