//! Notices: who gets one, that each goes out once at most, that nothing loops, and that a bounce
//! changes nothing but what it may.

use std::sync::Arc;

use kluis::case::notice::Silence;
use kluis::casebook::{Bringer, Filter, Handed, Mail, Receipt};
use kluis::gateway::Gateway;
use kluis::identity::origin::{Origin, Outcome, Witness};
use kluis::identity::people::table;
use kluis::ids::CaseId;
use kluis::ledger::entry::{Entry, Fact};
use kluis::letter::{Envelope, Letter, Source};
use kluis::reply::Outgoing;
use kluis::secret::Personal;
use tokio::runtime::Runtime;

use crate::mail_client::Client as Sender;
use crate::way::{count, deliver_from, runtime};
use crate::world::{MAILBOX, World};

/// 2 November 2026, ten in the morning in Brussels.
pub(crate) const START: u64 = 1_793_610_000;
pub(crate) const MX: &str = "mx.agency.example";
const LOTTE: &str = "lotte@example.net";

/// From the next start on the word of a server in front counts.
pub(crate) fn believe(world: &World) {
    let file = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&file).expect("is read");
    assert!(text.contains("upstream = \"\""));
    let text = text.replace("upstream = \"\"", &format!("upstream = \"{MX}\""));
    std::fs::write(&file, text).expect("is written");
}

/// A letter that the server in front has found to be from whom it says.
pub(crate) fn letter_from(from: &str, id: &str, fields: &str, text: &str) -> Vec<u8> {
    let domain = from.rsplit('@').next().expect("a domain");
    format!(
        "Authentication-Results: {MX}; dmarc=pass header.from={domain}\r\n\
         From: <{from}>\r\nTo: <{MAILBOX}>\r\nSubject: vraag\r\nMessage-ID: <{id}@{domain}>\r\n\
         {fields}\r\n{text}\r\n"
    )
    .into_bytes()
}

/// The mails that went out, and whom to.
fn sent(world: &World) -> Vec<(String, String)> {
    let to = |envelope: &serde_json::Value| envelope["forward_path"][0].as_str().map(str::to_owned);
    let text = |mail: Vec<u8>| String::from_utf8(mail).expect("is text");
    world.delivered().into_iter().map(|(m, e)| (to(&e).expect("one"), text(m))).collect()
}

fn facts(entries: &[Entry]) -> Vec<Fact> {
    let is_one =
        |fact: &Fact| matches!(fact, Fact::NoticeDue | Fact::NoticeSending | Fact::NoticeEnded);
    entries.iter().map(|entry| entry.kind).filter(is_one).collect()
}

pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{what}: not within half a minute");
}

#[test]
fn whoever_opens_a_case_is_told_its_number_and_its_date_once_and_in_their_language() {
    let (world, runtime) = (World::found(), runtime());
    believe(&world);
    let server = runtime.block_on(world.serve());
    let raw = letter_from(LOTTE, "1", "", "Bonjour, je souhaite accéder à mes données, merci.");
    assert_eq!(deliver_from(&server, LOTTE, &raw), [250]);
    wait_for("it is told", || count(&server, Fact::NoticeEnded) == 1);
    let [(to, mail)] = &sent(&world)[..] else { panic!("one mail") };
    assert_eq!(to, LOTTE);
    assert!(mail.contains("\r\nAuto-Submitted: auto-replied\r\n"));
    assert!(mail.contains("\r\nIn-Reply-To: <1@example.net>\r\n"));
    let mut anna = world.log_in("anna").expect("logs in");
    let case = anna.queue(Filter::All).expect("lists").remove(0);
    assert!(mail.contains(&format!("\r\nSubject: [{}]\r\n", case.card.case)));
    assert_eq!(case.card.notices, (1, 0, 0));
    let read = Letter::parse(mail.as_bytes());
    let text = read.items[0].text.as_ref().expect("has a text").expose();
    assert!(text.contains("Nous avons bien reçu votre message"), "{text}");
    // What comes again, and what joins the case, is not answered again.
    assert_eq!(deliver_from(&server, LOTTE, &raw), [250]);
    let id = read.headers.message_id.expect("has one");
    let joins = letter_from(LOTTE, "2", &format!("In-Reply-To: <{}>\r\n", id.expose()), "Merci");
    assert_eq!(deliver_from(&server, LOTTE, &joins), [250]);
    drop(anna);
    runtime.block_on(server.stop());
    let all = world.open().casebook.store().entries(0, usize::MAX).expect("reads");
    assert_eq!(facts(&all), [Fact::NoticeDue, Fact::NoticeSending, Fact::NoticeEnded]);
    assert_eq!(sent(&world).len(), 1);
}

