//! Where a letter came from: asked of a DNS server on loopback that answers, lies, loops and is
//! silent.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kluis::casebook::Filter;
use kluis::identity::origin::{Origin, Outcome, Policy, Witness};
use kluis::inbox::Delivery;
use kluis::inbox::budget::Share;
use kluis::inbox::origin::{Checker, Settings};
use kluis::ledger::entry::Fact;
use kluis::letter::{Envelope, Source};
use kluis::secret::Personal;
use mail_auth::common::crypto::Ed25519Key;
use tokio::task::JoinSet;

use crate::mail_client::Client;
use crate::name_server::{Names, SLOW, Say, key, key_and_bytes, signed};
use crate::way::{count, runtime};
use crate::world::{MAILBOX, World};

fn settings(names: &Names) -> Settings {
    Settings {
        hostname: "mx.agency.example".into(),
        ask: true,
        upstream: String::new(),
        resolvers: vec![names.address],
        deadline: Duration::from_secs(3),
    }
}

/// A letter that comes from this address.
fn delivery(client: Option<&str>, mail_from: &str, raw: &[u8]) -> Delivery {
    Delivery {
        envelope: Envelope {
            mail_from: Personal::new(mail_from.to_owned()),
            rcpt_to: vec![Personal::new(MAILBOX.to_owned())],
            helo: Personal::new("mail.example.net".to_owned()),
            client: client.map(|client| Personal::new(client.to_owned())),
            source: Source::Smtp,
            tls: true,
        },
        raw: raw.to_vec(),
        trusted: client.is_none(),
        fetched: None,
        share: Share::default(),
    }
}

fn look(checker: &Checker, delivery: &Delivery) -> Option<Origin> {
    runtime().block_on(checker.look(delivery))
}

const RAW: &str = "From: Lotte <lotte@example.net>\r\nSubject: inzage\r\n\r\nDag\r\n";
const LOTTE: &str = "lotte@example.net";
const HERE: Option<&str> = Some("192.0.2.7");

#[test]
fn a_domain_that_stands_for_its_letter_is_found_to_by_spf_or_by_dkim() {
    let (key, public) = key();
    let names = Names::serve(&[
        ("example.net", Say::Text("v=spf1 ip4:192.0.2.0/24 -all".into())),
        ("_dmarc.example.net", Say::Text("v=DMARC1; p=reject".into())),
        ("k1._domainkey.example.net", Say::Text(public)),
    ]);
    let checker = Checker::new(settings(&names));
    let by_spf = look(&checker, &delivery(HERE, LOTTE, RAW.as_bytes())).expect("is looked at");
    assert_eq!(by_spf.by, Witness::Ourselves);
    assert_eq!((by_spf.spf, by_spf.dmarc), (Outcome::Pass, Outcome::Pass));
    assert_eq!((by_spf.policy, by_spf.finished), (Some(Policy::Reject), true));
    assert!(by_spf.is_aligned("example.net"));
    let raw = signed(key, "example.net", RAW.as_bytes(), true);
    // Even from elsewhere, and from a server of ours, whose own address says nothing.
    for client in [Some("198.51.100.1"), None] {
        let by_dkim = look(&checker, &delivery(client, LOTTE, &raw)).expect("is looked at");
        let expected = if client.is_some() { Outcome::Fail } else { Outcome::None };
        assert_eq!((by_dkim.spf, by_dkim.dmarc), (expected, Outcome::Pass));
        assert_eq!(by_dkim.dkim[0].outcome, Outcome::Pass);
        assert_eq!(by_dkim.dkim[0].domain.expose(), "example.net");
    }
    // A changed letter, and one of somebody else.
    let text = String::from_utf8(raw).expect("is text");
    for changed in [text.replace("Dag", "Geef"), text.replace("inzage", "wissen")] {
        let found = look(&checker, &delivery(None, LOTTE, changed.as_bytes())).expect("looked at");
        assert_eq!(found.dkim[0].outcome, Outcome::Fail);
        assert!(!found.is_aligned("example.net"));
    }
    let raw = RAW.replace("lotte@example.net", "jan@other.example");
    let found = look(&checker, &delivery(HERE, LOTTE, raw.as_bytes())).expect("is looked at");
    assert_eq!(found.spf, Outcome::Pass);
    assert!(!found.is_aligned("other.example") && !found.is_aligned("example.net"));
}

