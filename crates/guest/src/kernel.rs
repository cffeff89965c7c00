//! Calls to loop devices and encrypted file systems that no library here wraps.
#![expect(unsafe_code, reason = "the kernel's structures are C's; all calls with them are here")]

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};
use rustix::ioctl::{IntegerSetter, Ioctl, IoctlOutput, Opcode, ioctl};

// From linux/loop.h.
const LOOP_SET_FD: Opcode = 0x4C00;
const LOOP_CLR_FD: Opcode = 0x4C01;
const LOOP_SET_STATUS64: Opcode = 0x4C04;
const LOOP_GET_STATUS64: Opcode = 0x4C05;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

// From linux/fscrypt.h.
const FS_IOC_SET_ENCRYPTION_POLICY: Opcode = 0x800C_6613;
const FS_IOC_ADD_ENCRYPTION_KEY: Opcode = 0xC050_6617;
const SPECIFIER_IDENTIFIER: u32 = 2;
const POLICY_V2: u8 = 2;
const AES_256_XTS: u8 = 1;
const AES_256_CTS: u8 = 4;
/// Names are padded to 32 bytes.
const PAD_32: u8 = 3;

pub const KEY_BYTES: usize = 32;

/// What the kernel calls a key.
pub type KeyIdentifier = [u8; 16];

/// A call that takes a structure, which it reads, writes or passes over, and answers with a number.
struct Call<'a, const OPCODE: Opcode, T>(&'a mut T);

// SAFETY: the pointer is to a value that lives as long as the call. That its layout is the call's own is for whoever
// makes the call, which is unsafe.
unsafe impl<const OPCODE: Opcode, T> Ioctl for Call<'_, OPCODE, T> {
    type Output = i32;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<i32> {
        Ok(output)
    }
}

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    names: [[u8; 64]; 2],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl LoopInfo {
    fn new(flags: u32) -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags,
            names: [[0; 64]; 2],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// The number of a loop device that nobody uses.
pub fn free_loop_device(control: &File) -> Result<i32> {
    // SAFETY: the call takes no argument.
    unsafe { ioctl(control.as_fd(), Call::<LOOP_CTL_GET_FREE, _>(&mut ())) }
}

/// Device and inode of the file behind a loop device.
pub fn file_behind(device: &File) -> Result<(u64, u64)> {
    let mut info = LoopInfo::new(0);
    // SAFETY: the kernel fills in a struct loop_info64, which LoopInfo has the layout of.
    unsafe { ioctl(device.as_fd(), Call::<LOOP_GET_STATUS64, _>(&mut info))? };
    Ok((info.device, info.inode))
}

/// Puts a file behind a loop device, until the last who holds or has mounted the device lets it go.
pub fn put_behind(device: &File, file: &File) -> Result<()> {
    let descriptor = usize::try_from(file.as_raw_fd()).map_err(|_| Errno::BADF)?;
    // SAFETY: the argument is a descriptor, which stays open during the call; the kernel keeps the file itself.
    unsafe { ioctl(device.as_fd(), IntegerSetter::<LOOP_SET_FD>::new_usize(descriptor))? };
    let mut info = LoopInfo::new(LO_FLAGS_AUTOCLEAR);
    // SAFETY: the kernel reads a struct loop_info64, which LoopInfo has the layout of.
    let set = unsafe { ioctl(device.as_fd(), Call::<LOOP_SET_STATUS64, _>(&mut info)) };
    if set.is_err() {
        // It would outlive this program.
        // SAFETY: the call takes no argument.
        let _ = unsafe { ioctl(device.as_fd(), Call::<LOOP_CLR_FD, _>(&mut ())) };
    }
    set.map(drop)
}

/// `struct fscrypt_add_key_arg` with the key behind it.
#[repr(C)]
struct AddKey {
    specifier: u32,
    reserved: u32,
    /// Filled in by the kernel.
    identifier: KeyIdentifier,
    more_identifier: KeyIdentifier,
    raw_size: u32,
    key_id: u32,
    more_reserved: [u32; 8],
    raw: [u8; KEY_BYTES],
}

/// `struct fscrypt_policy_v2`.
#[repr(C)]
struct Policy {
    version: u8,
    contents: u8,
    names: u8,
    flags: u8,
    reserved: [u8; 4],
    identifier: KeyIdentifier,
}

/// Gives a key to a mounted file system, until it is mounted no more. Needs no privilege.
pub fn add_key(inside: &File, raw: [u8; KEY_BYTES]) -> Result<KeyIdentifier> {
    let mut argument = AddKey {
        specifier: SPECIFIER_IDENTIFIER,
        reserved: 0,
        identifier: [0; 16],
        more_identifier: [0; 16],
        raw_size: KEY_BYTES as u32,
        key_id: 0,
        more_reserved: [0; 8],
        raw,
    };
    // SAFETY: the kernel reads a struct fscrypt_add_key_arg and the key behind it, which AddKey has the layout of.
    unsafe { ioctl(inside.as_fd(), Call::<FS_IOC_ADD_ENCRYPTION_KEY, _>(&mut argument))? };
    Ok(argument.identifier)
}

/// Encrypts what is written into an empty folder from now on; one that has this key already stays as it is.
pub fn encrypt(folder: &File, identifier: KeyIdentifier) -> Result<()> {
    let mut policy = Policy {
        version: POLICY_V2,
        contents: AES_256_XTS,
        names: AES_256_CTS,
        flags: PAD_32,
        reserved: [0; 4],
        identifier,
    };
    // SAFETY: the kernel reads a struct fscrypt_policy_v2, which Policy has the layout of.
    unsafe { ioctl(folder.as_fd(), Call::<FS_IOC_SET_ENCRYPTION_POLICY, _>(&mut policy)) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_layout() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!((size_of::<AddKey>(), size_of::<Policy>()), (80 + KEY_BYTES, 24));
        assert_eq!(std::mem::offset_of!(AddKey, raw), 80);
    }
}
