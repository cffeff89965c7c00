"""Does PyTorch see the card? Prints one JSON object of the same shape as `nightjar-guest self-check --json`."""

import json
import sys
import time

VERSION = 1


class Check:
    """Steps in their order; the first that fails is the last."""

    def __init__(self):
        self.steps = []
        self.devices = []
        self.cuda_version = None

    def step(self, name, work):
        started = time.monotonic()
        error = None
        try:
            detail, passed = work(), True
        except Exception as problem:  # Whatever goes wrong in the framework is the answer to the question.
            detail, passed, error = str(problem).splitlines()[0][:300] if str(problem) else "", False, type(problem).__name__
        took_ms = int((time.monotonic() - started) * 1000)
        self.steps.append({"step": name, "passed": passed, "detail": detail, "error": error, "took_ms": took_ms})
        if not passed:
            self.finish()

    def finish(self):
        passed = all(step["passed"] for step in self.steps)
        result = {
            "version": VERSION,
            "passed": passed,
            "driver_version": None,
            "cuda_version": self.cuda_version,
            "devices": self.devices,
            "steps": self.steps,
        }
        print(json.dumps(result))
        sys.exit(0 if passed else 1)


def main():
    check = Check()

    def load():
        global torch
        import torch

        check.cuda_version = torch.version.cuda
        return f"PyTorch {torch.__version__} for CUDA {torch.version.cuda}"

    def available():
        if not torch.cuda.is_available():
            # Its own error says why, where is_available() only says no.
            torch.cuda.init()
            raise RuntimeError("PyTorch says that CUDA is not available")
        return "CUDA is available"

    def devices():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            uuid = getattr(properties, "uuid", None)
            check.devices.append(
                {
                    "index": index,
                    "name": properties.name,
                    "uuid": f"GPU-{uuid}" if uuid else None,
                    "memory_mib": properties.total_memory // (1024 * 1024),
                    "compute_capability": f"{properties.major}.{properties.minor}",
                }
            )
        if not check.devices:
            raise RuntimeError("PyTorch sees no card")
        return ", ".join(device["name"] for device in check.devices)

    def copied():
        here = torch.arange(4096, dtype=torch.float32)
        there = here.to("cuda")
        if not torch.equal(there.cpu(), here):
            raise RuntimeError("a tensor came back from the card with other values")
        return "a tensor went to the card and came back"

    def multiplied():
        a = torch.arange(256 * 256, dtype=torch.float32).reshape(256, 256).remainder(7)
        product = (a.to("cuda") @ a.to("cuda").T).cpu()
        # Whole numbers below 2**24: exact in either order of summing, and in TF32 too.
        if not torch.equal(product, a @ a.T):
            raise RuntimeError("the card multiplied two matrices with a wrong result")
        return "a product of two 256 x 256 matrices is right"

    check.step("framework", load)
    check.step("initialised", available)
    check.step("devices", devices)
    check.step("copy", copied)
    check.step("matmul", multiplied)
    check.finish()


if __name__ == "__main__":
    main()
