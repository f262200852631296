//! What the ledger says: one flat entry per fact (vault-format §6).
//!
//! Facts only, in a closed vocabulary: no text, no category, no right, no verdict, no name, nothing
//! derived from an address. Whatever says something about a person is a box, of which the entry
//! holds the address. So the ledger can be exported, mirrored and kept for ever, and erasure never
//! has to touch it. Which facts follow which is the business of `casebook`.

use minicbor::{Decode, Encode};

use super::Error;
use crate::ids::{Address, CaseId, Digest, EpochId, ItemId, LetterId, SlotId, StaffId, VaultId};
use crate::vault::seal::{Kind, Place, SealedBox};

/// What happened. The numbers are fixed for ever; what is free up to 63 is reserved (vault-format §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Fact {
    /// The vault was made.
    #[n(0)]
    VaultCreated,
    /// A roster was signed: `hash` of the file.
    #[n(1)]
    RosterSigned,
    /// An epoch note was signed: `epoch`, `hash` of the file.
    #[n(2)]
    EpochSigned,
    /// A member opened a test box of the epoch: it may be sealed to.
    #[n(3)]
    EpochProven,
    /// A key of the server's own lies in `slot`: `hash` of its public part, `count` says which
    /// ([`CHECKPOINT_KEY`], [`MESSAGE_ID_KEY`]). The newest entry of a `count` is in force.
    #[n(4)]
    ServerKey,
    /// A member logged in.
    #[n(5)]
    LoggedIn,
    /// A log-in was refused.
    #[n(6)]
    LogInRefused,
    /// A case was opened, with its due dates.
    #[n(7)]
    CaseOpened,
    /// A letter was received.
    #[n(8)]
    LetterReceived,
    /// A letter came again and was recognised: no case, no notice.
    #[n(9)]
    Redelivered,
    /// A box was sealed; `box_kind` says what it is.
    #[n(10)]
    BoxSealed,
    /// A notice was not sent, by a gate or a budget.
    #[n(11)]
    NoticeHeld,
    /// An outgoing mail was accepted by the next server.
    #[n(12)]
    OutgoingDelivered,
    /// An outgoing mail was given up.
    #[n(13)]
    OutgoingFailed,
    /// A list of boxes was opened: `count`, `hash` of the ids, ledger `position`.
    #[n(14)]
    Listed,
    /// One item was opened.
    #[n(15)]
    Looked,
    /// A box was forgotten: its slot must not be in the cabinet any more.
    #[n(16)]
    Forgotten,
    /// A key was replaced, one of the server's own or that of a box that was sealed anew: its slot
    /// must not be in the cabinet any more.
    #[n(17)]
    SlotDropped,
    /// The cabinet has a new key: `count` is its generation.
    #[n(18)]
    CabinetRotated,
    /// A member decided a case.
    #[n(19)]
    Decided,
    /// The time to answer was extended (GDPR Art. 12(3)).
    #[n(20)]
    Extended,
    /// The person was asked for more; the time may stand still.
    #[n(21)]
    Asked,
    /// The person answered: the time runs again.
    #[n(22)]
    Resumed,
    /// A case is held for a legal duty: nothing of it is forgotten.
    #[n(23)]
    HeldForLaw,
    /// A hold ended.
    #[n(24)]
    HoldLifted,
    /// An answer was given.
    #[n(25)]
    Answered,
    /// A case was closed.
    #[n(26)]
    Closed,
    /// A member opened an encrypted letter and sealed its parts as items.
    #[n(27)]
    LetterOpened,
    /// The index was made again.
    #[n(28)]
    IndexRebuilt,
    /// Bytes were moved to the quarantine.
    #[n(29)]
    Quarantined,
    /// A sweep looked for records that nothing refers to: `count` of them, among the first
    /// `position` entries; `hash` of the plan that was written down, if there are any.
    #[n(32)]
    SweepPlanned,
    /// A second look agreed, and `count` records were removed; `position` is that of the plan.
    #[n(33)]
    Swept,
    /// A backup was made: it covers the first `position` entries and holds `count` keys; `hash` of
    /// its signed head.
    #[n(35)]
    BackupMade,
    /// The vault was made anew from a backup. Erasures that came after the backup are known up to
    /// entry `position` of the ledger that was lost, `count` of them; without `count` a person
    /// stated that there were none. `hash` of the file that has the notes, or the reason.
    #[n(36)]
    Restored,
    /// A member began to seal content anew, under new keys: `count` boxes were sealed to older epochs.
    #[n(37)]
    ResealPlanned,
    /// A box was sealed anew to a newer epoch: the fields of a box; its content is the same. The
    /// slot of its old key is dropped by an entry behind this one.
    #[n(38)]
    Resealed,
    /// A member is not in the roster any more: `staff` is the member's number.
    #[n(39)]
    MemberRevoked,
    /// A secret was wrapped anew to the readers of the roster: `epoch`, or `count` for a secret of
    /// the mailbox; `hash` of the file.
    #[n(40)]
    ReWrapped,
    /// The wrapped secret of an epoch was removed: nothing that is kept is sealed to it.
    #[n(41)]
    EpochDestroyed,
    /// A member proved with sheets of the recovery key that it would open `count` epochs; `hash` of
    /// its public half as text.
    #[n(42)]
    RecoveryDrilled,
    /// The head of the ledger at `position` entries was mailed to `count` outsiders.
    #[n(43)]
    CheckpointSent,
    /// A roster, an epoch, a key of the mailbox or a wrapped secret was offered and refused: `hash` of what was offered.
    #[n(45)]
    KeyChangeRefused,
    /// A key of the mailbox was signed: `count` is its number, `hash` that of the note's file.
    #[n(46)]
    MailboxSigned,
    /// The admin key was handed over: `count` is the number of the new one, `hash` that of the note's
    /// file.
    #[n(47)]
    AdminSigned,
    /// A mail in a mailbox of another server was dealt with: `hash` says which mailbox, `count`
    /// is 2^32 times its UIDVALIDITY and its UID. With `case` and `letter` if it is one here.
    #[n(48)]
    MailFetched,
    /// A mail in a mailbox of another server could not be fetched and is passed over: `hash` and
    /// `count` as above. It stays where it is.
    #[n(49)]
    MailSetAside,
    /// A notice was sealed, to be sent once: the fields of a box.
    #[n(50)]
    NoticeDue,
    /// The notice `letter` is about to be handed over. What happened to one whose end is not entered
    /// is unknown, and it is not sent again.
    #[n(51)]
    NoticeSending,
    /// How handing over the notice `letter` ended: `count` is [`NOTICE_TAKEN`] or one of its like.
    #[n(52)]
    NoticeEnded,
    /// A report of a machine was received: a letter that opens no case and answers no question. In
    /// the case whose mail it names by an id of ours, else in one that such reports share; `count`
    /// is [`REPORT_FAILED`] or one of its like.
    #[n(53)]
    ReportReceived,
    /// A member insisted on having an item in spite of the virus scanner, or without its word.
    #[n(54)]
    WarningOverridden,
    /// What was entered of a mailbox by its name alone, as older versions did, is about the mailbox of
    /// these settings: `hash` is the name's, `count` the start of the settings'.
    #[n(55)]
    MailboxBound,
    /// From here on no name of a mailbox is bound any more.
    #[n(56)]
    MailboxNamesClosed,
    /// A member recorded evidence of who asks; which, a note says.
    #[n(57)]
    EvidenceRecorded,
    /// A member accepted evidence of who asks; which, and at which level, a note says.
    #[n(58)]
    ProofAccepted,
    /// A member doubts who asks; why, a note says.
    #[n(59)]
    DoubtRaised,
    /// The list of people on file was sealed, and takes the place of the one before: `count` people.
    #[n(60)]
    PeopleImported,
    /// A member had the national numbers of a letter shown.
    #[n(61)]
    NumbersShown,
    /// An item is a copy of an identity document, or with a `count` of 0 none: the newest counts. A copy
    /// is forgotten after the decision.
    #[n(65)]
    IdentityCopy,
    /// A member checked a copy of an identity document.
    #[n(66)]
    IdentityChecked,
    /// A member had a copy of an identity document without its mask; why, a note says.
    #[n(67)]
    Unmasked,
}