#[test]
fn whoever_writes_to_another_address_of_ours_is_told_too() {
    const OTHER: &str = "privacy@jobexpert.be";
    let (world, runtime) = (World::found(), runtime());
    believe(&world);
    let file = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&file).expect("is read");
    let (one, both) = (
        format!("addresses = [\"{MAILBOX}\"]"),
        format!("addresses = [\"{MAILBOX}\", \"{OTHER}\"]"),
    );
    assert!(text.contains(&one), "{text}");
    std::fs::write(&file, text.replace(&one, &both)).expect("is written");
    let server = runtime.block_on(world.serve());
    let raw = letter_from(LOTTE, "1", "", "Goedemorgen, ik wil mijn gegevens inzien.");
    let raw = String::from_utf8(raw).expect("is text").replace(MAILBOX, OTHER).into_bytes();
    let mut sender = Sender::greet(server.smtp(), false).expect("greets");
    let answers = sender.send(LOTTE, &[OTHER], &raw).expect("answers");
    assert_eq!(answers.iter().map(|answer| answer.code).collect::<Vec<_>>(), [250]);
    wait_for("it is told", || count(&server, Fact::NoticeEnded) == 1);
    let [(to, mail)] = &sent(&world)[..] else { panic!("one mail") };
    assert_eq!(to, LOTTE);
    // From where answers come from, whichever address it was.
    assert!(mail.contains(MAILBOX) && !mail.contains(OTHER), "{mail}");
    assert!(mail.contains("\r\nIn-Reply-To: <1@example.net>\r\n"), "{mail}");
    runtime.block_on(server.stop());
}

