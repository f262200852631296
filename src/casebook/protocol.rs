//! What the staff side and the server say to each other over the Unix socket.
//!
//! A connection starts with `Hello`, is answered with a challenge, and is logged in when the
//! answer is right; before that nothing else is understood. Each message is a length (4 bytes, big
//! endian) and one CBOR value. Plain requests and answers: the client asks, the server answers.

use std::fmt;
use std::io::{self, Read, Write};

use minicbor::{Decode, Encode};

use super::SweepSummary;
use super::keyring::Resealed;
use super::read::{CaseCard, Filter, Opened};
use super::record::{NewBox, Recording};
use super::recovery::WrappedFiles;
use super::same::Same;
use super::state::{BackedUp, Drilled, Wrapped};
use crate::identity::policy::Policy;
use crate::ids::{Address, CaseId, Digest, EpochId, ItemId, LetterId, StaffId, VaultId};
use crate::ledger::certificate::Certificate;
use crate::secret::Personal;
use crate::store::Problem;
use crate::vault::seal::Kind;

/// A message of the staff side.
#[derive(Clone, Encode, Decode)]
pub enum Request {
    /// Who is there.
    #[n(0)]
    Hello {
        /// The member's name in the roster.
        #[n(0)]
        member: String,
    },
    /// The answer to the challenge.
    #[n(1)]
    Answer {
        /// See `keys::challenge`.
        #[cbor(n(0), with = "minicbor::bytes")]
        response: [u8; 32],
    },
    /// Cases with their letter boxes.
    #[n(2)]
    Queue {
        /// Which.
        #[n(0)]
        filter: Filter,
    },
    /// Items, each a look.
    #[n(3)]
    Look {
        /// Which.
        #[n(0)]
        items: Vec<ItemId>,
    },
    /// A member insists on an item in spite of a warning.
    #[n(45)]
    Override {
        /// Which.
        #[n(0)]
        item: ItemId,
    },
    /// What each right needs.
    #[n(47)]
    Policy,
    /// The list of people on file: a look.
    #[n(48)]
    People,
    /// Take a list of people over, in place of the one before.
    #[n(49)]
    ImportPeople {
        /// Its box.
        #[n(0)]
        list: NewBox,
        /// How many people stand in it.
        #[n(1)]
        count: u64,
    },
    /// A member has the national numbers of a letter shown.
    #[n(51)]
    Numbers {
        /// Of which case.
        #[n(0)]
        case: CaseId,
        /// Of which letter.
        #[n(1)]
        letter: LetterId,
    },
    /// The copies of a case that came in another open case as well.
    #[n(55)]
    SameCopies {
        /// Of which case.
        #[n(0)]
        case: CaseId,
    },
    /// A member has copies of identity documents without their masks.
    #[n(52)]
    Unmask {
        /// Which.
        #[n(0)]
        items: Vec<ItemId>,
        /// Why: a note.
        #[n(1)]
        reason: Recording,
    },
    /// A chunk of an item looked at in this connection.
    #[n(4)]
    Chunk {
        /// Its address.
        #[n(0)]
        address: Address,
    },
    /// The notes of a case.
    #[n(5)]
    Notes {
        /// Which case.
        #[n(0)]
        case: CaseId,
    },
    /// The wrapped secrets of the mailbox, the current one first.
    #[n(7)]
    MailboxFiles,
    /// Where an answer to a case goes.
    #[n(8)]
    ReplyTo {
        /// Which case.
        #[n(0)]
        case: CaseId,
    },
    /// A message id of ours for a mail of this case.
    #[n(9)]
    MessageId {
        /// Which case.
        #[n(0)]
        case: CaseId,
    },
    /// Something a person did.
    #[n(10)]
    Record {
        /// What.
        #[n(0)]
        recording: Recording,
    },
    /// Forget items of a case.
    #[n(11)]
    Forget {
        /// Which.
        #[n(0)]
        items: Vec<ItemId>,
        /// Why: a note.
        #[n(1)]
        reason: Recording,
        /// Rotate the cabinet at once.
        #[n(2)]
        now: bool,
        /// All that goes with them and was not forgotten before, as a person was shown it: if that is
        /// not so, nothing is forgotten. A letter box by its letter's id. None: whatever goes with them.
        #[n(3)]
        planned: Option<Vec<ItemId>>,
    },
    /// Rotate the cabinet key.
    #[n(12)]
    RotateCabinet,
    /// Ledger entries as they stand, from a position.
    #[n(13)]
    Log {
        /// The first.
        #[n(0)]
        from: u64,
    },
    /// A fresh checkpoint, and the proof that it extends an earlier size.
    #[n(14)]
    Checkpoint {
        /// The size that the asker saw last; 0 if none.
        #[n(0)]
        since: u64,
    },
    /// Prove an epoch: the content of its test.
    #[n(15)]
    Prove {
        /// Which.
        #[n(0)]
        epoch: EpochId,
        /// What the test held.
        #[cbor(n(1), with = "minicbor::bytes")]
        content: [u8; 32],
    },
    /// Clear facts about the vault.
    #[n(16)]
    Status,
    /// Check the vault without keys, while it serves.
    #[n(17)]
    Check,
    /// Take the next step of a sweep.
    #[n(18)]
    Sweep {
        /// Only say what it would be.
        #[n(0)]
        dry: bool,
    },
    /// The signed roster in force, and what is to be wrapped anew.
    #[n(19)]
    Roster,
    /// Take a newer roster over.
    #[n(20)]
    SignRoster {
        /// The admin's signed note.
        #[n(0)]
        note: String,
    },
    /// Take a new epoch over.
    #[n(21)]
    AddEpoch {
        /// The admin's signed note.
        #[n(0)]
        note: String,
        /// Its secret, wrapped to the readers of the roster.
        #[cbor(n(1), with = "minicbor::bytes")]
        file: Vec<u8>,
    },
    /// A secret as it is wrapped now.
    #[n(22)]
    WrappedFile {
        /// Which.
        #[n(0)]
        what: Wrapped,
    },
    /// Take a secret over that was wrapped anew to the readers of the roster.
    #[n(23)]
    Rewrap {
        /// Which.
        #[n(0)]
        what: Wrapped,
        /// The version of the roster whose readers it is wrapped to.
        #[n(1)]
        version: u32,
        /// The age file.
        #[cbor(n(2), with = "minicbor::bytes")]
        file: Vec<u8>,
    },
    /// Boxes of older epochs, to be sealed anew.
    #[n(24)]
    ToReseal {
        /// Those behind this one; from the first if it is none.
        #[n(0)]
        after: Option<(Kind, ItemId)>,
        /// At most so many.
        #[n(1)]
        most: u32,
        /// With leave to ask for their chunks: each is a look then.
        #[n(2)]
        with_content: bool,
    },
    /// Begin to seal content anew: chunks of items looked at go out and come back. The answer is
    /// followed by one byte, with the descriptor of a [`Window`](super::exchange::Window) if both ends
    /// are on one machine.
    #[n(31)]
    Exchange,
    /// Sealed chunks of items looked at in this connection, [`AT_ONCE`](super::exchange::AT_ONCE) at
    /// the most.
    #[n(32)]
    Chunks {
        /// Their addresses.
        #[n(0)]
        addresses: Vec<Address>,
        /// The place in the window of the first; without one they come with the answer.
        #[n(1)]
        slot: Option<u32>,
    },
    /// Keep chunks that were sealed anew, for boxes that will be.
    #[n(33)]
    Renewed {
        /// The address of each, and its bytes of ciphertext and tag.
        #[n(0)]
        chunks: Vec<(Address, u32)>,
        /// The place in the window of the first.
        #[n(1)]
        slot: Option<u32>,
        /// Without a place: one behind the other.
        #[cbor(n(2), with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
    /// Keep boxes that were sealed anew.
    #[n(25)]
    Reseal {
        /// The boxes.
        #[n(0)]
        boxes: Vec<Resealed>,
    },
    /// Remove the secrets of epochs that nothing is sealed to any more.
    #[n(26)]
    DestroyEpochs,
    /// A test for the highest epoch, if nobody proved it yet.
    #[n(27)]
    Test,
    /// Take a new key of the mailbox over.
    #[n(28)]
    AddMailbox {
        /// The admin's signed note.
        #[n(0)]
        note: String,
        /// The certificate, in armor.
        #[n(1)]
        certificate: String,
        /// Its secret, wrapped to the readers of the roster.
        #[cbor(n(2), with = "minicbor::bytes")]
        file: Vec<u8>,
    },
    /// Take a new admin key over, with a roster that it signed.
    #[n(29)]
    HandOver {
        /// The signed note of the key before.
        #[n(0)]
        note: String,
        /// The roster.
        #[n(1)]
        roster: String,
    },
    /// Instead of `Hello`, from the user that the server runs as: begins or joins an import. What
    /// follows are the messages of `import::wire`.
    #[n(30)]
    Import {
        /// The run to join; none to begin one.
        #[cbor(n(0), with = "minicbor::bytes")]
        join: Option<[u8; 16]>,
        /// Only look, and keep nothing.
        #[n(1)]
        dry: bool,
    },
    /// The certificate of something forgotten, with what can be proven by now.
    #[n(50)]
    Certificate {
        /// The position of the entry.
        #[n(0)]
        seq: u64,
    },
    /// Instead of `Hello`, from the user that the server runs as: copies the vault. What follows are
    /// the messages of `backup`.
    #[n(40)]
    Backup {
        /// The folder that it goes to, absolute, its bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        dest: Vec<u8>,
        /// Only look, and copy nothing.
        #[n(1)]
        dry: bool,
    },
    /// Instead of `Hello`, from the user that the server runs as: hands a letter in. What follows are
    /// the messages of `hand_in`.
    #[n(70)]
    HandIn,
    /// Instead of `Hello`, from the user that the server runs as: sends canaries, and waits for them.
    /// What follows is one list of `canary::Canary`.
    #[n(46)]
    Canaries {
        /// Whom they are sent to.
        #[n(0)]
        addresses: Vec<String>,
        /// Seconds that they are waited for.
        #[n(1)]
        seconds: u64,
    },
    /// Every wrapped secret, and a test of the recovery key.
    #[n(60)]
    ToDrill,
    /// The recovery key was rebuilt, and would open so many epochs.
    #[n(61)]
    Drilled {
        /// Which test.
        #[cbor(n(0), with = "minicbor::bytes")]
        nonce: [u8; 16],
        /// The answer to it, see `keys::challenge`.
        #[cbor(n(1), with = "minicbor::bytes")]
        answer: [u8; 32],
        /// How many.
        #[n(2)]
        epochs: u32,
    },
}

/// A message of the server.
#[derive(Clone, Encode, Decode)]
pub enum Response {
    /// The log-in challenge: an age file to the member.
    #[n(0)]
    Challenge {
        /// The age file.
        #[cbor(n(0), with = "minicbor::bytes")]
        file: Vec<u8>,
        /// The vault, bound into the answer.
        #[n(1)]
        vault: VaultId,
        /// This connection's nonce, bound into the answer.
        #[cbor(n(2), with = "minicbor::bytes")]
        nonce: [u8; 16],
    },
    /// Logged in.
    #[n(1)]
    Welcome {
        /// The member's number.
        #[n(0)]
        staff: StaffId,
        /// The vault.
        #[n(1)]
        vault: VaultId,
        /// The epoch that is sealed to, and its signed note; none if none is proven.
        #[n(2)]
        epoch: Option<(EpochId, String)>,
        /// An epoch that nobody proved yet, and a test sealed to it.
        #[n(3)]
        unproven: Option<Unproven>,
        /// The public key that checkpoints are signed with.
        #[n(4)]
        checkpoint_key: String,
        /// The mailbox's address, for composing.
        #[n(5)]
        mailbox: String,
        /// The founding admin's public key as the server has it pinned.
        #[n(6)]
        admin: String,
        /// Whether secrets are to be wrapped anew to the readers of the roster.
        #[n(7)]
        stale: bool,
        /// The signed notes by which the admin's key was handed over since.
        #[n(8)]
        hand_overs: Vec<String>,
    },
    /// Cases.
    #[n(2)]
    Cases {
        /// Soonest due first.
        #[n(0)]
        cases: Vec<CaseCard>,
    },
    /// Boxes without the server's layer.
    #[n(3)]
    Boxes {
        /// In the order asked for.
        #[n(0)]
        boxes: Vec<Opened>,
    },
    /// Bytes: a chunk, a wrapped secret.
    #[n(4)]
    Bytes {
        /// The bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
    /// Several wrapped secrets.
    #[n(5)]
    Files {
        /// The files.
        #[n(0)]
        files: Vec<minicbor::bytes::ByteVec>,
        /// The admin's signed note of each.
        #[n(1)]
        notes: Vec<String>,
    },
    /// Where an answer goes.
    #[n(6)]
    Contact {
        /// The address.
        #[n(0)]
        address: Personal<String>,
        /// The `Message-ID` of the letter.
        #[n(1)]
        message_id: Option<Personal<String>>,
    },
    /// A text: a message id, a report.
    #[n(7)]
    Text {
        /// The text.
        #[n(0)]
        text: String,
    },
    /// Done, with the position of the first entry.
    #[n(8)]
    Recorded {
        /// Its position.
        #[n(0)]
        seq: u64,
    },
    /// What was forgotten.
    #[n(9)]
    Certificates {
        /// One for each item.
        #[n(0)]
        certificates: Vec<Certificate>,
    },
    /// Ledger entries.
    #[n(10)]
    Entries {
        /// The leaves' bytes in order; empty at the end.
        #[n(0)]
        entries: Vec<minicbor::bytes::ByteVec>,
    },
    /// A checkpoint.
    #[n(11)]
    Checkpoint {
        /// The signed note.
        #[n(0)]
        note: String,
        /// Consistency with the size asked for (RFC 9162 §2.1.4).
        #[n(1)]
        proof: Vec<Digest>,
    },
    /// Clear facts about the vault.
    #[n(12)]
    Status {
        /// What they are.
        #[n(0)]
        status: Status,
    },
    /// Not done, and why.
    #[n(13)]
    Refused {
        /// One sentence without content.
        #[n(0)]
        why: String,
    },
    /// What a check found.
    #[n(14)]
    Checked {
        /// Records, boxes and entries looked at.
        #[n(0)]
        looked_at: u64,
        /// What is wrong.
        #[n(1)]
        problems: Vec<Flaw>,
        /// Problems beyond these.
        #[n(2)]
        more: u64,
    },
    /// How far a sweep is.
    #[n(15)]
    Swept {
        /// What was found, and what is gone.
        #[n(0)]
        summary: SweepSummary,
    },
    /// The roster.
    #[n(16)]
    Roster {
        /// The admin's signed note.
        #[n(0)]
        note: String,
        /// The number that a new member gets.
        #[n(1)]
        next: StaffId,
        /// What was wrapped before it was signed.
        #[n(2)]
        stale: Vec<Wrapped>,
        /// The highest epoch that was signed.
        #[n(3)]
        epoch: EpochId,
        /// The number of the mailbox's newest key.
        #[n(4)]
        mailbox: u32,
    },
    /// A wrapped secret.
    #[n(20)]
    Wrapped {
        /// The age file.
        #[cbor(n(0), with = "minicbor::bytes")]
        file: Vec<u8>,
        /// The admin's signed note of it.
        #[n(1)]
        note: String,
    },
    /// What each right needs.
    #[n(47)]
    Policy {
        /// That.
        #[n(0)]
        policy: Policy,
    },
    /// Copies that came in another open case as well.
    #[n(55)]
    SameCopies {
        /// Which, and where.
        #[n(0)]
        same: Vec<Same>,
    },
    /// How many were kept.
    #[n(17)]
    Kept {
        /// That many.
        #[n(0)]
        count: u64,
    },
    /// A test.
    #[n(19)]
    Test {
        /// The epoch that nobody proved yet, and the test; none if it is proven.
        #[n(0)]
        unproven: Option<Unproven>,
    },
    /// An exchange of content began; a byte follows.
    #[n(21)]
    Exchange,
    /// Sealed chunks.
    #[n(22)]
    Chunks {
        /// The bytes of each; 0 if it cannot be read.
        #[n(0)]
        lengths: Vec<u32>,
        /// One behind the other, unless they are in the window.
        #[cbor(n(1), with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
    /// Epochs.
    #[n(18)]
    Epochs {
        /// Which.
        #[n(0)]
        epochs: Vec<EpochId>,
    },
    /// Every wrapped secret, and a test of the recovery key.
    #[n(60)]
    ToDrill {
        /// The files.
        #[n(0)]
        files: WrappedFiles,
        /// A challenge to the recovery key: an age file.
        #[cbor(n(1), with = "minicbor::bytes")]
        test: Vec<u8>,
        /// Its nonce, bound into the answer.
        #[cbor(n(2), with = "minicbor::bytes")]
        nonce: [u8; 16],
    },
}

/// Something that is wrong with the vault, as a check tells it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Flaw {
    /// The file.
    #[n(0)]
    pub file: String,
    /// Where in it, in bytes.
    #[n(1)]
    pub offset: u64,
    /// What is wrong.
    #[n(2)]
    pub what: String,
    /// What cannot be read for it: case, letter (or note, or mail), item.
    #[n(3)]
    pub harmed: Vec<(Option<CaseId>, Option<LetterId>, Option<ItemId>)>,
    /// What else cannot be read for it.
    #[n(4)]
    pub more_harmed: u64,
    /// What would mend it.
    #[n(5)]
    pub remedy: Option<String>,
}

impl From<&Problem> for Flaw {
    fn from(problem: &Problem) -> Self {
        Self {
            file: problem.file.display().to_string(),
            offset: problem.offset,
            what: problem.what.to_owned(),
            harmed: problem.harmed.iter().map(|h| (h.case, h.letter, h.item)).collect(),
            more_harmed: problem.more_harmed,
            remedy: problem.remedy.as_ref().map(ToString::to_string),
        }
    }
}

impl fmt::Display for Flaw {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} at byte {}", self.file, self.what, self.offset)?;
        for (i, (case, letter, item)) in self.harmed.iter().enumerate() {
            f.write_str(if i == 0 { "; harms" } else { "," })?;
            match (item, letter) {
                (Some(item), _) => write!(f, " item {item}")?,
                (None, Some(letter)) => write!(f, " letter {letter}")?,
                (None, None) => f.write_str(" something of no letter")?,
            }
            if let Some(case) = case {
                write!(f, " of {case}")?;
            }
        }
        if self.more_harmed > 0 {
            write!(f, " and {} more", self.more_harmed)?;
        }
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

/// An epoch that nobody proved yet.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct Unproven {
    /// Which.
    #[n(0)]
    pub epoch: EpochId,
    /// 32 random bytes sealed to it, an age file.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub test: Vec<u8>,
    /// Its signed note.
    #[n(2)]
    pub note: String,
}

/// Clear facts about the vault.
#[derive(Clone, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Status {
    /// Ledger entries.
    #[n(0)]
    pub entries: u64,
    /// Cases, open ones among them.
    #[n(1)]
    pub cases: (u64, u64),
    /// Letters.
    #[n(2)]
    pub letters: u64,
    /// Boxes kept, boxes forgotten.
    #[n(3)]
    pub boxes: (u64, u64),
    /// Mails due, mails refused for good, notices held.
    #[n(4)]
    pub outgoing: (u64, u64, u64),
    /// The epoch that is sealed to.
    #[n(5)]
    pub epoch: Option<EpochId>,
    /// Boxes by epoch: number of the epoch, boxes kept.
    #[n(6)]
    pub by_epoch: Vec<(EpochId, u64)>,
    /// Bytes of content that boxes of older epochs refer to: at most so many, for the ledger knows
    /// sizes by their binary logarithm only.
    #[n(20)]
    pub old_content: u64,
    /// Days from forgetting until the last copy of a key is gone.
    #[n(7)]
    pub horizon_days: u64,
    /// When the cabinet got its key, in minutes since 1970.
    #[n(8)]
    pub cabinet_since: u64,
    /// An epoch that was signed and is not in use: no reader has opened it yet.
    #[n(9)]
    pub unproven: Option<EpochId>,
    /// Epochs whose secret lies here.
    #[n(10)]
    pub epochs: Vec<EpochId>,
    /// What the server's clock says, in minutes since 1970: ages count from it.
    #[n(11)]
    pub now: u64,
    /// The newest checkpoint that outsiders were mailed: when, in minutes since 1970, and how many
    /// took it.
    #[n(12)]
    pub checkpoint: Option<(u64, u64)>,
    /// For each outsider, in the order of the settings, when it took one last, in minutes since 1970;
    /// none if not since the server was started.
    #[n(13)]
    pub outsiders: Vec<Option<u64>>,
    /// The newest backup.
    #[n(14)]
    pub backup: Option<BackedUp>,
    /// The newest drill of the recovery key.
    #[n(15)]
    pub drill: Option<Drilled>,
    /// The mailboxes that letters are fetched from, in the order of the settings.
    #[n(40)]
    pub mailboxes: Vec<Mailbox>,
    /// The list of people on file: when it was sealed, in minutes since 1970, and how many they are.
    #[n(41)]
    pub people: Option<(u64, u64)>,
    /// Until when no notice goes out, in minutes since 1970, because too many did within an hour.
    #[n(60)]
    pub notices_stopped: Option<u64>,
    /// How looking at pictures goes; none if the models were not there at the start.
    #[n(61)]
    pub pictures: Option<Looked>,
}

