//! What must hold for any bytes whatever: the bodies of the fuzz targets, which ordinary tests run
//! over the corpus of `tests/corpora`, too. Those of the wire have files of their own.

#![allow(dead_code, reason = "each fuzz target is a program of its own and uses one body")]

pub(crate) mod imap;
pub(crate) mod letters;
pub(crate) mod mbox;
pub(crate) mod people;
pub(crate) mod sealed;
pub(crate) mod sheet;
pub(crate) mod zone;

/// A target's name, which its folder in `tests/corpora` has, too, and its body.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    ("archive", letters::archive),
    ("headers", letters::headers),
    ("imap", imap::imap),
    ("letter", letters::letter),
    ("mbox", mbox::mbox),
    ("page", letters::page),
    ("people", people::people),
    ("report", letters::report),
    ("sealed", sealed::sealed),
    ("sheet", sheet::sheet),
    ("skeleton", letters::skeleton),
    ("tnef", letters::tnef),
    ("zone", zone::zone),
];