/// `count` of a [`Fact::IdentityCopy`] entry: a member says that the item is none. Absent where it is one.
pub const NO_COPY: u64 = 0;
/// `count` of a [`Fact::IdentityCopy`] entry: the reader of pictures on a member's machine says that the item
/// is one, and the member said nothing of it.
pub const READ_AT_DESK: u64 = 1;

/// `count` of a [`Fact::ServerKey`] entry: the key that signs checkpoints.
pub const CHECKPOINT_KEY: u64 = 1;
/// `count` of a [`Fact::ServerKey`] entry: the key that makes and knows our own Message-IDs.
pub const MESSAGE_ID_KEY: u64 = 2;

/// `count` of a [`Fact::NoticeEnded`] entry: the next server took it.
pub const NOTICE_TAKEN: u64 = 1;
/// `count` of a [`Fact::NoticeEnded`] entry: it was refused for good, or grew too old.
pub const NOTICE_REFUSED: u64 = 2;
/// `count` of a [`Fact::NoticeEnded`] entry: it was not taken, and is due again.
pub const NOTICE_DEFERRED: u64 = 3;
/// `count` of a [`Fact::NoticeEnded`] entry: nobody knows whether it was taken.
pub const NOTICE_UNKNOWN: u64 = 4;

/// `count` of a [`Fact::ReportReceived`] entry: a mail of ours could not be delivered.
pub const REPORT_FAILED: u64 = 1;
/// `count` of a [`Fact::ReportReceived`] entry: it says something else.
pub const REPORT_OTHER: u64 = 2;