/// How looking at pictures went since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Looked {
    /// Pictures that were looked at, readable or not.
    #[n(0)]
    pub read: u64,
    /// Looks of which the child died or never came to an end, or for which none could be started.
    #[n(1)]
    pub failed: u64,
    /// Pictures for which there was no place, or no time.
    #[n(2)]
    pub passed_over: u64,
    /// Whether the last few all failed.
    #[n(3)]
    pub is_failing: bool,
}

/// How it stands with a mailbox that letters are fetched from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Mailbox {
    /// What the settings call it.
    #[n(0)]
    pub name: String,
    /// When it was looked through last, in minutes since 1970; none if not since the start.
    #[n(1)]
    pub polled: Option<u64>,
    /// What failed since.
    #[n(2)]
    pub fault: Option<String>,
    /// Mails that cannot be fetched.
    #[n(3)]
    pub aside: u64,
    /// Letters that are sealed and could not be deleted or moved there.
    #[n(4)]
    pub left: u64,
    /// What its server cannot do, and what that means.
    #[n(5)]
    pub remark: Option<String>,
}

/// The longest message before the log-in, in bytes.
pub const MAX_BEFORE_LOG_IN: usize = 4 * 1024;
/// The longest message, in bytes: an opened letter of the largest size with its chunks, or a
/// listing.
pub const MAX_MESSAGE: usize = 160 << 20;

/// Writes one message.
///
/// # Errors
/// What the socket says.
pub fn write<M: Encode<()>>(to: &mut impl Write, message: &M) -> io::Result<()> {
    let frame = frame(message)?;
    to.write_all(&frame)
}

/// Length and CBOR of one message.
///
/// # Errors
/// `InvalidData` if it is longer than [`MAX_MESSAGE`].
pub fn frame<M: Encode<()>>(message: &M) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    minicbor::encode(message, &mut frame).map_err(|_| too_long())?;
    let length = frame.len() - 4;
    if length > MAX_MESSAGE {
        return Err(too_long());
    }
    frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(frame)
}

/// Reads one message.
///
/// # Errors
/// `UnexpectedEof` when the other side ended the connection; `InvalidData` if it is no message.
pub fn read<M: for<'b> Decode<'b, ()>>(from: &mut impl Read) -> io::Result<M> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    if from.take(length as u64).read_to_end(&mut bytes)? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    minicbor::decode(&bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no message"))
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message longer than allowed")
}
