//! A notice and a mail server that fails, over real SMTP: what was refused for now goes out once, what
//! was refused for good never, and what nobody knows the end of never again, however often the server
//! is started anew.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use kluis::casebook::Filter;
use kluis::ids::CaseId;
use kluis::ledger::entry::{
    Entry, Fact, NOTICE_DEFERRED, NOTICE_REFUSED, NOTICE_TAKEN, NOTICE_UNKNOWN,
};
use tokio::runtime::Runtime;

use crate::notices::{believe, letter_from, wait_for};
use crate::way::{deliver_from, entries, runtime};
use crate::world::{Server, World};

const LOTTE: &str = "lotte@example.net";

/// What a mail server says of a mail to Lotte, instead of taking it; others' it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Takes,
    /// This to the connection.
    AtTheDoor(&'static str),
    /// This to MAIL, if it is the next one's turn; nobody else sends meanwhile.
    ToMail(&'static str),
    /// This to RCPT.
    ToRecipient(&'static str),
    /// This to DATA.
    ToData(&'static str),
    /// This to the dot at the end.
    ToTheEnd(&'static str),
    /// Nothing: the connection is dropped at the dot.
    DropsAtTheEnd,
    /// The connection is dropped after the first line of the content.
    DropsWithin,
}

/// What it heard of mails to Lotte, and to others.
#[derive(Default)]
struct Heard {
    /// Mails that it was told to Lotte, taken or not.
    asked: usize,
    /// Those of which the content was begun.
    begun: usize,
    taken: Vec<String>,
    /// To whom else.
    others: Vec<String>,
}

/// A mail server on loopback, gone when dropped.
struct Smarthost {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    heard: Arc<Mutex<Heard>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Smarthost {
    fn that(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("is bound");
        let says = Arc::new(Mutex::new(says));
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (script, hears, ends) = (Arc::clone(&says), Arc::clone(&heard), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let (script, hears) = (Arc::clone(&script), Arc::clone(&hears));
                std::thread::spawn(move || drop(talk(&stream, &script, &hears)));
            }
        });
        Self { address, says, heard, stop, thread: Some(thread) }
    }

    fn now_says(&self, says: Says) {
        *self.says.lock().expect("no holder panics") = says;
    }

    fn heard<T>(&self, what: impl Fn(&Heard) -> T) -> T {
        what(&self.heard.lock().expect("no holder panics"))
    }
}

impl Drop for Smarthost {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        let _ = self.thread.take().expect("runs").join();
    }
}

fn talk(stream: &TcpStream, says: &Mutex<Says>, heard: &Mutex<Heard>) -> std::io::Result<()> {
    let says = || *says.lock().expect("no holder panics");
    let heard = || heard.lock().expect("no holder panics");
    let mut lines = BufReader::new(stream);
    let answer = |text: &str| {
        let mut stream = stream;
        stream.write_all(format!("{text}\r\n").as_bytes())
    };
    let greeting = match says() {
        Says::AtTheDoor(text) => text,
        _ => "220 hop.example",
    };
    answer(greeting)?;
    let mut to = String::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let is_lottes = to == LOTTE;
        match (line.split([' ', '\r']).next().unwrap_or_default(), says()) {
            ("MAIL", Says::ToMail(text)) => answer(text)?,
            ("RCPT", says) => {
                let to_whom = line.split(['<', '>']).nth(1).unwrap_or_default();
                to = to_whom.to_owned();
                let is_lottes = to == LOTTE;
                heard().asked += usize::from(is_lottes);
                match says {
                    Says::ToRecipient(text) if is_lottes => answer(text)?,
                    _ => answer("250 ok")?,
                }
            }
            ("DATA", Says::ToData(text)) if is_lottes => answer(text)?,
            ("DATA", says) => {
                heard().begun += usize::from(is_lottes);
                answer("354 go on")?;
                let mut content = String::new();
                loop {
                    let mut line = String::new();
                    if lines.read_line(&mut line)? == 0 {
                        return Ok(());
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    content += &line;
                    if says == Says::DropsWithin && is_lottes {
                        return Ok(());
                    }
                }
                match says {
                    Says::DropsAtTheEnd if is_lottes => return Ok(()),
                    Says::ToTheEnd(text) if is_lottes => answer(text)?,
                    _ => {
                        match is_lottes {
                            true => heard().taken.push(content),
                            false => heard().others.push(to.clone()),
                        }
                        answer("250 taken")?;
                    }
                }
            }
            ("QUIT", _) => return answer("221 bye"),
            _ => answer("250 ok")?,
        }
    }
}

/// A vault that sends by such a server.
struct Told {
    world: World,
    runtime: Runtime,
    hop: Smarthost,
    others: usize,
}

impl Told {
    fn by(says: Says) -> Self {
        let hop = Smarthost::that(says);
        let world = World::found();
        believe(&world);
        world.send_to(hop.address.port());
        Self { world, runtime: runtime(), hop, others: 0 }
    }

    fn serve(&self) -> Server {
        self.runtime.block_on(self.world.serve())
    }

    fn stop(&self, server: Server) {
        self.runtime.block_on(server.stop());
    }

    /// Waits until the server has gone over all that was due: two more are told, one after the other,
    /// each of them after a look at everything.
    fn goes_over_everything(&mut self, server: &Server) {
        for _ in 0..2 {
            self.others += 1;
            let n = self.others;
            let from = format!("jan@other{n}.example");
            assert_eq!(deliver_from(server, &from, &letter_from(&from, "1", "", "Dag")), [250]);
            let told = || self.hop.heard(|heard| heard.others.len());
            wait_for("another is told", || told() == n);
        }
    }

    /// Begun so often, and ended so.
    fn notices(&self, server: &Server) -> (usize, Vec<u64>) {
        let all = entries(server);
        let is_due = |entry: &&Entry| entry.kind == Fact::NoticeDue;
        let lottes: Option<CaseId> = all.iter().find(is_due).expect("is due").case;
        let all = all.iter().filter(|entry| entry.case == lottes);
        let begun = all.clone().filter(|entry| entry.kind == Fact::NoticeSending).count();
        let ended = all.filter(|entry| entry.kind == Fact::NoticeEnded);
        (begun, ended.filter_map(|entry| entry.count).collect())
    }

    /// Sent, refused, unknown: what staff see of Lotte's case.
    fn seen(&self) -> (u32, u32, u32) {
        let mut anna = self.world.log_in("anna").expect("logs in");
        let cases = anna.queue(Filter::All).expect("lists");
        let is_lottes = |letters: &[kluis::staff::client::LetterView]| {
            let detail = letters[0].detail.as_ref().expect("opens");
            detail.envelope.mail_from.expose() == LOTTE
        };
        let case = cases.iter().find(|case| is_lottes(&case.letters)).expect("is there");
        case.card.notices
    }

    fn lotte_writes(&self, server: &Server) {
        let raw = letter_from(LOTTE, "1", "", "Dag");
        assert_eq!(deliver_from(server, LOTTE, &raw), [250]);
    }
}

#[test]
fn a_notice_of_which_nobody_knows_whether_it_was_taken_is_never_sent_again() {
    for (says, begun) in [(Says::DropsAtTheEnd, 1), (Says::DropsWithin, 1)] {
        let mut told = Told::by(says);
        let server = told.serve();
        told.lotte_writes(&server);
        wait_for("it ends", || told.notices(&server).1.len() == 1);
        told.goes_over_everything(&server);
        told.stop(server);
        // The server is well again, and whoever would try again could.
        told.hop.now_says(Says::Takes);
        for start in 0..3 {
            let server = told.serve();
            told.goes_over_everything(&server);
            assert_eq!(told.notices(&server), (1, vec![NOTICE_UNKNOWN]), "{says:?}, {start}");
            assert_eq!(told.seen(), (0, 0, 1), "{says:?}");
            told.stop(server);
        }
        let heard = told.hop.heard(|heard| (heard.asked, heard.begun, heard.taken.len()));
        assert_eq!(heard, (1, begun, 0), "{says:?}");
    }
}

#[test]
fn a_notice_that_was_refused_for_now_goes_out_once() {
    let later = "451 4.7.1 greylisted";
    for (says, begun) in [
        (Says::ToMail(later), 1),
        (Says::ToRecipient(later), 1),
        (Says::ToData(later), 1),
        (Says::ToTheEnd(later), 2),
    ] {
        let mut told = Told::by(says);
        let server = told.serve();
        told.lotte_writes(&server);
        wait_for("it ends", || told.notices(&server).1.len() == 1);
        if !matches!(says, Says::ToMail(_)) {
            // What comes meanwhile is no reason to try again at once.
            told.goes_over_everything(&server);
        }
        assert_eq!(told.notices(&server), (1, vec![NOTICE_DEFERRED]), "{says:?}");
        assert_eq!(told.seen(), (0, 0, 0), "{says:?}: it is still due");
        told.stop(server);
        told.hop.now_says(Says::Takes);
        for start in 0..3 {
            let server = told.serve();
            told.goes_over_everything(&server);
            wait_for("it is told", || told.notices(&server).1.len() == 2);
            let expected = (2, vec![NOTICE_DEFERRED, NOTICE_TAKEN]);
            assert_eq!(told.notices(&server), expected, "{says:?}, {start}");
            assert_eq!(told.seen(), (1, 0, 0), "{says:?}");
            told.stop(server);
        }
        let heard = told.hop.heard(|heard| (heard.begun, heard.taken.len()));
        assert_eq!(heard, (begun, 1), "{says:?}: one mail");
    }
}

#[test]
fn a_notice_that_was_refused_for_good_is_not_tried_again() {
    let never = "550 5.1.1 no such user";
    for (says, begun) in [
        (Says::ToMail(never), 0),
        (Says::ToRecipient(never), 0),
        (Says::ToData(never), 0),
        (Says::ToTheEnd(never), 1),
    ] {
        let mut told = Told::by(says);
        let server = told.serve();
        told.lotte_writes(&server);
        wait_for("it ends", || told.notices(&server).1.len() == 1);
        told.hop.now_says(Says::Takes);
        told.goes_over_everything(&server);
        told.stop(server);
        for start in 0..2 {
            let server = told.serve();
            told.goes_over_everything(&server);
            assert_eq!(told.notices(&server), (1, vec![NOTICE_REFUSED]), "{says:?}, {start}");
            assert_eq!(told.seen(), (0, 1, 0), "{says:?}");
            told.stop(server);
        }
        let heard = told.hop.heard(|heard| (heard.begun, heard.taken.len()));
        assert_eq!(heard, (begun, 0), "{says:?}");
    }
}

/// A server that is away, or says at the door that it takes nothing, was given nothing: no try counts.
#[test]
fn a_notice_for_which_no_server_is_there_is_not_begun() {
    for text in ["421 4.3.2 not now", "554 5.3.2 no mail here"] {
        let mut told = Told::by(Says::AtTheDoor(text));
        let server = told.serve();
        told.lotte_writes(&server);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(told.notices(&server), (0, vec![]), "{text}");
        assert_eq!(told.seen(), (0, 0, 0), "{text}");
        told.stop(server);
        told.hop.now_says(Says::Takes);
        let server = told.serve();
        told.goes_over_everything(&server);
        wait_for("it is told", || told.notices(&server).1.len() == 1);
        assert_eq!(told.notices(&server), (1, vec![NOTICE_TAKEN]), "{text}");
        told.stop(server);
        assert_eq!(told.hop.heard(|heard| heard.taken.len()), 1, "{text}");
    }
}
