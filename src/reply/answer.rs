//! The answer: personal data on its way to the person.
//!
//! It leaves under a [`Lock`] or not at all: the text goes into the lock, and only what comes out
//! of it goes into a mail. With a key: one OpenPGP message, encrypted and signed (RFC 3156 §6.2),
//! whose header fields are protected (RFC 9788). Without: an age file that a code opens, beside a
//! cover letter that says nothing but how. The code travels by another channel.

use age::secrecy::SecretString;
use zeroize::Zeroizing;

use super::code::Code;
use super::compose::{self, Field, write, write_attachment, write_fields, write_text};
use super::openpgp::{self, Certificate, MailboxKey};
use super::{ComposeError, Heading, Language, MAX_MAIL, Outgoing};
use crate::identity::Proof;
use crate::ids::CaseId;
use crate::secret::Personal;

/// All that an answer says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// From our address to the person's. Its date is the time at which keys must be valid.
    pub heading: Heading,
    /// The case that is answered.
    pub case: CaseId,
    /// The language of the cover letter.
    pub language: Language,
    /// The subject, seen only by who opens the lock.
    pub subject: Personal<String>,
    /// The letter itself.
    pub text: Personal<String>,
    /// What goes with it.
    pub attachments: Vec<Attachment>,
}

/// A file that goes with an answer.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its name: 1 to 255 bytes, no control characters.
    pub name: Personal<String>,
    /// Its media type, without parameters.
    pub media_type: String,
    /// Its bytes.
    pub content: Personal<Vec<u8>>,
}

impl Attachment {
    /// An item of a letter. What its sender called it does not stand in the way of an answer: a
    /// name that cannot stand in a mail is mended, or is `fallback` if nothing is left of it, and
    /// what is no media type becomes `application/octet-stream`.
    #[must_use]
    pub fn received(name: &str, fallback: &str, media_type: &str, content: Vec<u8>) -> Self {
        Self {
            name: Personal::new(compose::mended_name(name).unwrap_or_else(|| fallback.into())),
            media_type: compose::mended_type(media_type).into(),
            content: Personal::new(content),
        }
    }
}

/// What an answer is sealed with. There is no third way.
pub enum Lock<'a> {
    /// Encrypted to a certificate that staff confirmed, signed with the mailbox's key.
    OpenPgp {
        /// The person's certificate.
        to: &'a Certificate,
        /// The mailbox's key.
        signer: &'a MailboxKey,
    },
    /// An age file that opens with this code.
    Code(&'a Code),
}

/// The work of one try at a code: scrypt with N = 2^16, 64 MiB of memory. A fixed value, so that
/// every age opens it (age refuses above 2^22) and an old computer does, too.
const WORK_FACTOR: u8 = 16;

/// Writes the mail.
///
/// # Errors
/// `Key` if the certificate or our key cannot be used at the date of the heading, `BadField` or
/// `TooLarge` for what cannot be sent, `NotEncrypted` if a library failed. In each case there is
/// no mail.
pub fn compose(answer: &Answer, lock: &Lock<'_>, _: &Proof) -> Result<Outgoing, ComposeError> {
    let content = answer.attachments.iter().map(|a| a.content.expose().len());
    if content.sum::<usize>().saturating_add(answer.text.expose().len()) > MAX_MAIL {
        return Err(ComposeError::TooLarge);
    }
    let mail = match lock {
        Lock::OpenPgp { to, signer } => with_openpgp(answer, to, signer)?,
        Lock::Code(code) => with_code(answer, code)?,
    };
    Outgoing::new(answer.heading.from.expose(), answer.heading.to.expose(), mail)
}