/// Two readers of a header that see two authors: `Fr om` is From to one of them, and a line that is no
/// field ends the header for it.
#[test]
fn a_letter_with_two_faces_is_nobodys() {
    let (_, key, public) = key_and_bytes();
    let names = Names::serve(&[
        ("k1._domainkey.evil.example", Say::Text(public)),
        ("_dmarc.evil.example", Say::Text("v=DMARC1; p=reject".into())),
    ]);
    let checker = Checker::new(settings(&names));
    let body = "Dag\r\n";
    for hidden in ["Fr om: x@evil.example\r\n", "From : x@evil.example\r\n"] {
        for between in ["", "junk\r\n"] {
            let honest = format!("From: x@evil.example\r\nSubject: x\r\n\r\n{body}");
            let key = Ed25519Key::from_pkcs8_der(&key).expect("reads");
            let header = String::from_utf8(signed(key, "evil.example", honest.as_bytes(), true))
                .expect("text");
            let (signature, _) = header.split_once("From:").expect("is signed");
            let raw = format!(
                "{hidden}{signature}{between}From: lotte@example.net\r\nSubject: x\r\n\r\n{body}"
            );
            let found = look(&checker, &delivery(HERE, LOTTE, raw.as_bytes()));
            let aligned = found.is_some_and(|found| found.is_aligned("example.net"));
            assert!(!aligned, "{raw}");
        }
    }
}

