//! Values that must not be seen, and a process that does not let itself be looked into.
//!
//! `Secret<T>` rests in pages of its own that are locked into memory, left out of core dumps, not
//! inherited by children and wiped at the end. `Personal<T>` marks what says something about a
//! person, so that the compiler keeps it out of logs and errors. Neither prints its content.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

use zeroize::Zeroize;

/// A secret in locked memory. No `Debug`, no `Clone`, no comparison: read it with [`expose`].
///
/// [`expose`]: Secret::expose
pub struct Secret<T: Zeroize> {
    place: NonNull<T>,
    layout: Layout,
}

// SAFETY: `Secret` owns its allocation alone, like `Box<T>` does.
#[allow(unsafe_code, reason = "pages of our own, so that they can be locked")]
unsafe impl<T: Zeroize + Send> Send for Secret<T> {}
// SAFETY: as above; shared references only hand out `&T`.
#[allow(unsafe_code, reason = "pages of our own, so that they can be locked")]
unsafe impl<T: Zeroize + Sync> Sync for Secret<T> {}

/// The size of a memory page on every platform we build for.
const PAGE: usize = 4096;

impl<T: Zeroize> Secret<T> {
    /// Moves `value` into locked memory.
    ///
    /// Where the limit on locked memory is reached the secret is kept all the same, unlocked;
    /// `doctor` reports the limit. What `value` itself owns on the heap (a `Vec`, say) stays where
    /// it was: keep arrays.
    #[must_use]
    #[allow(unsafe_code, reason = "pages of our own, so that they can be locked")]
    pub fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= PAGE) };
        let size = size_of::<T>().max(1).next_multiple_of(PAGE);
        let layout = Layout::from_size_align(size, PAGE).expect("a page-sized layout is valid");
        // SAFETY: the layout has a size above zero.
        let raw = unsafe { alloc_zeroed(layout) };
        let Some(place) = NonNull::new(raw.cast::<T>()) else { handle_alloc_error(layout) };
        // SAFETY: the range is ours, page-aligned and a multiple of the page size; each advice
        // only narrows who sees it, and the write fits the fresh allocation.
        unsafe {
            let _ = rustix::mm::mlock(raw.cast(), size);
            for advice in [rustix::mm::Advice::LinuxDontDump, rustix::mm::Advice::LinuxWipeOnFork] {
                let _ = rustix::mm::madvise(raw.cast(), size, advice);
            }
            place.write(value);
        }
        Self { place, layout }
    }

    /// The secret itself. Use it where you stand; do not keep a copy.
    #[must_use]
    #[allow(unsafe_code, reason = "pages of our own, so that they can be locked")]
    pub fn expose(&self) -> &T {
        // SAFETY: written in `new`, freed only in `drop`.
        unsafe { self.place.as_ref() }
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    #[allow(unsafe_code, reason = "pages of our own, so that they can be locked")]
    fn drop(&mut self) {
        // SAFETY: the allocation is still ours; it is wiped, dropped, unlocked and freed once. The
        // advices are undone so that the allocator hands out ordinary pages again.
        unsafe {
            self.place.as_mut().zeroize();
            self.place.drop_in_place();
            let raw = self.place.as_ptr();
            let size = self.layout.size();
            let _ = rustix::mm::munlock(raw.cast(), size);
            for advice in [rustix::mm::Advice::LinuxDoDump, rustix::mm::Advice::LinuxKeepOnFork] {
                let _ = rustix::mm::madvise(raw.cast(), size, advice);
            }
            dealloc(raw.cast(), self.layout);
        }
    }
}

/// Something about a person. Prints only its type; read it with [`expose`](Personal::expose).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Personal<T>(T);

impl<T> Personal<T> {
    /// Marks `value` as personal.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself: for sealing, for the person's own answer, for an authorised reader.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, given away.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Personal<{}>", std::any::type_name::<T>())
    }
}

impl<C, T: minicbor::Encode<C>> minicbor::Encode<C> for Personal<T> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.0.encode(e, ctx)
    }

    fn is_nil(&self) -> bool {
        self.0.is_nil()
    }
}

impl<'b, C, T: minicbor::Decode<'b, C>> minicbor::Decode<'b, C> for Personal<T> {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        T::decode(d, ctx).map(Self)
    }

    fn nil() -> Option<Self> {
        T::nil().map(Self)
    }
}

/// Closes the process to onlookers: no core dump, no debugger of the same user, no new privileges.
///
/// # Errors
/// The kernel's refusal. Whoever handles secrets stops then.
pub fn harden_process() -> std::io::Result<()> {
    rustix::process::setrlimit(
        rustix::process::Resource::Core,
        rustix::process::Rlimit { current: Some(0), maximum: Some(0) },
    )?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_was_put_in_and_personal_prints_only_its_type() {
        let secret = Secret::new([7u8; 32]);
        assert_eq!(secret.expose(), &[7; 32]);
        let personal = Personal::new(String::from("Lotte"));
        assert_eq!(format!("{personal:?}"), "Personal<alloc::string::String>");
        assert_eq!(personal.expose(), "Lotte");
    }
}
