//! Every word that we say to a peer: generic, never an echo, never a reason from inside.
//!
//! Reply codes: RFC 5321 §4.2; enhanced codes: RFC 3463 and its registry.

/// The command is done.
pub(super) const OK: &str = "250 2.0.0 OK\r\n";
/// The reverse-path is taken.
pub(super) const SENDER_OK: &str = "250 2.1.0 OK\r\n";
/// The forward-path is taken.
pub(super) const RECIPIENT_OK: &str = "250 2.1.5 OK\r\n";
/// The answer to VRFY: no statement (RFC 5321 §3.5.3).
pub(super) const PERHAPS: &str = "252 2.1.5 Send mail and see\r\n";
/// The letter may come.
pub(super) const GO_ON: &str = "354 End with <CRLF>.<CRLF>\r\n";
/// The last word to a client that leaves.
pub(super) const GOODBYE: &str = "221 2.0.0 Goodbye\r\n";
/// The handshake may come.
pub(super) const READY: &str = "220 2.0.0 Ready to start TLS\r\n";

/// The server stops.
pub(super) const STOPPING: &str = "421 4.3.2 Shutting down, try again later\r\n";
/// Nothing came in time, or too slowly.
pub(super) const TIMED_OUT: &str = "421 4.4.2 Timeout, closing\r\n";
/// All places are taken.
pub(super) const TOO_MANY_CONNECTIONS: &str = "421 4.3.2 Too many connections, try again later\r\n";
/// The client made too many mistakes.
pub(super) const TOO_MANY_ERRORS: &str = "421 4.7.0 Too many errors, closing\r\n";

/// This client has enough connections.
pub(super) const TOO_MANY_OF_ONE: &str =
    "421 4.7.0 Too many connections from you, try again later\r\n";
/// This client sent enough letters for now.
pub(super) const TOO_MANY_LETTERS: &str =
    "450 4.7.1 Too many letters from you, try again later\r\n";
/// More was thrown away than a conversation is worth.
pub(super) const TOO_MUCH: &str = "421 4.7.0 Too much that is no letter, closing\r\n";

/// The letter could not be kept now.
pub(super) const TRY_LATER: &str = "451 4.3.0 Try again later\r\n";
/// No room for the letter now.
pub(super) const NO_ROOM: &str = "452 4.3.1 No room now, try again later\r\n";
/// One letter has enough recipients.
pub(super) const TOO_MANY_RECIPIENTS: &str = "452 4.5.3 Too many recipients\r\n";

/// A line that is no line of SMTP.
pub(super) const BAD_LINE: &str = "500 5.5.2 Lines are printable and end with CRLF\r\n";
/// A command line above the limit.
pub(super) const LONG_LINE: &str = "500 5.5.2 Line too long\r\n";
/// A command nobody knows.
pub(super) const UNKNOWN_COMMAND: &str = "500 5.5.1 Command not recognized\r\n";
/// The greeting of the other protocol (RFC 2033 §4.1).
pub(super) const OTHER_GREETING: &str = "500 5.5.1 Not the greeting of this protocol\r\n";
/// A command with broken arguments.
pub(super) const BAD_ARGUMENTS: &str = "501 5.5.4 Syntax error in arguments\r\n";
/// A chunk of an unknown number of bytes.
pub(super) const BAD_CHUNK: &str = "501 5.5.4 Syntax: BDAT size [LAST]\r\n";
/// More chunks than anybody needs.
pub(super) const TOO_MANY_CHUNKS: &str = "554 5.5.0 Too many chunks\r\n";
/// An address in UTF-8 where none was announced (RFC 6531 §3.5).
pub(super) const NEEDS_UTF8: &str = "553 5.6.7 This address needs SMTPUTF8\r\n";
/// A reverse-path that is none.
pub(super) const BAD_SENDER: &str = "501 5.1.7 Bad sender address syntax\r\n";
/// A forward-path that is none.
pub(super) const BAD_RECIPIENT: &str = "501 5.1.3 Bad recipient address syntax\r\n";
/// A command that we do not serve.
pub(super) const NOT_SERVED: &str = "502 5.5.1 Command not implemented\r\n";
/// A command out of its order.
pub(super) const BAD_SEQUENCE: &str = "503 5.5.1 Bad sequence of commands\r\n";
/// A parameter value that we did not offer.
pub(super) const BODY_NOT_SERVED: &str = "504 5.5.4 Parameter value not implemented\r\n";
/// A parameter that we did not offer (RFC 5321 §4.1.1.11).
pub(super) const PARAMETER_NOT_SERVED: &str = "555 5.5.4 Parameters not implemented\r\n";
/// We take no mail for that address.
pub(super) const NO_SUCH_RECIPIENT: &str = "550 5.1.1 No such recipient here\r\n";
/// The letter has more bytes than one may have.
pub(super) const TOO_BIG: &str = "552 5.3.4 Message too big\r\n";
/// The letter has a CR, LF or NUL that must not be (RFC 5321 §2.3.8).
pub(super) const BARE_BYTE: &str = "550 5.6.0 Message contains a bare CR, a bare LF or a NUL\r\n";
/// The letter has a line above the limit.
pub(super) const LONG_TEXT_LINE: &str = "554 5.6.0 Message contains a line too long\r\n";
/// The letter is not taken.
pub(super) const REFUSED: &str = "554 5.7.1 Message refused\r\n";
/// The letter goes round in circles (RFC 5321 §6.3).
pub(super) const LOOP: &str = "554 5.4.6 Mail loop\r\n";
/// Something came between STARTTLS and our answer to it.
pub(super) const INJECTED: &str = "554 5.5.1 Nothing may follow STARTTLS\r\n";
