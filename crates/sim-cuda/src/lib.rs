//! A stand-in for NVIDIA's CUDA driver library, loaded under its file name `libcuda.so.1`.
//!
//! Device memory is kept in the process's own address space as pages that exist once they are written, so
//! any amount that the card has can be allocated and copies come back as they went; what is written counts
//! as the program's ordinary memory. Work of any name occupies the card for a while; of
//! `nightjar_matmul_f32` the result is computed too, on the processor, and of Nightjar's loads it is known how long they
//! take and what they wait for. The 32-bit calls of CUDA 2 (those
//! for which the headers have a `_v2`) are left out: a program that asks for them would be cut short on a
//! real driver.
#![cfg(target_os = "linux")]

mod driver;
mod exports;
mod load;
mod matmul;
mod ptx;
