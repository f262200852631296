use std::io::Write as _;

use pgp::packet::Key;
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::serialize::stream::{Compressor, Encryptor, LiteralWriter, Message, Recipient, Signer};
use pgp::types::{CompressionAlgorithm, Features};

use super::*;

const NOW: u64 = 1_792_000_000;
const TEXT: &[u8] = b"Content-Type: text/plain\r\n\r\nik wil inzage\r\n";

fn key() -> MailboxKey {
    MailboxKey::generate("privacy@example.org", NOW - 1000).unwrap()
}

fn part(key: &MailboxKey) -> Key<PublicParts, UnspecifiedRole> {
    let policy = policy(time(NOW));
    let keys = key.cert().keys().with_policy(&policy, time(NOW)).for_transport_encryption();
    keys.map(|part| part.key().parts_as_public().clone()).next().unwrap()
}

/// How a test's message is made.
struct Make<'a> {
    to: Vec<(&'a MailboxKey, bool)>,
    signer: Option<&'a MailboxKey>,
    meant_for: Option<&'a MailboxKey>,
    compressed: bool,
    features: Features,
}

impl<'a> Make<'a> {
    fn to(key: &'a MailboxKey) -> Self {
        let features = Features::empty().set_seipdv1();
        let to = vec![(key, false)];
        Self { to, signer: None, meant_for: None, compressed: false, features }
    }

    fn message(&self, content: &[u8]) -> Vec<u8> {
        let parts: Vec<_> = self.to.iter().map(|(key, hidden)| (part(key), *hidden)).collect();
        let recipients = parts.iter().map(|(part, hidden)| {
            let handle = if self.features.supports_seipdv2() {
                KeyHandle::from(part.fingerprint())
            } else {
                part.keyid().into()
            };
            Recipient::new(self.features.clone(), (!hidden).then_some(handle), part)
        });
        let mut out = Vec::new();
        let mut message =
            Encryptor::for_recipients(Message::new(&mut out), recipients).build().unwrap();
        if self.compressed {
            message = Compressor::new(message).algo(CompressionAlgorithm::Zip).build().unwrap();
        }
        if let Some(signer) = self.signer {
            let signing = signer.cert().primary_key().key().clone().parts_into_secret().unwrap();
            let mut made = Signer::new(message, signing.into_keypair().unwrap()).unwrap();
            if let Some(meant_for) = self.meant_for {
                made = made.add_intended_recipient(meant_for.cert());
            }
            message = made.creation_time(time(NOW)).build().unwrap();
        }
        let mut message = LiteralWriter::new(message).build().unwrap();
        message.write_all(content).unwrap();
        message.finalize().unwrap();
        out
    }
}

fn refused(message: &[u8], keys: &[MailboxKey]) -> Undecryptable {
    decrypt(message, keys, &[], NOW).err().expect("it is refused")
}

#[test]
fn a_letter_opens_with_whichever_key_it_names() {
    let keys = [key(), key(), key()];
    for (i, to) in keys.iter().enumerate() {
        for features in [Features::empty().set_seipdv1(), Features::sequoia()] {
            let message = Make { features, ..Make::to(to) }.message(TEXT);
            let opened = decrypt(&message, &keys, &[], NOW).unwrap_or_else(|e| panic!("{i}: {e}"));
            assert_eq!(*opened.plaintext, TEXT);
            assert_eq!((opened.signature, opened.repaired), (Signature::None, false));
        }
        let message = Make::to(to).message(TEXT);
        assert_eq!(refused(&message, &[key()]), Undecryptable::NoKeyOfOurs);
        assert_eq!(refused(&message, &[]), Undecryptable::NoKeyOfOurs);
    }
}

#[test]
fn a_signature_is_told_from_none_a_strangers_and_a_misdirected_one() {
    let (ours, sender, other) = (key(), key(), key());
    let fingerprint = sender.certificate().fingerprint();
    let senders = [other.certificate(), sender.certificate()];
    let signed = Make { signer: Some(&sender), ..Make::to(&ours) };
    let open = |message: &[u8], senders: &[Certificate]| {
        decrypt(message, std::slice::from_ref(&ours), senders, NOW).ok().unwrap().signature
    };
    let message = signed.message(TEXT);
    assert_eq!(open(&message, &senders), Signature::Good(fingerprint.clone()));
    assert!(matches!(open(&message, &senders[..1]), Signature::UnknownKey(Some(_))));
    let to_us = Make { signer: Some(&sender), meant_for: Some(&ours), ..Make::to(&ours) };
    assert_eq!(open(&to_us.message(TEXT), &senders), Signature::Good(fingerprint));
    let forwarded = Make { signer: Some(&sender), meant_for: Some(&other), ..Make::to(&ours) };
    assert_eq!(open(&forwarded.message(TEXT), &senders), Signature::Bad);
    let too_early = decrypt(&message, std::slice::from_ref(&ours), &senders, NOW - 7200);
    assert_eq!(too_early.ok().unwrap().signature, Signature::Bad);
}

#[test]
fn whatever_byte_of_a_letter_is_changed_nothing_wrong_comes_out() {
    let ours = [key()];
    for features in [Features::empty().set_seipdv1(), Features::sequoia()] {
        let message = Make { features, ..Make::to(&ours[0]) }.message(TEXT);
        let container = outline_start(&message);
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1;
            match decrypt(&changed, &ours, &[], NOW) {
                Ok(opened) => assert_eq!(*opened.plaintext, TEXT, "{at}"),
                Err(why) if at >= container + 8 && at + 2 < message.len() => {
                    assert!(matches!(why, Undecryptable::Unauthenticated), "{at} {why}");
                }
                Err(_) => {}
            }
        }
        for cut in 1..message.len() {
            assert!(decrypt(&message[..cut], &ours, &[], NOW).is_err());
        }
        assert_eq!(refused(&message[..message.len() - 1], &ours), Undecryptable::Truncated);
    }
}