/// One entry. Most fields are empty in most entries; `Fact` says which are meant.
///
/// Made with a struct literal over [`Entry::new`]: `Entry { case: Some(id), ..Entry::new(fact, now) }`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// Position in the ledger, from 0; assigned by the store.
    #[n(0)]
    pub seq: u64,
    /// Whole minutes since 1970-01-01T00:00:00Z.
    #[n(1)]
    pub minute: u64,
    /// What happened.
    #[n(2)]
    pub kind: Fact,
    /// The case it belongs to.
    #[n(3)]
    pub case: Option<CaseId>,
    /// The letter, the outgoing mail or the note.
    #[n(4)]
    pub letter: Option<LetterId>,
    /// The item; absent for a box that is no item.
    #[n(5)]
    pub item: Option<ItemId>,
    /// The cabinet slot of the box, or of a key of the server's own.
    #[n(6)]
    pub slot: Option<SlotId>,
    /// The address of the box.
    #[n(7)]
    pub boxed: Option<Address>,
    /// BLAKE3(M) of the box.
    #[n(8)]
    pub content: Option<Digest>,
    /// What the box is.
    #[n(9)]
    pub box_kind: Option<Kind>,
    /// When one month is over, in days since 1970-01-01.
    #[n(10)]
    pub due_one: Option<i32>,
    /// When three months are over, in days since 1970-01-01.
    #[n(11)]
    pub due_three: Option<i32>,
    /// The epoch sealed to, signed or proven.
    #[n(12)]
    pub epoch: Option<EpochId>,
    /// The member who did it.
    #[n(13)]
    pub staff: Option<StaffId>,
    /// Size bucket: the binary logarithm of the padded size.
    #[n(14)]
    pub size: Option<u8>,
    /// Hash of a signed file, an id list, a public key or a checkpoint.
    #[n(15)]
    pub hash: Option<Digest>,
    /// A number; the fact says of what.
    #[n(16)]
    pub count: Option<u64>,
    /// The ledger position that a listing saw.
    #[n(17)]
    pub position: Option<u64>,
    /// The item that this one was taken out of.
    #[n(18)]
    pub container: Option<ItemId>,
    /// What a listing was about: 1 open cases, 2 all cases, 3 one case, 4 the notes of one case,
    /// 5 the open cases due soonest, 6 boxes of older epochs.
    #[n(19)]
    pub filter: Option<u8>,
}

impl Entry {
    /// A bare entry: the fact and its minute, everything else empty.
    #[must_use]
    pub fn new(kind: Fact, minute: u64) -> Self {
        Self {
            seq: 0,
            minute,
            kind,
            case: None,
            letter: None,
            item: None,
            slot: None,
            boxed: None,
            content: None,
            box_kind: None,
            due_one: None,
            due_three: None,
            epoch: None,
            staff: None,
            size: None,
            hash: None,
            count: None,
            position: None,
            container: None,
            filter: None,
        }
    }

    /// An entry that records a sealed box: where it belongs, its slot, its address and BLAKE3(M).
    #[must_use]
    pub fn of_box(kind: Fact, minute: u64, sealed: &SealedBox, content: Digest) -> Self {
        let place = sealed.place();
        let is_item = place.item.as_bytes() != place.letter.as_bytes();
        Self {
            letter: Some(place.letter),
            item: is_item.then_some(place.item),
            slot: Some(sealed.slot()),
            boxed: Some(sealed.address()),
            content: Some(content),
            box_kind: Some(place.kind),
            ..Self::new(kind, minute)
        }
    }

