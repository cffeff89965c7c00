"""Does TensorFlow see the card? Prints one JSON object of the same shape as `nightjar-guest self-check --json`."""

import sys

sys.path.insert(0, "/opt/nightjar/share")
from framework_check import Check  # noqa: E402


def main():
    check = Check()

    def load():
        global tensorflow
        import tensorflow

        check.cuda_version = tensorflow.sysconfig.get_build_info().get("cuda_version")
        return f"TensorFlow {tensorflow.__version__} for CUDA {check.cuda_version}"

    def devices():
        for index, device in enumerate(tensorflow.config.list_physical_devices("GPU")):
            details = tensorflow.config.experimental.get_device_details(device)
            capability = details.get("compute_capability")
            check.devices.append(
                {
                    "index": index,
                    "name": details.get("device_name", device.name),
                    "uuid": None,
                    "memory_mib": 0,
                    "compute_capability": ".".join(map(str, capability)) if capability else None,
                }
            )
        if not check.devices:
            raise RuntimeError("TensorFlow sees no card")
        return ", ".join(device["name"] for device in check.devices)

    def multiplied():
        with tensorflow.device("/GPU:0"):
            a = tensorflow.reshape(tensorflow.range(256 * 256, dtype=tensorflow.float32) % 7, (256, 256))
            product = tensorflow.linalg.matmul(a, a, transpose_b=True)
        with tensorflow.device("/CPU:0"):
            # Whole numbers below 2**24: exact in either order of summing, and in TF32 too.
            if not bool(tensorflow.reduce_all(product == tensorflow.linalg.matmul(a, a, transpose_b=True))):
                raise RuntimeError("the card multiplied two matrices with a wrong result")
        return "a product of two 256 x 256 matrices is right"

    check.step("framework", load)
    check.step("devices", devices)
    check.step("matmul", multiplied)
    check.finish()


main()