fn with_openpgp(
    answer: &Answer,
    to: &Certificate,
    signer: &MailboxKey,
) -> Result<Vec<u8>, ComposeError> {
    let fields = answer.heading.fields(answer.subject.expose())?;
    let outer = compose::with_subject(&fields, "[...]");
    let inner = entity(answer, &fields, Some(&outer))?;
    let sealed = openpgp::seal(&inner, to, signer, answer.heading.date)?;
    let mut mail = Vec::with_capacity(sealed.len() + 4096);
    write_fields(&mut mail, "", &outer);
    write(&mut mail, &["MIME-Version: 1.0\r\n"]);
    openpgp::write_entity(&mut mail, &sealed, &compose::boundary());
    Ok(mail)
}

fn with_code(answer: &Answer, code: &Code) -> Result<Vec<u8>, ComposeError> {
    let template = match answer.language {
        Language::Nl => include_str!("letters/nl/answer.txt"),
        Language::Fr => include_str!("letters/fr/answer.txt"),
        Language::De => include_str!("letters/de/answer.txt"),
        Language::En => include_str!("letters/en/answer.txt"),
    };
    let case = answer.case.to_string();
    let fields = answer.heading.fields(answer.subject.expose())?;
    let inner = entity(answer, &fields, None)?;
    let sealed = seal_with_code(&inner, code).map_err(|_| ComposeError::NotEncrypted)?;
    let outer = compose::with_subject(&fields, &format!("[{case}]"));
    let boundary = compose::boundary();
    let mut mail = Vec::with_capacity(sealed.len() / 2 * 3 + 8192);
    write_fields(&mut mail, "", &outer);
    write(&mut mail, &["MIME-Version: 1.0\r\n"]);
    write(&mut mail, &["Content-Type: multipart/mixed; boundary=\"", &boundary, "\"\r\n\r\n"]);
    write(&mut mail, &["--", &boundary, "\r\n"]);
    write_text(&mut mail, &template.replace("{case}", &case));
    write(&mut mail, &["\r\n--", &boundary, "\r\n"]);
    write_attachment(&mut mail, "answer.age", "application/octet-stream", &sealed)?;
    write(&mut mail, &["--", &boundary, "--\r\n"]);
    Ok(mail)
}

/// A stock age file (C2SP age-encryption.org/v1, scrypt recipient).
fn seal_with_code(inner: &[u8], code: &Code) -> Result<Vec<u8>, age::EncryptError> {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(code.expose().to_string()));
    recipient.set_work_factor(WORK_FACTOR);
    age::encrypt(&recipient, inner)
}

/// The answer as a message of its own: all header fields, then a multipart of text and files.
///
/// With `outer`, what the outside of an encrypted mail shows, it is the root of a cryptographic
/// payload: it says so, and repeats the outer fields (RFC 9788 §2.1.1, §2.2). The root is a
/// multipart even without files, because some readers find a protected subject only there.
fn entity(
    answer: &Answer,
    fields: &[Field],
    outer: Option<&[Field]>,
) -> Result<Zeroizing<Vec<u8>>, ComposeError> {
    let content = answer.attachments.iter().map(|a| a.content.expose().len() / 2 * 3 + 4096);
    // Room for all of it, so that growing leaves no copies behind.
    let room = answer.text.expose().len() * 4 + content.sum::<usize>() + 64 * 1024;
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    let boundary = compose::boundary();
    write(&mut out, &["MIME-Version: 1.0\r\n"]);
    write_fields(&mut out, "", fields);
    write_fields(&mut out, "HP-Outer: ", outer.unwrap_or_default());
    write(&mut out, &["Content-Type: multipart/mixed; boundary=\"", &boundary, "\""]);
    if outer.is_some() {
        write(&mut out, &[";\r\n hp=\"cipher\"; protected-headers=\"v1\""]);
    }
    write(&mut out, &["\r\n\r\n--", &boundary, "\r\n"]);
    write_text(&mut out, answer.text.expose());
    for Attachment { name, media_type, content } in &answer.attachments {
        write(&mut out, &["\r\n--", &boundary, "\r\n"]);
        write_attachment(&mut out, name.expose(), media_type, content.expose())?;
    }
    write(&mut out, &["\r\n--", &boundary, "--\r\n"]);
    Ok(out)
}
