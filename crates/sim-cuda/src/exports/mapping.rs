//! Pages that stand for device memory.

use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Zeroed pages that take real memory only once they are written, however many they are.
#[derive(Debug)]
pub struct Mapping {
    address: usize,
    bytes: usize,
}

impl Mapping {
    /// Takes so much address space, if the system gives it.
    pub fn new(bytes: usize) -> Option<Self> {
        // SAFETY: a fresh mapping at an address that the kernel chooses touches nothing that exists.
        let pages = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        };
        pages.ok().map(|pages| Self { address: pages.expose_provenance(), bytes })
    }

    /// Where it begins, which is the device pointer.
    pub fn address(&self) -> u64 {
        self.address as u64
    }

    fn at(&self, offset: usize, length: usize) -> *mut u8 {
        assert!(offset.checked_add(length).is_some_and(|end| end <= self.bytes), "outside the mapping");
        ptr::with_exposed_provenance_mut(self.address + offset)
    }

    /// Copies `data` to `offset`, which the caller has checked to fit.
    pub fn write(&self, offset: usize, data: &[u8]) {
        // SAFETY: the range lies in this mapping (checked). A program may pass device memory as host
        // memory, so the two may overlap.
        unsafe { ptr::copy(data.as_ptr(), self.at(offset, data.len()), data.len()) }
    }

    /// Copies from `offset` to `data`, where the caller has checked that there is so much.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        // SAFETY: as for `write`.
        unsafe { ptr::copy(self.at(offset, data.len()), data.as_mut_ptr(), data.len()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it any more. Unmapping whole pages of our own
        // cannot fail.
        let _ = unsafe { munmap(ptr::with_exposed_provenance_mut(self.address), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_full_of_memory_costs_nothing_until_written() {
        let mapping = Mapping::new(24 << 30).unwrap();
        mapping.write(12 << 30, b"far in");
        let mut back = [0; 7];
        mapping.read(12 << 30, &mut back);
        assert_eq!(&back, b"far in\0");
    }
}
