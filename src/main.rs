//! Arguments in, exit code out; the work is in the library.

use kluis::{letter::Letter, sandbox};

fn main() {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("confined-parse") => sandbox::child_main(parse),
        #[cfg(kluis_lab)]
        Some("confined-probe") => sandbox::probe::child_main(args),
        _ => {}
    }
}

/// A raw message in, its `Letter` as CBOR out.
fn parse(raw: &[u8]) -> Vec<u8> {
    #[cfg(kluis_lab)]
    sandbox::probe::poison(raw);
    minicbor::to_vec(Letter::parse(raw)).expect("memory takes what is written to it")
}
