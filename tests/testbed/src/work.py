"""A renter's job for any card: takes memory on it and keeps it busy through the CUDA driver, without a framework.

Arguments: seconds to work, MiB to hold. Prints the card's name first, then one line a second.
"""

import ctypes
import sys
import time

seconds, mib = float(sys.argv[1]), int(sys.argv[2])
cuda = ctypes.CDLL("libcuda.so.1")

# One empty kernel is enough to ask for: what is wanted is that the card has something to do.
PTX = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry nightjar_spin(.param .u64 turns) {
  .reg .u64 %r<3>;
  .reg .pred %p;
  ld.param.u64 %r1, [turns];
  mov.u64 %r2, 0;
again:
  add.u64 %r2, %r2, 1;
  setp.lt.u64 %p, %r2, %r1;
  @%p bra again;
  ret;
}
"""


def check(code, what):
    if code != 0:
        sys.exit(f"{what} failed with CUDA error {code}")


check(cuda.cuInit(0), "cuInit")
device, context = ctypes.c_int(), ctypes.c_void_p()
check(cuda.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
name = ctypes.create_string_buffer(128)
check(cuda.cuDeviceGetName(name, 128, device), "cuDeviceGetName")
check(cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device), "cuCtxCreate")
memory = ctypes.c_uint64()
check(cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(mib << 20)), "cuMemAlloc")
module, kernel = ctypes.c_void_p(), ctypes.c_void_p()
check(cuda.cuModuleLoadData(ctypes.byref(module), PTX), "cuModuleLoadData")
check(cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b"nightjar_spin"), "cuModuleGetFunction")
turns = ctypes.c_uint64(200_000)
arguments = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.byref(turns), ctypes.c_void_p))
print(name.value.decode(), flush=True)

end, told, launches = time.monotonic() + seconds, time.monotonic(), 0
while time.monotonic() < end:
    check(cuda.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, arguments, None), "cuLaunchKernel")
    check(cuda.cuCtxSynchronize(), "cuCtxSynchronize")
    launches += 1
    if time.monotonic() - told >= 1:
        told = time.monotonic()
        print(f"{launches} launches", flush=True)
print("done", flush=True)
