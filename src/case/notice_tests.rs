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

fn visits(minutes: &[u64], is_told: bool) -> Vec<Visit> {
    minutes.iter().map(|&minute| Visit { minute, is_told }).collect()
}

#[test]
fn a_sender_gets_two_until_none_of_theirs_comes_for_thirty_days() {
    let now = 1000 * DAY;
    let ask = |told: &[u64], since: &[u64]| {
        let of_sender = [visits(told, true), visits(since, false)].concat();
        budget(&Past { of_sender: &of_sender, ..Past::default() }, now)
    };
    assert_eq!(ask(&[], &[now]), Ok(()), "who was not told was not told");
    assert_eq!(ask(&[now], &[]), Ok(()));
    assert_eq!(ask(&[now, now], &[]), Err(Silence::Sender));
    assert_eq!(ask(&[now - 40 * DAY, now - 20 * DAY], &[]), Err(Silence::Sender));
    assert_eq!(ask(&[now - SENDER_RESTS - 1, now - SENDER_RESTS + 1], &[]), Err(Silence::Sender));
    assert_eq!(ask(&[now - SENDER_RESTS - 1, now - SENDER_RESTS], &[]), Ok(()));
    assert_eq!(ask(&[now - 2 * SENDER_RESTS, now - SENDER_RESTS], &[]), Ok(()));
    // Who writes on does not rest, though it is not told.
    let hourly: Vec<u64> = (1..900 * 24).rev().map(|ago| now - ago * HOUR).collect();
    assert_eq!(ask(&[now - 900 * DAY, now - 900 * DAY], &hourly), Err(Silence::Sender));
}

#[test]
fn a_domain_gets_five_until_none_of_it_comes_for_a_day() {
    let now = 1000 * DAY;
    let ask = |told: &[u64], since: &[u64]| {
        let of_domain = [visits(told, true), visits(since, false)].concat();
        budget(&Past { of_domain: &of_domain, ..Past::default() }, now)
    };
    assert_eq!(ask(&[now; 4], &[]), Ok(()));
    assert_eq!(ask(&[now; 5], &[]), Err(Silence::Domain));
    assert_eq!(ask(&[now - DAY + 1; 5], &[]), Err(Silence::Domain));
    assert_eq!(ask(&[now - DAY; 5], &[]), Ok(()));
    assert_eq!(ask(&[now - 2 * DAY + 2; 5], &[now - DAY + 1]), Err(Silence::Domain));
}

#[test]
fn an_address_is_counted_however_it_is_dressed() {
    let of = |address: &str| {
        let Counted { sender, domain } = Counted::of(address);
        (sender, domain.unwrap_or_default())
    };
    let counted = |sender: &str, domain: &str| (sender.to_owned(), domain.to_owned());
    for (address, sender, domain) in [
        ("Lo.tte+1@GoogleMail.com", "lotte@gmail.com", ""),
        ("lotte1987@telenet.be", "lotte1987@telenet.be", ""),
        ("ticket-17@crm.example", "ticket-@crm.example", "crm.example"),
        ("ticket-18@n3.Crm.example", "ticket-@crm.example", "crm.example"),
        ("7f3a@crm.example", "@crm.example", "crm.example"),
        ("jan+x@firm.co.uk", "jan@firm.co.uk", "firm.co.uk"),
        ("jan@mail.firm.co.uk", "jan@firm.co.uk", "firm.co.uk"),
        ("jan@co.uk", "jan@co.uk", "co.uk"),
        ("jan@com.example", "jan@com.example", "com.example"),
        ("jan@example", "jan@example", "example"),
        ("jan", "jan@", ""),
    ] {
        assert_eq!(of(address), counted(sender, domain), "{address}");
    }
}

#[test]
fn so_many_in_one_hour_that_something_is_wrong_mute_all_for_a_day() {
    let start = 100 * DAY;
    let sent = |count: u64, every: u64| -> Vec<u64> {
        (0..count).map(|n| start + n * every / 10).collect()
    };
    let ask = |all: &[u64], now: u64| budget(&Past { all, ..Past::default() }, now);
    let quick = sent(60, 9);
    let last = *quick.last().expect("many");
    assert_eq!(ask(&quick, last), Err(Silence::Breaker));
    assert_eq!(ask(&quick, last + MUTED - 1), Err(Silence::Breaker));
    assert_eq!(broken_until(&quick), Some(last + MUTED));
    assert_eq!(ask(&quick, last + MUTED), Ok(()));
    assert_eq!(ask(&quick[1..], last), Ok(()));
    assert_eq!(broken_until(&quick[1..]), None);
    assert_eq!(ask(&sent(200, 20), start + 400), Ok(()));
}
