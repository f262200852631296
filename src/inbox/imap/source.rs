//! What the polling needs of a mailbox, whoever speaks to it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

/// A folder, as it is when it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// UIDVALIDITY.
    pub(super) validity: Option<u32>,
    /// UIDNEXT: the UID that the next mail will have.
    pub(super) next: Option<u32>,
    /// How many mails there are.
    pub(super) mails: u32,
}

/// What a server says of a mail before it is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    /// Its UID.
    pub(super) uid: u32,
    /// Its length in bytes; some servers only guess it.
    pub(super) size: Option<u32>,
    /// When the mailbox got it, in seconds since 1970.
    pub(super) arrived: Option<u64>,
}

/// An answer about a range of mails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Those that could be read, in no order.
    pub(super) mails: Vec<Listed>,
    /// Whether there was something that could not be read.
    pub(super) has_unreadable: bool,
}

/// A part of a mail, or what there was instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// These bytes: fewer than were asked for at its end, more if the server cuts nothing.
    Bytes(Vec<u8>),
    /// The answer had none.
    Nothing,
}

/// Why something did not come about. Nothing that a server said is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or it broke.
    Lost,
    /// No answer in time.
    Slow,
    /// TLS could not be agreed upon, or the certificate does not hold.
    Tls,
    /// The server is none that can be talked to.
    Protocol,
    /// User and password, or the token, were refused.
    Denied,
    /// The token is not good any more.
    Expired,
    /// The token endpoint gave none.
    Token,
    /// A file that the settings name cannot be read.
    File,
    /// The server refused what it was asked.
    No,
    /// An answer could not be read.
    Unreadable,
    /// An answer was longer than it may be.
    TooLong,
    /// An answer had more lines, or named more mails, than it may.
    TooMany,
    /// The folder has no UIDVALIDITY, so its mails cannot be told apart.
    NoIds,
    /// A mail cannot be removed alone, and mails that are no letters here are marked as deleted, too.
    Marked,
    /// There is no room here: the disk or the memory is full.
    Full,
    /// The vault here did not take a mail.
    Busy,
    /// There is no epoch that letters are sealed to, or no parser: the vault here takes no mail at all.
    NotReady,
}

impl Fault {
    /// Whether it does not end by itself.
    pub(super) fn needs_somebody(self) -> bool {
        matches!(
            self,
            Self::Tls | Self::Protocol | Self::Denied | Self::Token | Self::File | Self::NoIds
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "the connection was lost, or there was none",
            Self::Slow => "the server did not answer in time",
            Self::Tls => "no TLS, or a certificate that does not hold",
            Self::Protocol => "the server does not speak IMAP as it must",
            Self::Denied => "the server refused the log-in",
            Self::Expired => "the access token is not good any more",
            Self::Token => "the token endpoint gave no access token",
            Self::File => "a file that the settings name cannot be read",
            Self::No => "the server refused a command",
            Self::Unreadable => "an answer of the server could not be read",
            Self::TooLong => "an answer of the server was too long",
            Self::TooMany => "an answer of the server had too many parts",
            Self::NoIds => "the folder has no UIDVALIDITY",
            Self::Marked => {
                "other mails there are marked as deleted, or the server does not say which are"
            }
            Self::Full => "there is no room here for a mail: the disk or the memory is full",
            Self::Busy => "the vault here did not take a mail",
            Self::NotReady => "the vault here takes no mail now: it has no epoch, or no parser",
        })
    }
}

impl std::error::Error for Fault {}

/// How a folder is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// EXAMINE: nothing can change.
    Look,
    /// SELECT.
    Change,
}

/// UIDs that are asked about at once are no further apart than this.
pub(super) const SPAN: u32 = 100_000;

/// Whether the mail of a UID is a letter here.
pub(super) type Sealed<'a> = dyn Fn(u32) -> bool + Sync + 'a;

/// A mailbox that mails are fetched from. Every call ends in bounded time; after a fault other than
/// [`Fault::No`] and [`Fault::Marked`] nothing more is asked of it.
pub(super) trait MailSource: Send {
    /// Opens the folder, anew if it is open.
    fn open(&mut self, access: Access) -> impl Future<Output = Result<Opened, Fault>> + Send;

    /// What there is from this UID up to that one, or to the last. (Of `n:*` a server gives the last
    /// mail even if its UID is below n.)
    fn list(
        &mut self,
        from: u32,
        to: Option<u32>,
    ) -> impl Future<Output = Result<Listing, Fault>> + Send;

    /// So many bytes of a mail behind `offset`; the answer may have `most` at the most.
    fn slice(
        &mut self,
        uid: u32,
        offset: u32,
        length: u32,
        most: usize,
    ) -> impl Future<Output = Result<Piece, Fault>> + Send;

    /// UIDs that are there from this one to that one: no more than [`SPAN`] apart.
    fn present(
        &mut self,
        from: u32,
        to: u32,
    ) -> impl Future<Output = Result<Vec<u32>, Fault>> + Send;

    /// Whether a mail can be removed, or moved, without regard to what others marked as deleted.
    fn removes_alone(&self, moves: bool) -> bool;

    /// Removes a mail. Where that removes whatever is marked as deleted, it is done only if all of that
    /// is `sealed`.
    fn delete(
        &mut self,
        uid: u32,
        sealed: &Sealed<'_>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Moves a mail into another folder; `is_copied` says whether an earlier try got it there and
    /// could not remove it here, and is set when this one does.
    fn move_to(
        &mut self,
        uid: u32,
        folder: &str,
        is_copied: &mut bool,
        sealed: &Sealed<'_>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Waits until something came, or for this long.
    fn wait(&mut self, at_most: Duration) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Makes connections to a mailbox.
pub(super) trait Connect: Send + Sync {
    /// What it connects to.
    type Source: MailSource;

    /// Connects and logs in.
    fn connect(&self) -> impl Future<Output = Result<Self::Source, Fault>> + Send;

    /// The access token is not good any more.
    fn forget_token(&self);
}
