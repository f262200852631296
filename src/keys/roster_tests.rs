use super::*;
use crate::keys::staff::StaffKey;

/// The keys of [`sample`].
pub(crate) struct Keys {
    pub(crate) lotte: StaffKey,
    pub(crate) dpo: StaffKey,
    pub(crate) auditor: StaffKey,
    pub(crate) recovery: StaffKey,
    pub(crate) backup: StaffKey,
}

/// A roster of three members and two backup keys.
pub(crate) fn sample() -> (Roster, Keys) {
    let make = StaffKey::generate;
    let keys =
        Keys { lotte: make(), dpo: make(), auditor: make(), recovery: make(), backup: make() };
    let member = |id, name: &str, roles: &[Role], key: &StaffKey| Member {
        id: StaffId(id),
        name: name.to_owned(),
        roles: roles.iter().copied().collect(),
        recipient: key.recipient().clone(),
    };
    let backup = |name: &str, key: &StaffKey| BackupKey {
        name: name.to_owned(),
        recipient: key.recipient().clone(),
    };
    let roster = Roster {
        version: 3,
        vault: VaultId::random(),
        members: vec![
            member(1, "lotte", &[Role::Admin, Role::Backoffice], &keys.lotte),
            member(2, "d.p-o_1", &[Role::Dpo], &keys.dpo),
            member(7, "auditor", &[Role::Auditor], &keys.auditor),
        ],
        recovery: keys.recovery.recipient().clone(),
        backups: vec![backup("lotte", &keys.backup), backup("wim", &make())],
    };
    (roster, keys)
}

#[test]
fn a_signed_roster_reads_back_as_it_was() {
    let (roster, _) = sample();
    let admin = AdminKey::generate();
    let note = roster.sign(&admin).expect("follows the rules");
    assert_eq!(Roster::parse_signed(&note, &admin.public()), Ok(roster.clone()));
    assert!(note.contains("\nmember 1 lotte backoffice,admin age1"));
    let other = AdminKey::generate();
    assert_eq!(Roster::parse_signed(&note, &other.public()), Err(Error::Signature));
    let forged = roster.sign(&other).expect("follows the rules");
    assert_eq!(Roster::parse_signed(&forged, &admin.public()), Err(Error::Signature));
}

#[test]
fn any_changed_or_missing_byte_of_a_signed_roster_is_refused() {
    let (roster, _) = sample();
    let admin = AdminKey::generate();
    let note = roster.sign(&admin).expect("follows the rules");
    for at in 0..note.len() {
        let mut bytes = note.clone().into_bytes();
        bytes[at] ^= 1;
        if let Ok(changed) = std::str::from_utf8(&bytes) {
            assert!(Roster::parse_signed(changed, &admin.public()).is_err(), "byte {at}");
        }
        if note.is_char_boundary(at) {
            assert!(Roster::parse_signed(&note[..at], &admin.public()).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn a_roster_written_another_way_is_refused_though_it_is_signed() {
    let (roster, _) = sample();
    let admin = AdminKey::generate();
    let text = roster.to_text();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(3, 4);
    let swapped = lines.join("\n") + "\n";
    for (written, wanted) in [
        (swapped, Error::Malformed),
        (text.replace("version 3", "version 03"), Error::Malformed),
        (text.replace("version 3", "version +3"), Error::Malformed),
        (text.replace("version 3", "version 4294967296"), Error::Malformed),
        (text.replace("backoffice,admin", "admin,backoffice"), Error::Malformed),
        (text.replace("backoffice,admin", "backoffice,owner"), Error::Malformed),
        (text.replace("member 7", "member  7"), Error::Malformed),
        (text.clone() + "backup\n", Error::Malformed),
        (text.clone() + "\n", Error::Malformed),
        (text.replace("recovery age1", "recovery age2"), Error::Malformed),
        (text.replace("kluis roster 1", "kluis roster 2"), Error::FutureVersion),
        (text.replace("kluis roster 1", "kluis epoch 1"), Error::Malformed),
        ("\u{85}\n".to_owned().replace('\u{85}', "x"), Error::Malformed),
        (text.clone() + &"x".repeat(LONGEST) + "\n", Error::Malformed),
    ] {
        let note = admin.sign_note(&written);
        assert_eq!(Roster::parse_signed(&note, &admin.public()), Err(wanted), "{written:.80}");
    }
    let note = admin.sign_note(&text);
    assert!(Roster::parse_signed(&note, &admin.public()).is_ok());
}

#[test]
fn a_roster_that_breaks_a_rule_is_neither_signed_nor_read() {
    type Change = fn(&mut Roster);
    let cases: [(Change, Rule); 11] = [
        (|r| r.members[1].roles = [Role::Auditor].into(), Rule::TwoReaders),
        (|r| r.members.truncate(1), Rule::TwoReaders),
        (|r| r.backups.truncate(1), Rule::TwoBackups),
        (|r| r.version = 0, Rule::Version),
        (|r| r.members[0].name = "Lotte".into(), Rule::Name),
        (|r| r.backups[0].name = ".lotte".into(), Rule::Name),
        (|r| r.members[1].name = "lotte".into(), Rule::Unique),
        (|r| r.members[1].id = r.members[0].id, Rule::Unique),
        (|r| r.members[2].roles.clear(), Rule::NoRole),
        (|r| r.backups[0].recipient = r.members[0].recipient.clone(), Rule::SameKey),
        (|r| r.recovery = r.members[1].recipient.clone(), Rule::SameKey),
    ];
    let admin = AdminKey::generate();
    for (change, rule) in cases {
        let (mut roster, _) = sample();
        change(&mut roster);
        assert_eq!(roster.sign(&admin).err(), Some(Error::Rule(rule)));
        let note = admin.sign_note(&roster.to_text());
        assert!(Roster::parse_signed(&note, &admin.public()).is_err(), "{rule:?}");
    }
    for name in ["", "a b", "é", &"a".repeat(33), "-a", "a/b"] {
        assert!(!is_name(name), "{name}");
    }
}

#[test]
fn an_older_a_conflicting_and_a_foreign_roster_are_told_apart() {
    let (known, _) = sample();
    assert_eq!(known.standing(&known), Standing::Same);
    let mut other = known.clone();
    other.version += 1;
    assert_eq!(other.standing(&known), Standing::Newer);
    assert_eq!(known.standing(&other), Standing::Older);
    let mut changed = known.clone();
    changed.members.pop();
    assert_eq!(changed.standing(&known), Standing::Conflicting);
    changed.vault = VaultId::random();
    assert_eq!(changed.standing(&known), Standing::OtherVault);
}

#[test]
fn roles_say_who_reads_answers_and_verifies() {
    let (roster, _) = sample();
    let rights = |name: &str| {
        let member = roster.member(name).expect("is there");
        (member.may_read(), member.may_answer(), member.may_verify())
    };
    assert_eq!(rights("lotte"), (true, true, true));
    assert_eq!(rights("d.p-o_1"), (true, false, true));
    assert_eq!(rights("auditor"), (false, false, true));
    assert!(roster.member("nobody").is_none());
}

#[test]
fn a_published_key_is_found_wherever_it_stands() {
    let (roster, _) = sample();
    assert!(!roster.is_throwaway());
    let published: StaffRecipient =
        include_str!("../../keys/test/ssh_ed25519.pub").parse().expect("parses");
    for place in 0..3 {
        let mut roster = roster.clone();
        match place {
            0 => roster.members[1].recipient = published.clone(),
            1 => roster.backups[1].recipient = published.clone(),
            _ => roster.recovery = published.clone(),
        }
        assert!(roster.is_throwaway());
    }
}
