//! Values that must not be seen, and a process that does not let itself be looked into.
//!
//! `Secret<T>` rests in memory that is locked, left out of core dumps, not inherited by children,
//! out of everybody's reach where the kernel can do that (`locked`), and wiped at the end.
//! `Personal<T>` marks what says something about a person, so that the compiler keeps it out of
//! logs and errors. Neither prints its content. What the program gives back to the system is wiped
//! (`wiping`), and so is the stack where keys and letters were handled (`stack`).

mod locked;
mod stack;
mod wiping;

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use zeroize::Zeroize;

pub use locked::Reach;
pub use stack::{Stack, clear_stack};
pub use wiping::Wiping;

/// A secret in locked memory. No `Debug`, no `Clone`, no comparison: read it with [`expose`].
///
/// [`expose`]: Secret::expose
pub struct Secret<T: Zeroize> {
    place: NonNull<T>,
}

// SAFETY: `Secret` owns its cells alone, like `Box<T>` does.
#[allow(unsafe_code, reason = "cells of locked memory")]
unsafe impl<T: Zeroize + Send> Send for Secret<T> {}
// SAFETY: as above; shared references only hand out `&T`.
#[allow(unsafe_code, reason = "cells of locked memory")]
unsafe impl<T: Zeroize + Sync> Sync for Secret<T> {}

impl<T: Zeroize> Secret<T> {
    /// Moves `value` into locked memory and wipes where it was.
    ///
    /// Where the limit on locked memory is reached the secret is kept all the same, unlocked;
    /// [`reach`] tells. What `value` itself owns on the heap (a `Vec`, say) stays where it was: keep
    /// arrays. Where it comes into being use [`Secret::filled`], which leaves no copy on the way.
    #[must_use]
    #[allow(unsafe_code, reason = "cells of locked memory")]
    pub fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= locked::CELL) };
        let mut value = ManuallyDrop::new(value);
        let place = locked::take(size_of::<T>()).cast::<T>();
        // SAFETY: the cells are ours, aligned and long enough; the value is moved into them, and
        // what is wiped is not used again.
        unsafe {
            std::ptr::copy_nonoverlapping(&raw const *value, place.as_ptr(), 1);
            wiping::wipe((&raw mut *value).cast(), size_of::<T>());
        }
        Self { place }
    }

    /// The secret itself. Use it where you stand; do not keep a copy.
    #[must_use]
    #[allow(unsafe_code, reason = "cells of locked memory")]
    pub fn expose(&self) -> &T {
        // SAFETY: written in `new` or `filled`, given back only in `drop`.
        unsafe { self.place.as_ref() }
    }
}

impl<const N: usize> Secret<[u8; N]> {
    /// Has the secret written in place: it was nowhere else.
    #[must_use]
    #[allow(unsafe_code, reason = "cells of locked memory")]
    pub fn filled(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self { place: locked::take(N).cast() };
        // SAFETY: fresh cells are zero, which is a value of this type, and nobody else has them.
        fill(unsafe { secret.place.as_mut() });
        secret
    }

    /// Draws a secret from the kernel.
    #[must_use]
    pub fn random() -> Self {
        Self::filled(|bytes| getrandom::fill(bytes).expect("the kernel gives randomness"))
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    #[allow(unsafe_code, reason = "cells of locked memory")]
    fn drop(&mut self) {
        // SAFETY: the cells are still ours; they are wiped, dropped and given back once.
        unsafe {
            self.place.as_mut().zeroize();
            self.place.drop_in_place();
            locked::give_back(self.place.cast(), size_of::<T>());
        }
    }
}

/// How far secrets are out of reach here: the worst of what this process has got so far.
#[must_use]
pub fn reach() -> Reach {
    locked::reach()
}

/// Wipes a buffer that lives on: at the speed of memory, and whatever the compiler thinks of it.
#[allow(unsafe_code, reason = "a store that no compiler leaves out")]
pub fn wipe(bytes: &mut [u8]) {
    // SAFETY: the bytes are the caller's alone.
    unsafe { wiping::wipe(bytes.as_mut_ptr(), bytes.len()) }
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
    if crate::lab::stays_open() {
        return Ok(());
    }
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
        assert_ne!(Secret::<[u8; 32]>::random().expose(), Secret::<[u8; 32]>::random().expose());
        assert_eq!(Secret::filled(|bytes: &mut [u8; 3]| bytes[1] = 5).expose(), &[0, 5, 0]);
        let personal = Personal::new(String::from("Lotte"));
        assert_eq!(format!("{personal:?}"), "Personal<alloc::string::String>");
        assert_eq!(personal.expose(), "Lotte");
    }

    #[test]
    fn ten_thousand_secrets_stay_within_the_usual_limit_and_apart() {
        let keys: Vec<Secret<[u8; 32]>> = (0..10_000u32)
            .map(|n| Secret::new([n.to_le_bytes(); 8].as_flattened().try_into().expect("32 bytes")))
            .collect();
        for (n, key) in (0..10_000u32).zip(&keys) {
            assert_eq!(key.expose()[28..], n.to_le_bytes());
        }
        assert!(reach() > Reach::Unlocked, "320 KiB can be locked");
        let long = Secret::new([3u8; 100_000]);
        drop(keys);
        assert_eq!(long.expose()[99_999], 3);
    }

    #[test]
    fn a_value_with_a_drop_of_its_own_is_dropped_once() {
        let password = Secret::new(String::from("a password"));
        assert_eq!(password.expose(), "a password");
    }
}
