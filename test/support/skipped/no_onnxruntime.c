/* SPDX-License-Identifier: Apache-2.0 */
/* In the place of each test_onnx_*.c where the build has no ONNX Runtime. */
#include <stdio.h>

int main(void)
{
    puts("skipped: this build has no ONNX Runtime (AEGISRT_BUILD_ONNXRUNTIME)");
    return 77;
}
