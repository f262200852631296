//! Every gate by a letter that fails at it alone; every budget at its edge.

use super::*;
use crate::identity::origin::{Outcome, Witness};
use crate::secret::Personal;

const OURS: &str = "backoffice@jobexpert.be";

fn origin(author: &str, dmarc: Outcome) -> Origin {
    Origin {
        spf: Outcome::Pass,
        spf_domain: Personal::new(author.into()),
        dmarc,
        ..Origin::unknown(Witness::Ourselves, author.into())
    }
}

fn envelope(from: &str, to: &str) -> Envelope {
    Envelope {
        mail_from: Personal::new(from.into()),
        rcpt_to: vec![Personal::new(to.into())],
        helo: Personal::new("mx.example.net".into()),
        client: None,
        source: Source::Smtp,
        tls: true,
    }
}

/// The gate's answer to a letter from Lotte with these further fields.
fn knock(fields: &str) -> Result<(), Silence> {
    let raw = format!("From: Lotte <lotte@example.net>\r\nTo: {OURS}\r\n{fields}\r\nDag\r\n");
    ask(&raw, "lotte@example.net", OURS, Some(&origin("example.net", Outcome::Pass)), false)
}

fn ask(
    raw: &str,
    from: &str,
    to: &str,
    origin: Option<&Origin>,
    names_case: bool,
) -> Result<(), Silence> {
    let letter = Letter::parse(raw.as_bytes());
    let ours = [OURS.to_owned(), "dpo@example.org".to_owned()];
    let envelope = envelope(from, to);
    gate(&Knock { letter: &letter, envelope: &envelope, origin, ours: &ours, names_case })
}

#[test]
fn a_person_whose_domain_stands_for_the_letter_is_answered() {
    assert_eq!(knock(""), Ok(()));
    assert_eq!(knock("Auto-Submitted: no\r\nPrecedence: normal\r\n"), Ok(()));
    assert_eq!(knock("Subject: no-reply@example.net List-Id: x\r\n"), Ok(()));
}

#[test]
fn whatever_a_machine_marks_is_not_answered() {
    for (fields, silence) in [
        ("Auto-Submitted: auto-replied\r\n", Silence::Automatic),
        ("Auto-Submitted: auto-generated (ticket)\r\n", Silence::Automatic),
        ("X-Autoreply: yes\r\n", Silence::Automatic),
        ("List-Id: <all.example.net>\r\n", Silence::Bulk),
        ("List-Unsubscribe: <mailto:x@example.net>\r\n", Silence::Bulk),
        ("Precedence: bulk\r\n", Silence::Bulk),
        ("Feedback-ID: 1:2:3:x\r\n", Silence::Bulk),
        ("X-Auto-Response-Suppress: DR, AutoReply\r\n", Silence::Asked),
        ("Content-Type: multipart/report; boundary=b\r\n", Silence::Report),
        ("Content-Type: text/calendar; method=REPLY\r\n", Silence::Report),
        ("Reply-To: no-reply@example.net\r\n", Silence::Role),
        ("Reply-To: <Support-NoReply@example.org>\r\n", Silence::Role),
    ] {
        assert_eq!(knock(fields), Err(silence), "{fields}");
    }
    let hops = "Received: by a\r\n".repeat(MOST_HOPS as usize + 1);
    assert_eq!(knock(&hops), Err(Silence::Hops));
    assert_eq!(knock(&hops["Received: by a\r\n".len()..]), Ok(()));
}

#[test]
fn who_is_nobody_or_ourselves_is_not_answered() {
    let pass = origin("example.net", Outcome::Pass);
    let from = |address: &str| {
        let raw = format!("From: {address}\r\n\r\nx\r\n");
        ask(&raw, address, OURS, Some(&pass), false)
    };
    for local in [
        "MAILER-DAEMON",
        "postmaster",
        "owner-all",
        "all-owner",
        "all-request",
        "all-bounces",
        "all-bounces-123",
        "all-bounces=lotte=example.org",
        "all-bounces+lotte",
        "bounces+x=y",
        "listserv",
        "majordomo",
        "noreply",
        "No-Reply",
        "donotreply+7",
        "do-not-reply",
        "noreply-abc",
        "no-reply.x",
    ] {
        assert_eq!(from(&format!("{local}@example.net")), Err(Silence::Role), "{local}");
    }
    for address in ["requests@example.net", "an.owner@example.net", "replyno@example.net"] {
        assert_eq!(from(address), Ok(()), "{address}");
    }
    for own in [OURS, "BackOffice+x@JobExpert.be", "dpo@example.org"] {
        let ours = origin(own.rsplit('@').next().expect("a domain"), Outcome::Pass);
        let raw = format!("From: {own}\r\n\r\nx\r\n");
        assert_eq!(ask(&raw, own, OURS, Some(&ours), false), Err(Silence::Ours), "{own}");
    }
}

