/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cuda/cuda_error.h"

aegis_status aegis_cuda_status(cudaError_t code)
{
    /* As int: most of the more than a hundred codes mean just that a device call failed. */
    switch ((int)code) {
    case cudaSuccess:
        return AEGIS_OK;
    case cudaErrorNotReady:
        return AEGIS_ERROR_BUSY;
    case cudaErrorMemoryAllocation:
        return AEGIS_ERROR_NO_MEMORY;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidResourceHandle:
    case cudaErrorInvalidMemcpyDirection:
        return AEGIS_ERROR_INVALID_ARGUMENT;
    case cudaErrorNotSupported:
        return AEGIS_ERROR_UNSUPPORTED;
    case cudaErrorNotPermitted:
        return AEGIS_ERROR_PERMISSION;
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorInitializationError:
    case cudaErrorSystemNotReady:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorCompatNotSupportedOnDevice:
    case cudaErrorStubLibrary:
    case cudaErrorDevicesUnavailable:
    case cudaErrorDeviceNotLicensed:
    case cudaErrorOperatingSystem:
        return AEGIS_ERROR_DEVICE_NOT_AVAILABLE;
    /* These leave the context, and with it the process's use of the device, beyond repair: CUDA
     * answers every later call with the same code. */
    case cudaErrorECCUncorrectable:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorCudartUnloading:
    case cudaErrorExternalDevice:
    case cudaErrorMpsClientTerminated:
    case cudaErrorUnknown:
        return AEGIS_ERROR_DEVICE_LOST;
    default:
        return AEGIS_ERROR_DEVICE;
    }
}

static const char *cure_of(cudaError_t code)
{
    switch ((int)code) {
    case cudaErrorInsufficientDriver:
        return "; no NVIDIA driver is loaded, or it is older than this build's CUDA runtime: "
               "install or update it (nvidia-smi shows it), or use device kind = \"host\"";
    case cudaErrorNoDevice:
        return "; no CUDA device is visible: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use "
               "device kind = \"host\"";
    case cudaErrorDevicesUnavailable:
        return "; the device is in exclusive use by another process";
    default:
        return "";
    }
}

aegis_status
aegis_cuda_check(cudaError_t code, const char *call, aegis_place place, aegis_error *err)
{
    if (code == cudaSuccess) {
        return AEGIS_OK;
    }
    (void)cudaGetLastError();
    return aegis_error_set_native(err, place, aegis_cuda_status(code), (int64_t)code,
                                  "%s: %s (%s, %d)%s", call, cudaGetErrorString(code),
                                  cudaGetErrorName(code), (int)code, cure_of(code));
}