#[test]
fn a_letter_without_a_signature_from_a_server_of_ours_is_not_asked_about() {
    let names = Names::serve(&[]);
    let checker = Checker::new(settings(&names));
    assert_eq!(look(&checker, &delivery(None, LOTTE, RAW.as_bytes())), None);
    assert_eq!(names.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn a_signature_that_leaves_the_end_open_or_is_one_of_too_many_counts_for_nothing() {
    let (key, public) = key();
    let names = Names::serve(&[("k1._domainkey.example.net", Say::Text(public))]);
    let checker = Checker::new(settings(&names));
    let raw = signed(key, "example.net", RAW.as_bytes(), false);
    let found = look(&checker, &delivery(None, LOTTE, &raw)).expect("is looked at");
    assert_eq!(found.dkim, []);
    assert!(!found.is_aligned("example.net"));
    let asked = names.asked.load(Ordering::Relaxed);
    let many = "DKIM-Signature: v=1; d=example.net; s=k1\r\n".repeat(11);
    let raw = [many.as_bytes(), &raw].concat();
    let found = look(&checker, &delivery(None, LOTTE, &raw)).expect("is looked at");
    assert!(!found.finished && !found.is_aligned("example.net"));
    assert_eq!(names.asked.load(Ordering::Relaxed), asked);
}

#[test]
fn no_answer_of_a_hostile_server_makes_a_pass_or_takes_longer_than_the_deadline() {
    let spf = "v=spf1 ip4:192.0.2.0/24 -all";
    let includes = |n: usize| {
        let all: Vec<String> = (0..n).map(|n| format!("include:i{n}.example.net")).collect();
        Say::Text(format!("v=spf1 {} ip4:192.0.2.0/24 -all", all.join(" ")))
    };
    let cases: Vec<(&str, Vec<(&str, Say)>)> = vec![
        ("nothing there", vec![]),
        ("silent", vec![("example.net", Say::Nothing)]),
        ("refused", vec![("example.net", Say::Fail)]),
        ("garbage", vec![("example.net", Say::Garbage)]),
        ("another number", vec![("example.net", Say::Other(spf.into()))]),
        ("a loop of aliases", vec![("example.net", Say::Alias("example.net".into()))]),
        (
            "includes itself",
            vec![("example.net", Say::Text("v=spf1 include:example.net -all".into()))],
        ),
        ("includes too many", vec![("example.net", includes(30))]),
        ("not a record", vec![("example.net", Say::Text("v=spf1 \u{7f}\0 ip4:x/99".into()))]),
        (
            "a macro without end",
            vec![("example.net", Say::Text(format!("v=spf1 exists:{} -all", "%{l}".repeat(60))))],
        ),
        (
            "dmarc silent",
            vec![("example.net", Say::Text(spf.into())), ("_dmarc.example.net", Say::Nothing)],
        ),
        (
            "dmarc refused",
            vec![("example.net", Say::Text(spf.into())), ("_dmarc.example.net", Say::Fail)],
        ),
        (
            "dmarc wants strict",
            vec![
                ("example.net", Say::Text("v=spf1 -all".into())),
                ("mail.example.net", Say::Text(spf.into())),
                ("_dmarc.example.net", Say::Text("v=DMARC1; p=reject; aspf=s".into())),
            ],
        ),
    ];
    for (name, zone) in cases {
        let names = Names::serve(&zone);
        let checker = Checker::new(settings(&names));
        let begun = Instant::now();
        let found = look(&checker, &delivery(HERE, LOTTE, RAW.as_bytes())).expect("is looked at");
        let took = begun.elapsed();
        println!(
            "{name}: spf {:?}, dmarc {:?}, {took:.1?}, {} questions",
            found.spf,
            found.dmarc,
            names.asked.load(Ordering::Relaxed)
        );
        assert!(!found.is_aligned("example.net"), "{name}: {found:?}");
        assert!(took < Duration::from_secs(8), "{name}: {took:?}");
        assert!(names.asked.load(Ordering::Relaxed) < 200, "{name}");
    }
}

/// A zone in which example.net stands for its letters from [`HERE`], and these names do not answer.
fn with_silent(names: usize) -> Vec<(String, Say)> {
    let mut zone: Vec<(String, Say)> =
        (0..names).map(|n| (format!("s{n}.example"), Say::Nothing)).collect();
    let honest = Say::Text("v=spf1 ip4:192.0.2.0/24 -all".into());
    zone.push(("example.net".into(), honest));
    zone.push(("_dmarc.example.net".into(), Say::Text("v=DMARC1; p=reject".into())));
    zone
}

fn serve(zone: &[(String, Say)]) -> Names {
    let zone: Vec<(&str, Say)> =
        zone.iter().map(|(name, say)| (name.as_str(), say.clone())).collect();
    Names::serve(&zone)
}

/// The letter number `n` of a sender whose name server says nothing, from this address.
fn silent(client: &str, n: usize) -> Delivery {
    let from = format!("x@s{n}.example");
    delivery(Some(client), &from, RAW.replace(LOTTE, &from).as_bytes())
}

/// Looks at all of these together, and at one that is honest once the first of them are under way;
/// says how it went with both, and how long the honest one took.
async fn together(
    checker: &Arc<Checker>,
    names: &Names,
    letters: Vec<Delivery>,
    under_way: usize,
) -> (Vec<Option<Origin>>, Option<Origin>, Duration) {
    let mut looks = JoinSet::new();
    for letter in letters {
        let checker = Arc::clone(checker);
        looks.spawn(async move { checker.look(&letter).await });
    }
    while names.asked.load(Ordering::Relaxed) < under_way {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    let honest = checker.look(&delivery(HERE, LOTTE, RAW.as_bytes())).await;
    let took = begun.elapsed();
    (looks.join_all().await, honest, took)
}

/// What is said of a letter that nobody answered for in its time.
fn assert_unfinished(found: &[Option<Origin>]) {
    for found in found {
        let found = found.as_ref().expect("is said to have been asked about");
        assert!(!found.finished && found.dmarc == Outcome::TempError, "{found:?}");
    }
}

#[test]
fn a_letter_that_finds_no_place_in_its_time_is_said_to_be_unfinished() {
    const PLACES: usize = 32;
    let names = serve(&with_silent(PLACES + 1));
    let checker = Arc::new(Checker::new(settings(&names)));
    let letters = (0..=PLACES).map(|n| silent(&format!("198.51.100.{n}"), n)).collect();
    runtime().block_on(async {
        let begun = Instant::now();
        let (found, _, _) = together(&checker, &names, letters, PLACES).await;
        assert_eq!(found.len(), PLACES + 1);
        assert_unfinished(&found);
        assert!(begun.elapsed() < Duration::from_secs(8), "nobody waits beyond its time");
        let found = checker.look(&delivery(HERE, LOTTE, RAW.as_bytes())).await;
        let found = found.expect("is looked at");
        assert!(found.finished && found.is_aligned("example.net"), "{found:?}");
    });
}

#[test]
fn whose_name_server_is_silent_holds_up_nobody_elses_letters() {
    for client in ["198.51.100.7", "2001:db8::7"] {
        let names = serve(&with_silent(40));
        let checker = Arc::new(Checker::new(settings(&names)));
        let letters = (0..40).map(|n| silent(client, n)).collect();
        let (found, honest, took) = runtime().block_on(together(&checker, &names, letters, 8));
        let honest = honest.expect("is looked at");
        println!("beside 40 of one client that wait, one of another took {took:.1?}");
        assert!(honest.finished && honest.is_aligned("example.net"), "{honest:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_unfinished(&found);
    }
}

#[test]
fn whatever_a_header_holds_it_is_looked_at_without_harm() {
    let names = Names::serve(&[]);
    let checker = Checker::new(settings(&names));
    let signature =
        "DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=k1; h=From; bh=AAAA; b=AAAA";
    for header in [
        String::new(),
        "From: <>\r\n".into(),
        format!("From: {}\r\n", "<".repeat(60_000)),
        format!("From: {}x@y\r\n", "(".repeat(60_000)),
        format!("{signature}{}\r\n", "; x=y".repeat(20_000)),
        format!("{signature}; h={}\r\n", "From:".repeat(20_000)),
        format!("DKIM-Signature: {}\r\n", "=;".repeat(30_000)),
        "DKIM-Signature:\r\n".into(),
        format!("{signature}; l=99999999999999999999; t=x; x=y; z==\r\n"),
        "X: y\r\n".repeat(40_000),
        "\0: \0\r\n\u{ff}\r\n".into(),
    ] {
        let raw = format!("{header}\r\nDag\r\n");
        let begun = Instant::now();
        let found = look(&checker, &delivery(HERE, LOTTE, raw.as_bytes())).expect("is looked at");
        assert!(!found.is_aligned("example.net"));
        assert!(begun.elapsed() < Duration::from_secs(8));
    }
}

/// The key of a domain's letters as a hostile server gives it, or does not.
#[test]
fn a_signed_letter_whose_key_a_hostile_server_has_passes_in_no_way_and_holds_up_no_other() {
    let (_, bytes, public) = key_and_bytes();
    let sign = |domain: &str, raw: &str| {
        let key = Ed25519Key::from_pkcs8_der(&bytes).expect("reads");
        signed(key, domain, raw.as_bytes(), true)
    };
    let evil = RAW.replace(LOTTE, "x@evil.example");
    let long = |text: &str| format!("v=DKIM1; k=ed25519; p={}", text.repeat(65_000 / text.len()));
    let kinds = [
        ("nothing there", None),
        ("silent", Some(Say::Nothing)),
        ("refused", Some(Say::Fail)),
        ("garbage", Some(Say::Garbage)),
        ("under another number", Some(Say::Other(public.clone()))),
        ("a loop of aliases", Some(Say::Alias("k1._domainkey.evil.example".into()))),
        ("an alias of nothing", Some(Say::Alias("nowhere.evil.example".into()))),
        ("64 KB over UDP", Some(Say::Text(long("A")[..60_000].into()))),
        ("64 KB over TCP", Some(Say::Long(long("A")))),
        ("64 KB of fields", Some(Say::Long(long("; p=")))),
        ("too long, and TCP hangs", Some(Say::Hangs)),
    ];
    for (name, say) in kinds {
        let mut zone = vec![
            ("_dmarc.evil.example", Say::Text("v=DMARC1; p=reject".into())),
            ("_dmarc.example.net", Say::Text("v=DMARC1; p=reject".into())),
            ("k1._domainkey.example.net", Say::Text(public.clone())),
        ];
        zone.extend(say.map(|say| ("k1._domainkey.evil.example", say)));
        let names = Names::serve(&zone);
        let checker = Checker::new(settings(&names));
        runtime().block_on(async {
            let begun = Instant::now();
            let evil = delivery(None, "x@evil.example", &sign("evil.example", &evil));
            let found = checker.look(&evil).await.expect("is looked at");
            let took = begun.elapsed();
            let asked = names.asked.load(Ordering::Relaxed);
            let outcome = found.dkim.first().map(|signature| signature.outcome);
            println!("{name}: {outcome:?}, dmarc {:?}, {took:.1?}, {asked} questions", found.dmarc);
            assert!(!found.is_aligned("evil.example"), "{name}: {found:?}");
            assert!(!found.is_aligned("example.net"), "{name}: {found:?}");
            assert!(took < Duration::from_secs(5), "{name}: {took:?}");
            assert!(asked < 50, "{name}: {asked}");
            let begun = Instant::now();
            let honest = delivery(None, LOTTE, &sign("example.net", RAW));
            let found = checker.look(&honest).await.expect("is looked at");
            assert!(found.finished && found.is_aligned("example.net"), "{name}: {found:?}");
            assert!(begun.elapsed() < Duration::from_secs(2), "{name}");
        });
    }
    // What it would have been with a server that answers.
    let names = Names::serve(&[("k1._domainkey.evil.example", Say::Text(public.clone()))]);
    let checker = Checker::new(settings(&names));
    let letter = delivery(None, "x@evil.example", &sign("evil.example", &evil));
    assert!(look(&checker, &letter).expect("is looked at").is_aligned("evil.example"));
}

#[test]
fn ten_signatures_with_slow_key_servers_stay_within_the_deadline_of_the_letter() {
    let (_, bytes, public) = key_and_bytes();
    let sign = |domain: &str, raw: &[u8]| {
        signed(Ed25519Key::from_pkcs8_der(&bytes).expect("reads"), domain, raw, true)
    };
    let domains: Vec<String> = (0..10).map(|n| format!("d{n}.evil.example")).collect();
    let raw = RAW.replace(LOTTE, "x@d0.evil.example").into_bytes();
    let raw = domains.iter().fold(raw, |raw, domain| sign(domain, &raw));
    let says: [(&str, Say, bool); 4] = [
        ("at once", Say::Text(public.clone()), true),
        ("slow", Say::Slow(public.clone()), false),
        ("silent", Say::Nothing, false),
        ("hang", Say::Hangs, false),
    ];
    for (name, say, is_quick) in says {
        let mut zone: Vec<(String, Say)> =
            domains.iter().map(|domain| (format!("k1._domainkey.{domain}"), say.clone())).collect();
        zone.push(("k1._domainkey.example.net".into(), Say::Text(public.clone())));
        let names = serve(&zone);
        let checker = Checker::new(settings(&names));
        runtime().block_on(async {
            let begun = Instant::now();
            let letter = delivery(None, "x@d0.evil.example", &raw);
            let found = checker.look(&letter).await.expect("is looked at");
            let took = begun.elapsed();
            let passed = found.dkim.iter().filter(|one| one.outcome == Outcome::Pass).count();
            println!("ten keys, {name}: {passed} passed, finished {}, {took:.1?}", found.finished);
            assert!(took < settings(&names).deadline + Duration::from_secs(1), "{name}: {took:?}");
            assert_eq!((found.finished, passed == 10), (is_quick, is_quick), "{name}");
            assert_eq!(found.is_aligned("d0.evil.example"), is_quick, "{name}");
            let honest = delivery(None, LOTTE, &sign("example.net", RAW.as_bytes()));
            let found = checker.look(&honest).await.expect("is looked at");
            assert!(found.finished && found.is_aligned("example.net"), "{name}: {found:?}");
        });
    }
    assert!(SLOW * 10 > Duration::from_secs(3), "one after the other they take longer");
}

#[test]
fn a_letter_from_outside_is_judged_before_it_is_sealed_and_its_sender_told() {
    let names = Names::serve(&[
        ("example.net", Say::Text("v=spf1 ip4:127.0.0.1 -all".into())),
        ("_dmarc.example.net", Say::Text("v=DMARC1; p=quarantine".into())),
    ]);
    let world = World::found();
    let file = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&file).expect("is read");
    let text = text
        .replace("resolvers = []", &format!("resolvers = [\"{}\"]", names.address))
        .replace("trusted = [\"127.0.0.0/8\", \"::1/128\"]", "trusted = []");
    assert!(text.contains("trusted = []"));
    std::fs::write(&file, text).expect("is written");
    let runtime = runtime();
    let server = runtime.block_on(world.serve());
    for (from, raw) in [
        (LOTTE, RAW.to_owned()),
        ("jan@other.example", RAW.replace("lotte@example.net", "jan@other.example")),
    ] {
        let mut sender = Client::greet(server.smtp(), false).expect("greets");
        let answers = sender.send(from, &[MAILBOX], raw.as_bytes()).expect("answers");
        assert_eq!(answers[0].code, 250);
    }
    for _ in 0..3000 {
        if count(&server, Fact::NoticeEnded) == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(count(&server, Fact::NoticeEnded), 1);
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let mut found: Vec<_> = cases
        .iter()
        .map(|case| {
            let detail = case.letters[0].detail.as_ref().expect("opens");
            let origin = detail.origin.as_ref().expect("was looked at");
            (origin.author.expose().clone(), origin.dmarc, detail.silence.is_none())
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        found,
        [
            ("example.net".into(), Outcome::Pass, true),
            ("other.example".into(), Outcome::None, false),
        ]
    );
    drop(anna);
    runtime.block_on(server.stop());
    assert_eq!(world.delivered().len(), 1);
}