/// Where the container's packet begins: behind one recipient's packet of less than 192 bytes.
fn outline_start(message: &[u8]) -> usize {
    assert_eq!(message[0], 0xc1);
    2 + usize::from(message[1])
}

#[test]
fn a_letter_without_integrity_protection_is_not_opened() {
    let ours = [key()];
    let message = Make::to(&ours[0]).message(TEXT);
    let at = outline_start(&message);
    for (tag, why) in [(0xc9, Undecryptable::Unauthenticated), (0xd4, Undecryptable::LibrePgpOcb)] {
        let mut other = message.clone();
        other[at] = tag;
        assert_eq!(refused(&other, &ours), why);
    }
    // The attack of EFAIL: the protected container's content in one without protection.
    let body = &message[at + 3..];
    let stripped = [&message[..at], &[0xc9, body.len() as u8], body].concat();
    assert_eq!(refused(&stripped, &ours), Undecryptable::Unauthenticated);
}

#[test]
fn hidden_recipients_are_tried_a_few_times() {
    let ours = [key()];
    let other = key();
    let with = |others: usize, ours_is: bool| {
        let mut to = vec![(&other, true); others];
        to.push((&ours[0], ours_is));
        Make { to, ..Make::to(&other) }.message(TEXT)
    };
    for others in [0, 3] {
        let opened = decrypt(&with(others, true), &ours, &[], NOW);
        assert_eq!(*opened.ok().unwrap().plaintext, TEXT, "{others}");
    }
    assert_eq!(refused(&with(4, true), &ours), Undecryptable::OverLimit);
    assert_eq!(refused(&with(40, true), &ours), Undecryptable::OverLimit);
    let named = decrypt(&with(30, false), &ours, &[], NOW);
    assert_eq!(*named.ok().unwrap().plaintext, TEXT);
    let hidden_from_us = Make { to: vec![(&other, true)], ..Make::to(&other) }.message(TEXT);
    assert_eq!(refused(&hidden_from_us, &ours), Undecryptable::NoKeyOfOurs);
}

#[test]
fn a_small_letter_does_not_grow_without_end() {
    let ours = [key()];
    let zipped =
        |size: usize| Make { compressed: true, ..Make::to(&ours[0]) }.message(&vec![b'a'; size]);
    let opened = decrypt(&zipped(FREE_CONTENT), &ours, &[], NOW).ok().unwrap();
    assert_eq!(opened.plaintext.len(), FREE_CONTENT);
    assert_eq!(refused(&zipped(FREE_CONTENT + 1), &ours), Undecryptable::OverLimit);
    assert_eq!(refused(&zipped(64 << 20), &ours), Undecryptable::OverLimit);
}

#[test]
fn a_large_letter_opens_whole_and_a_change_at_its_end_is_noticed() {
    let ours = [key()];
    let content: Vec<u8> =
        (0..40u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut message = Make::to(&ours[0]).message(&content);
    assert!(*decrypt(&message, &ours, &[], NOW).ok().unwrap().plaintext == content);
    let end = message.len();
    message[end - 3] ^= 1;
    assert_eq!(refused(&message, &ours), Undecryptable::Unauthenticated);
}

#[test]
fn a_message_in_a_message_is_read_two_layers_deep() {
    let ours = [key()];
    let mut message = Make::to(&ours[0]).message(TEXT);
    for layers in 2..=3 {
        let mut out = Vec::new();
        let part = part(&ours[0]);
        let to =
            Recipient::new(Features::empty().set_seipdv1(), KeyHandle::from(part.keyid()), &part);
        let mut outer = Encryptor::for_recipients(Message::new(&mut out), [to]).build().unwrap();
        outer.write_all(&message).unwrap();
        outer.finalize().unwrap();
        message = out;
        match layers {
            2 => assert_eq!(*decrypt(&message, &ours, &[], NOW).ok().unwrap().plaintext, TEXT),
            _ => assert_eq!(refused(&message, &ours), Undecryptable::OverLimit),
        }
    }
}

#[test]
fn what_is_no_encrypted_message_is_malformed() {
    let ours = [key()];
    let public = ours[0].public_armored().unwrap();
    let binary = ours[0].certificate().to_bytes().unwrap();
    for other in [public.as_bytes(), &binary, b"", b"Hello", &[0xff; 100], &[0x80; 3]] {
        assert_eq!(refused(other, &ours), Undecryptable::Malformed);
    }
}

#[test]
fn the_mailbox_key_survives_being_written_and_nothing_secret_is_published() {
    let ours = key();
    let message = Make::to(&ours).message(TEXT);
    let bytes = ours.to_secret_bytes().unwrap();
    let read = [MailboxKey::from_secret_bytes(&bytes).unwrap()];
    assert_eq!(*decrypt(&message, &read, &[], NOW).ok().unwrap().plaintext, TEXT);
    let armored = ours.public_armored().unwrap();
    assert!(armored.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n"), "{armored}");
    let public = Certificate::parse(armored.as_bytes()).unwrap();
    assert_eq!(public.fingerprint(), ours.certificate().fingerprint());
    assert_eq!(public.check(NOW), Ok(()));
    assert_eq!(public.check(NOW + 50 * 365 * 86_400), Ok(()), "it does not expire");
    let without = MailboxKey::from_secret_bytes(armored.as_bytes());
    assert_eq!(without.err(), Some(crate::reply::openpgp::KeyProblem::NoSecret));
    assert!(MailboxKey::generate("two words", NOW).is_err());
}
