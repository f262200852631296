//! Clears what functions that have returned left on the stack.
//!
//! Ciphers, curves and parsers work on the stack and leave there what they last held. Whoever has
//! handled a key or a letter and goes to wait clears it before.

use std::mem::MaybeUninit;

/// As deep as our own functions and those of age and the ciphers go, with room.
const DEPTH: usize = 64 << 10;
const PAGE: usize = 4096;

/// Clears what was left just below the caller's own frame, 64 KiB deep.
#[inline(never)]
#[allow(unsafe_code, reason = "a store that no compiler leaves out")]
pub fn clear_stack() {
    let mut below = MaybeUninit::<[u8; DEPTH]>::uninit();
    // SAFETY: the array is ours.
    unsafe { super::wiping::wipe(below.as_mut_ptr().cast(), DEPTH) }
}

/// The stack of a thread that reads what strangers write, which may lead it down to its end.
pub struct Stack {
    end: usize,
}

impl Stack {
    /// That of the calling thread, which must not be the first one of the process. Asks the system:
    /// before a filter forbids it.
    #[allow(unsafe_code, reason = "the system knows where a stack ends")]
    pub fn of_this_thread() -> std::io::Result<Self> {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        let (mut end, mut length) = (std::ptr::null_mut(), 0);
        // SAFETY: the attributes are filled in before they are read, and destroyed once.
        let failed = unsafe {
            match libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) {
                0 => {
                    let got =
                        libc::pthread_attr_getstack(attributes.as_ptr(), &mut end, &mut length);
                    libc::pthread_attr_destroy(attributes.as_mut_ptr());
                    got
                }
                failed => failed,
            }
        };
        if failed != 0 {
            return Err(std::io::Error::from_raw_os_error(failed));
        }
        Ok(Self { end: (end as usize).next_multiple_of(PAGE) })
    }

    /// Clears all of it that nobody uses now: the deeper pages go back to the system.
    #[inline(never)]
    #[allow(unsafe_code, reason = "gives pages of the stack back that nobody uses")]
    pub fn clear(&self) {
        clear_stack();
        let here = 0u8;
        let until = ((&raw const here) as usize - DEPTH / 2) / PAGE * PAGE;
        if until > self.end {
            // SAFETY: between the end of the stack and half of `DEPTH` below this frame there is no
            // frame of anybody: what is called from here needs far less.
            let _ = unsafe {
                let length = until - self.end;
                rustix::mm::madvise(self.end as *mut _, length, rustix::mm::Advice::LinuxDontNeed)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves a word on the stack; gives where it was.
    #[inline(never)]
    fn leave_behind<const DEEP: usize>(word: u64) -> usize {
        let mut left = [0u64; DEEP];
        left[0] = word;
        std::hint::black_box(&mut left);
        (&raw const left) as usize
    }

    #[allow(unsafe_code, reason = "reads a dead part of the stack")]
    fn seen(place: usize) -> u64 {
        // SAFETY: the place lies in this thread's stack, which is mapped.
        unsafe { std::ptr::with_exposed_provenance::<u64>(place).read_volatile() }
    }

    #[test]
    fn what_a_function_left_on_the_stack_is_cleared_and_frames_in_use_are_not() {
        let in_use = std::hint::black_box([7u8; 1000]);
        let place = leave_behind::<64>(0x0123_4567_89ab_cdef);
        clear_stack();
        assert_eq!(seen(place), 0);
        assert_eq!(in_use, [7; 1000]);
    }

    #[test]
    fn a_whole_stack_is_cleared_however_deep_it_was_used() {
        let deep = std::thread::Builder::new().stack_size(4 << 20).spawn(|| {
            let stack = Stack::of_this_thread().expect("the system says");
            let in_use = std::hint::black_box([7u8; 1000]);
            let place = leave_behind::<{ 100 << 10 }>(0x0123_4567_89ab_cdef);
            assert_ne!(seen(place), 0, "it would be there");
            stack.clear();
            assert_eq!(seen(place), 0);
            assert_eq!(in_use, [7; 1000]);
        });
        deep.expect("starts").join().expect("ends well");
    }
}
