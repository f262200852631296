//! Wipes memory before it is given back.
//!
//! A letter passes through many hands: the wire, TLS, two parsers, encoders, age. Each makes
//! buffers of its own, and most of them are not ours. So the program's allocator wipes whatever is
//! given back, whoever gave it back; what a letter leaves is what somebody still holds.

use std::alloc::{GlobalAlloc, Layout, System};

/// The allocator of the program: the system's, but what is given back is wiped first.
///
/// Not for the memory of C libraries, and not for stacks.
pub struct Wiping;

/// Blocks above this are mappings of their own (the most that glibc's `M_MMAP_THRESHOLD` can be):
/// the kernel takes their pages at once, moves them when they grow, and gives them to nobody
/// unwiped.
const MAPPED_ABOVE: usize = 32 << 20;
/// The alignment that the system gives without being asked; it moves other blocks in its own way.
const ORDINARY_ALIGN: usize = 16;

// SAFETY: every block is the system's, and stays as long as the system says.
#[allow(unsafe_code, reason = "an allocator that wipes")]
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's until the system has it back.
        unsafe {
            if layout.size() <= MAPPED_ABOVE {
                wipe(block, layout.size());
            }
            System.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let is_mapped = layout.size() > MAPPED_ABOVE && size > MAPPED_ABOVE;
        if is_mapped && layout.align() <= ORDINARY_ALIGN {
            // SAFETY: the caller's promise, passed on.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the caller promises a size that is not zero and fits; old and new block do not
        // overlap, and the copy ends with the shorter one.
        unsafe {
            let new = System.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                std::ptr::copy_nonoverlapping(block, new, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// Overwrites bytes with zeros, also where nobody reads them any more.
///
/// # Safety
/// The caller alone has these bytes, and may write them.
#[allow(unsafe_code, reason = "a store that no compiler leaves out")]
pub(super) unsafe fn wipe(bytes: *mut u8, length: usize) {
    // SAFETY: as the caller promises.
    unsafe { libc::explicit_bzero(bytes.cast(), length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "asks an allocator directly")]
    fn a_block_keeps_its_content_when_it_grows_shrinks_and_moves() {
        for (align, sizes) in [
            (1, [10, 5000, 3, 40]),
            (4096, [5000, 100_000, 1, 64]),
            (8, [33 << 20, 40 << 20, 9, 8]),
        ] {
            let layout = |size| Layout::from_size_align(size, align).expect("a layout");
            // SAFETY: each block is used within its size, and given back once.
            unsafe {
                let mut block = Wiping.alloc(layout(sizes[0]));
                block.write(7);
                block.add(2.min(sizes[0] - 1)).write(9);
                for pair in sizes.windows(2) {
                    block = Wiping.realloc(block, layout(pair[0]), pair[1]);
                    assert_eq!((block.read(), block as usize % align), (7, 0));
                    assert!(pair[1] < 3 || pair[0] < 3 || block.add(2).read() == 9);
                }
                Wiping.dealloc(block, layout(sizes[3]));
                let zeroed = Wiping.alloc_zeroed(layout(sizes[0]));
                assert_eq!(zeroed.read(), 0);
                Wiping.dealloc(zeroed, layout(sizes[0]));
            }
        }
    }
}
