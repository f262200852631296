//! What others lost letters by: the table of `tests/letters`, and those of its rows that need a mailbox
//! with a key.

use std::collections::BTreeSet;
use std::path::PathBuf;

use kluis::casebook::Filter;
use kluis::letter::Role;

use super::tree;
use crate::opened::{armored, gpg, open_with, pgp_mime};
use crate::way::{deliver, raw, runtime};
use crate::world::{MAILBOX, World};

#[test]
fn every_golden_letter_is_in_the_table_and_what_the_table_names_is_there() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/letters");
    let table = std::fs::read_to_string(folder.join("README.md")).expect("the table reads");
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let named: BTreeSet<String> =
        rows.flat_map(|row| row.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    let (letters, tests): (BTreeSet<String>, BTreeSet<String>) =
        named.into_iter().partition(|name| name.ends_with(".eml"));
    let there: BTreeSet<String> = std::fs::read_dir(&folder)
        .expect("the letters list")
        .filter_map(|entry| entry.expect("an entry").file_name().into_string().ok())
        .filter(|name| name.ends_with(".eml"))
        .collect();
    assert_eq!(letters, there);
    assert!(there.len() >= 60, "{}", there.len());
    let sources: String =
        ["src", "tests"].into_iter().flat_map(tree::files).map(|(_, text)| text).collect();
    for test in tests {
        let name = test.rsplit("::").next().expect("has a name");
        assert!(sources.contains(&format!("fn {name}(")), "{test}");
    }
}

#[test]
fn a_letter_that_names_somebody_else_opens_with_the_key_that_it_is_encrypted_to() {
    let (world, runtime) = (World::found(), runtime());
    let Some(gpg) = gpg(&world, "a letter in blind copy") else { return };
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let inside = b"Content-Type: text/plain\r\n\r\nin blinde kopie\r\n";
    let armor = armored(&gpg, &["-r", MAILBOX, "-r", crate::opened::PERSON], inside);
    let sent = String::from_utf8(pgp_mime("...", &armor)).expect("ASCII");
    let sent = sent.replace(&format!("To: {MAILBOX}"), "To: somebody@else.example");
    assert_eq!(deliver(&server, false, &[MAILBOX], sent.as_bytes()), [250]);
    let case = anna.queue(Filter::All).expect("lists").remove(0);
    open_with(&mut anna, None, &case).expect("opens");
    let case = anna.queue(Filter::All).expect("lists").remove(0);
    assert_eq!(case.letters.len(), 2);
    let text = case.letters[1].detail.as_ref().expect("opens").items[0].id;
    let text = anna.look(&[text]).expect("opens").remove(0);
    assert_eq!(text.content().as_slice(), b"in blinde kopie\r\n");
    runtime.block_on(server.stop());
}

#[test]
fn what_was_encrypted_may_be_signed_and_nested_and_have_fields_that_do_not_belong_there() {
    let (world, runtime) = (World::found(), runtime());
    let Some(gpg) = gpg(&world, "a letter with parts in parts inside of encryption") else {
        return;
    };
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let inside = "Return-Path: <bounce@x.example>\r\nReceived: from a by b; Mon, 2 Nov 2026 10:00:00 +0000\r\n\
         X-Odd: \u{e9}\r\nContent-Type: multipart/signed; boundary=s; micalg=pgp-sha256;\r\n \
         protocol=\"application/pgp-signature\"\r\n\r\n\
         --s\r\nContent-Type: multipart/related; boundary=r\r\n\r\n\
         --r\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n\
         --a\r\n\r\nplat\r\n--a\r\nContent-Type: text/html\r\n\r\n<p>pagina\r\n--a--\r\n\
         --r\r\nContent-Type: image/png\r\nContent-ID: <a>\r\nContent-Disposition: inline\r\n\
         Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--r--\r\n\
         --s\r\nContent-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n--s--\r\n";
    let armor = armored(&gpg, &["-r", MAILBOX], inside.as_bytes());
    assert_eq!(deliver(&server, false, &[MAILBOX], &pgp_mime("...", &armor)), [250]);
    let case = anna.queue(Filter::All).expect("lists").remove(0);
    open_with(&mut anna, None, &case).expect("opens");
    let case = anna.queue(Filter::All).expect("lists").remove(0);
    let detail = case.letters[1].detail.as_ref().expect("opens");
    let items: Vec<(Role, &str)> =
        detail.items.iter().map(|card| (card.role, card.media_type.as_str())).collect();
    assert_eq!(
        items,
        [
            (Role::Body, "text/plain"),
            (Role::Body, "text/html"),
            (Role::Attachment, "image/png"),
            (Role::Attachment, "application/pgp-signature"),
        ]
    );
    assert!(
        raw(&mut anna, &case) == inside.as_bytes(),
        "byte for byte, so that it can be verified"
    );
    runtime.block_on(server.stop());
}
