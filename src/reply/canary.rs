//! A canary: a mail from us to ourselves, which shows whether the way of a letter is open. It says
//! nothing about anyone, and no machine answers it.

use super::compose::{write, write_fields, write_text};
use super::{ComposeError, Heading, Outgoing};

/// All that a canary says.
pub struct CanaryMail {
    /// From our address to one of ours.
    pub heading: Heading,
    /// The server in front whose word is forged into it, to see whether that server takes it out; and
    /// the number to know it by.
    pub forged: Option<(String, String)>,
}

impl CanaryMail {
    /// Writes the mail.
    ///
    /// # Errors
    /// `BadField` for an address, date or message id that cannot stand in a mail.
    pub fn compose(&self) -> Result<Outgoing, ComposeError> {
        let mut mail = Vec::new();
        if let Some((server, number)) = &self.forged {
            let is_plain = |text: &str| {
                text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-'))
            };
            if !is_plain(server) || !is_plain(number) {
                return Err(ComposeError::BadField("name of the server in front"));
            }
            let words = [
                "Authentication-Results: ",
                server,
                ";\r\n dmarc=pass header.from=forged.invalid reason=\"",
                number,
                "\"\r\n",
            ];
            write(&mut mail, &words);
        }
        write_fields(&mut mail, "", &self.heading.fields("kluis: is the way open?")?);
        write(&mut mail, &["Auto-Submitted: auto-generated\r\n"]);
        write(&mut mail, &["X-Auto-Response-Suppress: All\r\n"]);
        write(&mut mail, &["MIME-Version: 1.0\r\n"]);
        write_text(&mut mail, "`kluis doctor --mail` sent this to itself.\n");
        // From ourselves: what cannot be delivered comes back, and is told.
        Outgoing::new(self.heading.from.expose(), self.heading.to.expose(), mail)
    }
}
