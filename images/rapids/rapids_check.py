"""Does RAPIDS see the card? Prints one JSON object of the same shape as `nightjar-guest self-check --json`."""

import sys

sys.path.insert(0, "/opt/nightjar/share")
from framework_check import Check  # noqa: E402


def main():
    check = Check()

    def load():
        global cudf, cupy
        import cudf
        import cupy

        version = cupy.cuda.runtime.runtimeGetVersion()
        check.cuda_version = f"{version // 1000}.{version % 1000 // 10}"
        return f"cuDF {cudf.__version__} for CUDA {check.cuda_version}"

    def devices():
        for index in range(cupy.cuda.runtime.getDeviceCount()):
            properties = cupy.cuda.runtime.getDeviceProperties(index)
            check.devices.append(
                {
                    "index": index,
                    "name": properties["name"].decode(),
                    "uuid": None,
                    "memory_mib": properties["totalGlobalMem"] // (1024 * 1024),
                    "compute_capability": f"{properties['major']}.{properties['minor']}",
                }
            )
        if not check.devices:
            raise RuntimeError("RAPIDS sees no card")
        return ", ".join(device["name"] for device in check.devices)

    def summed():
        table = cudf.DataFrame({"key": [number % 3 for number in range(999)], "value": range(999)})
        sums = table.groupby("key").value.sum().to_pandas().sort_index().tolist()
        if sums != [sum(range(key, 999, 3)) for key in range(3)]:
            raise RuntimeError("the card summed a table with a wrong result")
        return "a table of 999 rows was grouped and summed right"

    check.step("framework", load)
    check.step("devices", devices)
    check.step("table", summed)
    check.finish()


main()