    /// Where the box that this entry records belongs in `vault`; nothing if it records none.
    #[must_use]
    pub fn place(&self, vault: VaultId) -> Option<Place> {
        let letter = self.letter?;
        let item = self.item.unwrap_or(ItemId::new(*letter.as_bytes()));
        self.boxed?;
        Some(Place { kind: self.box_kind?, vault, letter, item })
    }

    /// Whether this entry brings a key into the cabinet: a box's or the server's own.
    #[must_use]
    pub fn fills_slot(&self) -> bool {
        self.slot.is_some() && (self.boxed.is_some() || self.kind == Fact::ServerKey)
    }

    /// Whether the slot named here must not be in the cabinet any more.
    #[must_use]
    pub fn empties_slot(&self) -> bool {
        self.slot.is_some() && matches!(self.kind, Fact::Forgotten | Fact::SlotDropped)
    }

    /// The bytes of the entry: what the tree hashes and the store keeps.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to memory does not fail")
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`Error::FutureVersion`] for a fact or a kind of box this version does not know,
    /// [`Error::NotAnEntry`] for anything else that is no entry.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let is_later = || has_later_kind(bytes).unwrap_or(false);
        let mut decoder = minicbor::Decoder::new(bytes);
        let entry: Self = decoder.decode().map_err(|e| {
            if e.is_unknown_variant() || is_later() {
                Error::FutureVersion
            } else {
                Error::NotAnEntry
            }
        })?;
        if entry.box_kind.is_none() && entry.boxed.is_some() && is_later() {
            return Err(Error::FutureVersion);
        }
        if decoder.position() == bytes.len() { Ok(entry) } else { Err(Error::NotAnEntry) }
    }
}

/// Whether these bytes are a map that names a kind of box which this version does not know. (What
/// decodes an entry would take that for an optional field that is not there.)
fn has_later_kind(bytes: &[u8]) -> Result<bool, minicbor::decode::Error> {
    let mut decoder = minicbor::Decoder::new(bytes);
    for _ in 0..decoder.map()?.unwrap_or(0) {
        if decoder.u64()? == KIND {
            return Ok(!KINDS.contains(&decoder.u64()?));
        }
        decoder.skip()?;
    }
    Ok(false)
}

/// The key of the kind of a box in an entry.
const KIND: u64 = 9;
/// The kinds that this version knows.
const KINDS: std::ops::RangeInclusive<u64> = 1..=Kind::Outgoing as u64 + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        let entry = Entry {
            seq: 7,
            case: Some(CaseId::random()),
            letter: Some(LetterId::random()),
            item: Some(ItemId::random()),
            slot: Some(SlotId::random()),
            boxed: Some(Address::new([3; 32])),
            content: Some(Digest::new([4; 32])),
            box_kind: Some(Kind::Item),
            due_one: Some(-1),
            due_three: Some(20_000),
            epoch: Some(EpochId(2)),
            staff: Some(StaffId(9)),
            size: Some(18),
            hash: Some(Digest::new([5; 32])),
            count: Some(u64::MAX),
            position: Some(6),
            container: Some(ItemId::random()),
            filter: Some(3),
            ..Entry::new(Fact::BoxSealed, 29_000_000)
        };
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(entry));
        let bare = Entry::new(Fact::Quarantined, 0);
        assert_eq!(Entry::from_bytes(&bare.to_bytes()), Ok(bare.clone()));
        assert!(bare.to_bytes().len() < 12);
    }

    #[test]
    fn a_fact_of_a_later_version_is_told_from_damage() {
        let mut bytes = Entry::new(Fact::Quarantined, 0).to_bytes();
        let at = bytes.windows(2).position(|w| w == [0x18, 29]).expect("the fact is in there");
        bytes[at + 1] = 200;
        assert_eq!(Entry::from_bytes(&bytes), Err(Error::FutureVersion));
        assert_eq!(Entry::from_bytes(&bytes[..4]), Err(Error::NotAnEntry));
        let mut longer = Entry::new(Fact::Closed, 1).to_bytes();
        longer.push(0);
        assert_eq!(Entry::from_bytes(&longer), Err(Error::NotAnEntry));
    }
}
