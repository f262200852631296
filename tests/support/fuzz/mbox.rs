//! Any bytes are a mailbox, and none of them is lost: what is in no message is a `From ` line or a
//! blank one.

use std::io::Cursor;

use kluis::inbox::import::mbox::{Dialect, Message, Messages};

fn messages(file: &[u8], limit: u64, dialect: Option<Dialect>) -> (Dialect, Vec<Message>) {
    let length = file.len() as u64;
    let mut messages =
        Messages::open(Cursor::new(file), length, limit, dialect).expect("memory can be read");
    let mut all = Vec::new();
    while let Some(message) = messages.next().expect("memory can be read") {
        all.push(message);
    }
    assert_eq!(messages.position(), length);
    (messages.dialect(), all)
}

/// The body. Each file is read in the dialect that it seems to be in, and in one that its length names.
pub(crate) fn mbox(file: &[u8]) {
    let forced = [Dialect::Mboxo, Dialect::Mboxrd, Dialect::Mboxcl, Dialect::Mboxcl2];
    for dialect in [None, Some(forced[file.len() % forced.len()])] {
        let (told, all) = messages(file, u64::MAX, dialect);
        let is_whole = told == Dialect::Mboxcl2 || (dialect.is_none() && told != Dialect::Mboxrd);
        let mut at = 0;
        for message in &all {
            let (start, end) = (message.start as usize, (message.start + message.length) as usize);
            for line in file[at..start].split_inclusive(|&byte| byte == b'\n') {
                assert!(line.starts_with(b"From ") || line.trim_ascii().is_empty());
            }
            let raw = message.raw.as_deref().expect("there is no limit");
            assert!(if is_whole { raw == &file[start..end] } else { raw.len() <= end - start });
            at = end;
        }
        assert!(file[at..].trim_ascii().is_empty());
        has_limit(file, dialect, &all);
    }
}

/// With a limit the same messages are found; those above it have no content.
fn has_limit(file: &[u8], dialect: Option<Dialect>, all: &[Message]) {
    let limit = file.len() as u64 / 3;
    let (_, limited) = messages(file, limit, dialect);
    assert!(limited.len() == all.len());
    for (limited, whole) in limited.iter().zip(all) {
        assert!((limited.start, limited.length) == (whole.start, whole.length));
        let raw = whole.raw.clone().filter(|_| whole.length <= limit);
        assert!(limited.raw == raw);
    }
}