#[test]
fn an_odd_message_id_is_not_repeated_and_an_address_no_mail_can_be_written_to_is_said() {
    let (world, runtime) = (World::found(), runtime());
    believe(&world);
    let server = runtime.block_on(world.serve());
    let odd = letter_from(LOTTE, "a b(\u{e9})", "", "Dag");
    assert_eq!(deliver_from(&server, LOTTE, &odd), [250]);
    wait_for("it is told", || count(&server, Fact::NoticeEnded) == 1);
    assert!(!sent(&world)[0].1.contains("In-Reply-To"));
    let address = "lotte@example_.net";
    assert_eq!(deliver_from(&server, address, &letter_from(address, "2", "", "Dag")), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let why = cases.iter().map(|case| case.letters[0].detail.as_ref().expect("opens").silence);
    assert_eq!(why.flatten().collect::<Vec<_>>(), [Silence::Unwritable]);
    drop(anna);
    runtime.block_on(server.stop());
    assert_eq!(sent(&world).len(), 1);
}

#[test]
fn who_may_not_be_told_has_a_case_all_the_same_and_staff_see_why() {
    let (world, runtime) = (World::found(), runtime());
    believe(&world);
    let server = runtime.block_on(world.serve());
    let forged = "Authentication-Results: mx.evil.example; dmarc=pass header.from=example.net\r\n\
                  From: <lotte@example.net>\r\nMessage-ID: <f@example.net>\r\n\r\nDag\r\n";
    let letters: [(&str, Vec<u8>); 4] = [
        (LOTTE, letter_from(LOTTE, "1", "Auto-Submitted: auto-generated\r\n", "Dag")),
        (LOTTE, letter_from(LOTTE, "2", "List-Id: <all.example.net>\r\n", "Dag")),
        ("", letter_from(LOTTE, "3", "", "Dag")),
        (LOTTE, forged.into()),
    ];
    for (from, raw) in &letters {
        assert_eq!(deliver_from(&server, from, raw), [250]);
    }
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    assert_eq!(cases.len(), letters.len());
    for case in &cases {
        let detail = case.letters[0].detail.as_ref().expect("opens");
        assert!(detail.silence.is_some());
    }
    drop(anna);
    runtime.block_on(server.stop());
    assert!(sent(&world).is_empty());
    assert!(
        facts(&world.open().casebook.store().entries(0, usize::MAX).expect("reads")).is_empty()
    );
}

#[cfg(kluis_lab)]
#[test]
fn a_crash_while_a_notice_is_handed_over_leaves_it_unknown_and_never_sends_it_twice() {
    for (step, left) in [("notice:begun:1", 0), ("notice:handed-over:1", 1)] {
        let world = World::found();
        believe(&world);
        let mut server = world.spawn(&[("KLUIS_LAB_KILL", step)]);
        let mut sender =
            crate::mail_client::Client::greet(server.smtp.expect("serves"), false).expect("greets");
        let raw = letter_from(LOTTE, "1", "", "Dag");
        let _ = sender.send(LOTTE, &[MAILBOX], &raw);
        let ended = server.ended_within(std::time::Duration::from_secs(30));
        assert!(ended.is_some(), "{step} is not reached");
        let runtime = runtime();
        for _ in 0..2 {
            let server = runtime.block_on(world.serve());
            wait_for("it is settled", || count(&server, Fact::NoticeEnded) == 1);
            let mut anna = world.log_in("anna").expect("logs in");
            let case = anna.queue(Filter::All).expect("lists").remove(0);
            assert_eq!(case.card.notices, (0, 0, 1), "{step}");
            drop(anna);
            runtime.block_on(server.stop());
        }
        assert_eq!(sent(&world).len(), left, "{step}");
    }
}

/// A vault whose letters come from nowhere: its time stands still until it is opened anew, or moves as
/// whoever opened it says.
pub(crate) struct Quiet {
    pub(crate) gateway: Gateway,
    pub(crate) runtime: Runtime,
}

impl Quiet {
    fn open(world: &World) -> Self {
        Self::of(world.open())
    }

    pub(crate) fn of(gateway: Gateway) -> Self {
        gateway.casebook.tell(true, vec![MAILBOX.to_owned()]);
        Self { gateway, runtime: runtime() }
    }

    /// Takes a letter whose domain stands for it.
    pub(crate) fn take(&self, mail_from: &str, raw: &[u8]) -> Receipt {
        let letter = Letter::parse(raw);
        let author = letter.headers.from.first().map(|from| from.address.expose().clone());
        let domain = author.unwrap_or_default().rsplit('@').next().unwrap_or_default().to_owned();
        let origin = Origin {
            spf: Outcome::Pass,
            dmarc: Outcome::Pass,
            ..Origin::unknown(Witness::Ourselves, domain)
        };
        let envelope = Envelope {
            mail_from: Personal::new(mail_from.to_owned()),
            rcpt_to: vec![Personal::new(MAILBOX.to_owned())],
            helo: Personal::new("mx.example.net".to_owned()),
            client: None,
            source: Source::Smtp,
            tls: true,
        };
        let mail = Mail {
            envelope,
            raw: raw.to_vec(),
            origin: Some(origin),
            fetched: None,
            bringer: Bringer::of(&[]),
        };
        let casebook = Arc::clone(&self.gateway.casebook);
        self.runtime.block_on(casebook.receive(mail)).expect("is kept")
    }

    /// Hands over what is due: whom to, and the message.
    pub(crate) fn hand_over(&self) -> Vec<(String, Vec<u8>)> {
        let casebook = &self.gateway.casebook;
        let mut mails = Vec::new();
        for due in casebook.unfinished() {
            assert!(due.is_notice);
            let bytes = casebook.mail(&due).expect("opens");
            let mail: Outgoing = minicbor::decode(&bytes).expect("is a mail");
            assert!(mail.is_notice() && mail.envelope_from().expose().is_empty());
            casebook.begin_notice(&due).expect("is noted");
            casebook.end_notice(&due, Handed::Taken).expect("is noted");
            mails.push((mail.envelope_to().expose().clone(), mail.mail().to_vec()));
        }
        mails
    }

    fn cases(&self) -> usize {
        let opened = |entry: &&Entry| entry.kind == Fact::CaseOpened;
        let all = self.gateway.casebook.store().entries(0, usize::MAX).expect("reads");
        all.iter().filter(opened).count()
    }
}

/// A report on the mail with this id.
fn report(id: &str, action: &str) -> Vec<u8> {
    format!(
        "From: MAILER-DAEMON@mx.example.net\r\nTo: <{MAILBOX}>\r\nSubject: Undelivered\r\n\
         Message-ID: <dsn@mx.example.net>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\n\r\nIt did not work.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example.net\r\n\r\nFinal-Recipient: rfc822; {LOTTE}\r\n\
         Action: {action}\r\nStatus: 5.1.1\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n\
         Subject: x\r\nMessage-ID: <{id}>\r\n\r\n--b--\r\n"
    )
    .into_bytes()
}

#[test]
fn a_bounce_joins_the_case_whose_mail_it_names_and_is_told_to_staff_alone() {
    let world = World::found_at(START);
    let quiet = Quiet::open(&world);
    let case = quiet.take(LOTTE, &letter_from(LOTTE, "1", "", "Dag")).case;
    let (_, notice) = quiet.hand_over().remove(0);
    let id = Letter::parse(&notice).headers.message_id.expect("has one").expose().clone();
    let late = quiet.take("", &report(&id, "delayed"));
    let bounce = quiet.take("", &report(&id, "failed"));
    assert_eq!((late.case, bounce.case), (case, case));
    let cards = || quiet.gateway.casebook.listing(kluis::ids::StaffId(1), Filter::All);
    let card = |case: CaseId| {
        let mut cards = cards().expect("lists").into_iter();
        cards.find(|card| card.case == case).expect("is there")
    };
    assert_eq!((card(case).returned, card(case).letters.len()), (1, 3));
    assert!(quiet.hand_over().is_empty(), "nothing is mailed for a bounce");
    assert_eq!(quiet.cases(), 1);
    // Its sender may not join later by the number alone.
    let subject = format!("Subject: [{case}]\r\n");
    let stranger = letter_from("MAILER-DAEMON@mx.example.net", "9", &subject, "Dag");
    assert_ne!(quiet.take("MAILER-DAEMON@mx.example.net", &stranger).case, case);
}

#[test]
fn a_person_who_encloses_a_bounce_asks_for_something_all_the_same() {
    let world = World::found_at(START);
    let quiet = Quiet::open(&world);
    let raw = format!(
        "From: {LOTTE}\r\nTo: <{MAILBOX}>\r\nSubject: inzage\r\nMessage-ID: <7@example.net>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\n\
         Mijn vraag kwam terug.\r\n--m\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example.net\r\n\r\nFinal-Recipient: rfc822; x@y.example\r\n\
         Action: failed\r\nStatus: 5.1.1\r\n\r\n--m--\r\n"
    );
    quiet.take(LOTTE, raw.as_bytes());
    assert_eq!((quiet.cases(), quiet.hand_over().len()), (1, 1));
}

#[test]
fn a_forged_bounce_changes_nothing_whichever_bit_of_its_id_is_flipped() {
    let world = World::found_at(START);
    let quiet = Quiet::open(&world);
    let case = quiet.take(LOTTE, &letter_from(LOTTE, "1", "", "Dag")).case;
    let (_, notice) = quiet.hand_over().remove(0);
    let id = Letter::parse(&notice).headers.message_id.expect("has one").expose().clone();
    let (local, domain) = id.split_once('@').expect("an id");
    let (named, mac) = local.rsplit_once('.').expect("a MAC");
    let bytes = data_encoding::BASE32_NOPAD.decode(mac.to_uppercase().as_bytes()).expect("base32");
    let cards = || quiet.gateway.casebook.listing(kluis::ids::StaffId(1), Filter::All);
    let mut filed = std::collections::BTreeSet::new();
    for bit in 0..8 * bytes.len() {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let mac = data_encoding::BASE32_NOPAD.encode(&forged).to_lowercase();
        filed.insert(quiet.take("", &report(&format!("{named}.{mac}@{domain}"), "failed")).case);
    }
    assert!(!filed.contains(&case));
    assert_eq!(filed.len(), 1, "what belongs to no case lies together");
    let cards = cards().expect("lists");
    let ours = cards.iter().find(|card| card.case == case).expect("is there");
    assert_eq!((ours.returned, ours.letters.len(), ours.closed), (0, 1, None));
    let reports = cards.iter().find(|card| filed.contains(&card.case)).expect("is there");
    assert!(reports.is_reports && reports.closed.is_some());
    assert_eq!(reports.letters.len(), 8 * bytes.len());
    assert!(quiet.hand_over().is_empty());
    assert_eq!(quiet.cases(), 1);
    let open = quiet.gateway.casebook.listing(kluis::ids::StaffId(1), Filter::Open);
    assert_eq!(open.expect("lists").len(), 1, "reports are no work");
}

#[test]
fn budgets_are_read_from_the_ledger_after_every_start() {
    let mut world = World::found_at(START);
    let mut told = Vec::new();
    for day in 0..10 {
        world.set_time(START + day * 86_400);
        let quiet = Quiet::open(&world);
        for n in 0..4 {
            quiet.take(LOTTE, &letter_from(LOTTE, &format!("{day}-{n}"), "", "Dag"));
        }
        told.push(quiet.hand_over().len());
    }
    assert_eq!(told, [2, 0, 0, 0, 0, 0, 0, 0, 0, 0], "who writes on gets no more");
    world.set_time(START + (9 + 30) * 86_400);
    let quiet = Quiet::open(&world);
    for n in 0..4 {
        quiet.take(LOTTE, &letter_from(LOTTE, &format!("late-{n}"), "", "Dag"));
    }
    assert_eq!(quiet.hand_over().len(), 2, "whoever rested thirty days does");
}

/// The mail with what is drawn for it left out: ids, the number of the case.
fn without_ids(mail: &str, case: &str) -> String {
    let is_drawn = |line: &&str| !line.starts_with("Message-ID:") && !line.starts_with("Date:");
    mail.replace(case, "K-").split("\r\n").filter(is_drawn).collect::<Vec<_>>().join("\n")
}

#[test]
fn who_is_on_file_and_who_is_not_get_the_same_notice_and_the_ledger_says_the_same() {
    let told = |is_known: bool| {
        let (world, runtime) = (World::found_at(START), runtime());
        believe(&world);
        let server = runtime.block_on(world.serve());
        let mut anna = world.log_in("anna").expect("logs in");
        let email = if is_known { LOTTE } else { "jan@example.net" };
        let list = format!("naam;e-mail\nLotte Peeters;{email}\n");
        let people = table::parse(list.as_bytes()).expect("a list").people;
        anna.import_people(&people).expect("is taken");
        let raw = letter_from(LOTTE, "1", "", "Ik wil weten wat u over mij hebt.");
        assert_eq!(deliver_from(&server, LOTTE, &raw), [250]);
        wait_for("it is told", || count(&server, Fact::NoticeEnded) == 1);
        let case = anna.queue(Filter::All).expect("lists").remove(0).card.case.to_string();
        drop(anna);
        runtime.block_on(server.stop());
        let all = world.open().casebook.store().entries(0, usize::MAX).expect("reads");
        let told = all.iter().filter(|entry| entry.case.is_some());
        let told: Vec<_> = told.map(|entry| (entry.kind, entry.size, entry.due_one)).collect();
        let [(to, mail)] = &sent(&world)[..] else { panic!("one mail") };
        (to.clone(), without_ids(mail, &case), told)
    };
    let (known, unknown) = (told(true), told(false));
    assert!(known.1.contains("Wij hebben uw bericht ontvangen"));
    assert_eq!(known, unknown);
}

#[test]
fn from_no_address_of_ours_does_a_letter_bring_a_notice() {
    let (world, runtime) = (World::found(), runtime());
    believe(&world);
    let file = world.state().join("kluis.toml");
    let text = std::fs::read_to_string(&file).expect("is read");
    assert!(text.contains("published = []"));
    let text = text.replace("published = []", "published = [\"privcay@example.net\"]");
    std::fs::write(&file, text).expect("is written");
    let server = runtime.block_on(world.serve());
    for (nr, from) in ["privcay@example.net", "Privcay+x@example.net"].iter().enumerate() {
        let raw = letter_from(from, &nr.to_string(), "", "Dag");
        assert_eq!(deliver_from(&server, from, &raw), [250]);
    }
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let why = cases.iter().map(|case| case.letters[0].detail.as_ref().expect("opens").silence);
    assert_eq!(why.collect::<Vec<_>>(), [Some(Silence::Ours), Some(Silence::Ours)]);
    drop(anna);
    runtime.block_on(server.stop());
    assert!(sent(&world).is_empty());
}
