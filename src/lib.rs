//! kluis: the mailbox that answers privacy requests, and a vault that it cannot read itself.
//!
//! # The way of a letter
//!
//! `inbox` takes bytes off the wire, or from files → `letter` parses them (in a confined child, `sandbox`) →
//! `request` says by when → `casebook` seals everything and commits one batch → only then `inbox`
//! answers 250. `case` says what may be done and `identity` what was accepted as proof of who asks.
//! `reply` carries mail out, encrypted. `staff` is the other side of the glass: what runs with a
//! person's key.
//!
//! # Who may import whom
//!
//! *Deciding* code (`letter → request → identity → case`) is pure: no I/O, no async, clock and
//! randomness passed in. *Keeping* code (`keys → vault → ledger → store → upkeep`) knows no law and
//! no mail. The two never import each other; `casebook` joins them. `inbox`, `reply`, `staff` and
//! `cli` see `casebook` and the deciding code; `staff` and `cli` also `keys` and the pure proofs of
//! `ledger`, `staff` also `vault`, `cli` also what it starts: `gateway`, and `store` and `upkeep` for
//! a vault that nothing serves. `gateway` sees all of the server's side and never `staff`. Only
//! `vault` names a symmetric cipher, only `keys` and `reply::answer` name age, only `reply::openpgp`
//! and `staff` name OpenPGP, only `store::index` names sled, of the store only `disk` and `index`
//! touch files, only `sandbox`, `staff::agent`, `cli::demo` and `cli::models` start another program.
//! `tests/suite/imports.rs` holds the code to this.

pub mod clock;
pub mod config;
pub mod ids;
pub mod lab;
pub mod sandbox;
pub mod secret;

pub mod inbox;

pub mod case;
pub mod identity;
pub mod letter;
pub mod request;

pub mod keys;
pub mod ledger;
pub mod store;
pub mod upkeep;
pub mod vault;

pub mod casebook;
pub mod gateway;
pub mod reply;

pub mod cli;
pub mod staff;
