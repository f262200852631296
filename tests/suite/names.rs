//! The names of files that go out, as five parsers read them that have nothing to do with each other:
//! mail-parser, Python's email, Perl's MIME::Parser, GMime (by mu) and mblaze.

use std::path::Path;
use std::process::Command;

use kluis::reply::answer::{Answer, Attachment, Lock, compose};
use kluis::reply::code::Code;
use kluis::secret::Personal;
use mail_parser::{MessageParser, MimeHeaders as _};

use crate::disks::has_program;
use crate::openpgp::{age_opens, now, proof, run};
use crate::way::skipped;

/// Reads the file that it is given, and prints each name in hex.
const PYTHON: &str = "import email, email.policy, sys
mail = email.message_from_binary_file(open(sys.argv[1], 'rb'), policy=email.policy.default)
for part in mail.walk():
    if part.get_filename() is not None:
        print(part.get_filename().encode('utf-8', 'surrogateescape').hex())
";
const PERL: &str = "use MIME::Parser; use Encode;
my $parser = MIME::Parser->new; $parser->output_to_core(1); $parser->tmp_to_core(1);
for my $part ($parser->parse_open($ARGV[0])->parts) {
    my $name = $part->head->recommended_filename;
    next unless defined $name;
    print unpack('H*', Encode::is_utf8($name) ? Encode::encode('UTF-8', $name) : $name), qq(\\n);
}
";

fn names() -> Vec<String> {
    let names = [
        "payslip.pdf",
        "Überstunden März (2026).pdf",
        "Lohn \"brutto\" (final).pdf",
        "loonfiche mei \"2026\" – Lotte.pdf",
        "attest [1]; really=yes, 100%.pdf",
        "it's a 'photo'.jpg",
        "履歴書🙂.pdf",
        "c:\\temp\\x.pdf",
        "=?utf-8?q?no=20word?=.pdf",
        "a  b   c.pdf",
        "Contrat d’intérim – été.pdf",
    ];
    let mut names: Vec<String> = names.map(str::to_owned).into();
    names.push(format!("{}.pdf", "é".repeat(120)));
    names.push(format!("{}.pdf", "long ".repeat(45).trim_end()));
    names
}

/// What `program` prints, names in hex, one a line.
fn in_hex(program: &str, code: [&str; 2], mail: &Path) -> Vec<String> {
    let said = run(Command::new(program).args(code).arg(mail), b"");
    let lines = String::from_utf8(said).expect("is text");
    let name = |line: &str| {
        let bytes = data_encoding::HEXLOWER.decode(line.as_bytes()).expect("is hex");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    lines.lines().map(name).collect()
}

/// Lines like `  4 NAME application/pdf [attachment] (57 bytes)`.
fn by_mu(mail: &Path) -> Vec<String> {
    let said = run(Command::new("mu").env("LC_ALL", "C.UTF-8").arg("extract").arg(mail), b"");
    let said = String::from_utf8_lossy(&said).into_owned();
    let name = |line: &str| {
        let (head, _) = line.split_once(" application/pdf [attachment]")?;
        Some(head.trim_start().split_once(' ')?.1.to_owned())
    };
    said.lines().filter_map(name).collect()
}

/// Lines like `    4: application/pdf size=57 name="NAME"`, the name's quotes and backslashes escaped.
fn by_mblaze(mail: &Path) -> Vec<String> {
    let mut mshow = Command::new("mshow");
    let said = run(mshow.env("LC_ALL", "C.UTF-8").arg("-t").arg(mail), b"");
    let said = String::from_utf8_lossy(&said).into_owned();
    let name = |line: &str| {
        let (_, name) = line.split_once(" name=\"")?;
        Some(name.strip_suffix('"')?.to_owned())
    };
    said.lines().filter_map(name).collect()
}

#[test]
fn what_goes_out_has_the_right_name_for_five_parsers() {
    let test = "what_goes_out_has_the_right_name_for_five_parsers";
    for program in ["age", "script", "python3", "perl", "mu", "mshow"] {
        if !has_program(program) {
            return skipped(test, &format!("{program} is not installed"));
        }
    }
    if !Command::new("perl").args(["-MMIME::Parser", "-e", "1"]).status().expect("starts").success()
    {
        return skipped(test, "libmime-tools-perl is not installed");
    }
    let names = names();
    let attachments = names.iter().map(|name| Attachment {
        name: Personal::new(name.clone()),
        media_type: "application/pdf".into(),
        content: Personal::new(name.as_bytes().to_vec()),
    });
    let answer = Answer { attachments: attachments.collect(), ..crate::openpgp::answer(now()) };
    let code = Code::random();
    let outgoing = compose(&answer, &Lock::Code(&code), &proof()).expect("is composed");
    let folder = tempfile::tempdir().expect("a folder");
    let read = MessageParser::new().parse(outgoing.mail()).expect("is a mail");
    let locked = read.attachment(0).expect("is there").contents();
    std::fs::write(folder.path().join("answer.age"), locked).expect("is written");
    let opened = age_opens(folder.path(), &code.expose()).expect("age opens it");
    let mail = folder.path().join("answer.eml");

    let read = MessageParser::new().parse(&opened).expect("is a mail");
    let ours = read.attachments().filter_map(|part| part.attachment_name().map(str::to_owned));
    for (parser, found) in [
        ("mail-parser", ours.collect()),
        ("Python", in_hex("python3", ["-c", PYTHON], &mail)),
        ("Perl", in_hex("perl", ["-e", PERL], &mail)),
        ("GMime", by_mu(&mail)),
        ("mblaze", by_mblaze(&mail)),
    ] {
        assert_eq!(found, names, "{parser}");
    }
}