#[test]
fn where_it_came_from_must_be_sure() {
    let raw = "From: lotte@example.net\r\n\r\nx\r\n";
    let pass = origin("example.net", Outcome::Pass);
    let lotte = "lotte@example.net";
    assert_eq!(ask(raw, "LOTTE@Example.net", OURS, Some(&pass), false), Ok(()));
    for (from, to, origin, names_case, silence) in [
        ("", OURS, Some(pass.clone()), false, Silence::OtherSender),
        ("jan@example.net", OURS, Some(pass.clone()), false, Silence::OtherSender),
        (lotte, "postmaster@jobexpert.be", Some(pass.clone()), false, Silence::NotToUs),
        (lotte, OURS, Some(pass.clone()), true, Silence::NamesCase),
        (lotte, OURS, None, false, Silence::NotAligned),
        (lotte, OURS, Some(origin("example.net", Outcome::Fail)), false, Silence::NotAligned),
        (lotte, OURS, Some(origin("example.net", Outcome::TempError)), false, Silence::NotAligned),
        (lotte, OURS, Some(origin("example.org", Outcome::Pass)), false, Silence::NotAligned),
    ] {
        assert_eq!(ask(raw, from, to, origin.as_ref(), names_case), Err(silence), "{silence:?}");
    }
    for raw in [
        "Subject: nobody\r\n\r\nx\r\n",
        "From: lotte@example.net, jan@example.net\r\n\r\nx\r\n",
        "From: lotte@example.net\r\nFrom: lotte@example.net\r\n\r\nx\r\n",
        "From: <>\r\n\r\nx\r\n",
    ] {
        assert_eq!(ask(raw, lotte, OURS, Some(&pass), false), Err(Silence::NoAuthor), "{raw}");
    }
}

#[test]
fn a_sender_gets_two_a_day_and_three_a_week_however_the_address_is_dressed() {
    let now = 100 * DAY;
    let sent = |minutes: &[u64]| -> Vec<Sent<'static>> {
        minutes.iter().map(|&minute| Sent { minute, to: Some("lo.tte+1@Gmail.com") }).collect()
    };
    let ask = |minutes: &[u64], to: &str| budget(&sent(minutes), to, now);
    for to in ["lotte@gmail.com", "l.o.t.t.e+exec@googlemail.com"] {
        assert_eq!(ask(&[now], to), Ok(()));
        assert_eq!(ask(&[now, now - DAY + 1], to), Err(Silence::Sender));
        assert_eq!(ask(&[now, now - DAY], to), Ok(()));
        assert_eq!(ask(&[now, now - 2 * DAY, now - LOOKS_BACK + 1], to), Err(Silence::Sender));
        assert_eq!(ask(&[now, now - 2 * DAY, now - LOOKS_BACK], to), Ok(()));
    }
    assert_eq!(ask(&[now, now], "jan@gmail.com"), Ok(()));
}

#[test]
fn a_domain_gets_five_an_hour_unless_everybody_has_an_address_there() {
    let now = 100 * DAY;
    let addresses = |domain: &str| -> Vec<String> {
        (0..TO_DOMAIN_AN_HOUR).map(|n| format!("exec{n}@{domain}")).collect()
    };
    let ask = |domain: &str, ago: u64| {
        let addresses = addresses(domain);
        let sent: Vec<_> =
            addresses.iter().map(|to| Sent { minute: now - ago, to: Some(to) }).collect();
        budget(&sent, &format!("new@{domain}"), now)
    };
    assert_eq!(ask("crm.example", HOUR - 1), Err(Silence::Domain));
    assert_eq!(ask("crm.example", HOUR), Ok(()));
    let below: Vec<String> =
        (0..TO_DOMAIN_AN_HOUR).map(|n| format!("x@a{n}.crm.example")).collect();
    let sent: Vec<_> = below.iter().map(|to| Sent { minute: now, to: Some(to) }).collect();
    assert_eq!(budget(&sent, "x@new.crm.example", now), Err(Silence::Domain));
    assert_eq!(ask("telenet.be", 0), Ok(()));
}

#[test]
fn so_many_in_one_hour_that_something_is_wrong_mute_all_for_a_day() {
    let start = 100 * DAY;
    let sent = |count: u64, every: u64| -> Vec<Sent<'static>> {
        (0..count).map(|n| Sent { minute: start + n * every / 10, to: None }).collect()
    };
    let quick = sent(60, 9);
    let last = quick.last().expect("many").minute;
    assert_eq!(budget(&quick, "a@b.example", last), Err(Silence::Breaker));
    assert_eq!(budget(&quick, "a@b.example", last + MUTED - 1), Err(Silence::Breaker));
    assert_eq!(budget(&quick, "a@b.example", last + MUTED), Ok(()));
    assert_eq!(budget(&quick[1..], "a@b.example", last), Ok(()));
    assert_eq!(budget(&sent(200, 20), "a@b.example", start + 400), Ok(()));
}
