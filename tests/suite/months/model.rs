//! What must be true of a vault, as plain data: who is a member, what is wrapped to whom, which box
//! is sealed to which epoch. It never asks the vault; it is told what was done.

use std::collections::{BTreeMap, BTreeSet};

use kluis::casebook::state::Wrapped;
use kluis::ids::{CaseId, EpochId, ItemId, SlotId, StaffId, VaultId};
use kluis::keys::roster::Role;
use kluis::ledger::entry::{Entry, Fact};
use kluis::vault::seal::Kind;

/// Minutes between two rotations of the cabinet, if something was dropped.
const DAY: u64 = 24 * 60;
/// Boxes that are sealed anew at a time (`staff::reseal`).
const AT_ONCE: usize = 256;

/// Somebody who is in the roster, or was.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: StaffId,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) is_present: bool,
    /// Every epoch whose secret they may have taken along.
    pub(super) could_open: BTreeSet<EpochId>,
}

impl Member {
    pub(super) fn reads(&self) -> bool {
        matches!(self.role, Role::Backoffice | Role::Dpo)
    }
}

/// A key and the epoch that a box was sealed with.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    /// The entry that says so.
    pub(super) seq: u64,
    pub(super) slot: SlotId,
    pub(super) epoch: EpochId,
    /// Rotations of the cabinet until its key was dropped.
    pub(super) dropped: Option<u64>,
}

impl Sealed {
    fn of(entry: &Entry, epoch: EpochId) -> Self {
        let slot = entry.slot.expect("a box has a slot");
        Self { seq: entry.seq, slot, epoch, dropped: None }
    }
}

/// A box for staff.
#[derive(Clone, Debug)]
pub(super) struct Boxed {
    pub(super) kind: Kind,
    pub(super) item: ItemId,
    pub(super) case: CaseId,
    /// The entry that forgets it.
    pub(super) forgotten: Option<u64>,
    /// Oldest first.
    pub(super) sealed: Vec<Sealed>,
}

impl Boxed {
    pub(super) fn epoch(&self) -> EpochId {
        self.sealed.last().expect("is sealed once at least").epoch
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.forgotten.is_some()
    }

    pub(super) fn is_kept_item(&self) -> bool {
        self.kind == Kind::Item && !self.is_forgotten()
    }
}

/// A change of the roster.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Hired(Member),
    Dismissed(StaffId),
    /// The same people, signed by a new admin key.
    Nobody,
}

/// Something that concerns who can open what.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Sealed(Kind, EpochId),
    Resealed(Kind, ItemId, EpochId),
    Forgotten(ItemId),
    Roster(Box<Change>),
    /// The admin key of this number follows.
    AdminSigned(u64),
    Revoked(StaffId),
    Signed(EpochId),
    MailboxSigned(u32),
    Proven(EpochId),
    ReWrapped(Wrapped),
    Destroyed(EpochId),
    Rotated,
    Refused,
    /// The recovery key would open so many epochs.
    Drilled(u64),
}

/// What is entered together: all of it or nothing.
pub(super) type Group = Vec<Event>;

impl Event {
    /// Whether an entry is one that the model has to know of.
    pub(super) fn concerns(entry: &Entry) -> bool {
        let is_change = matches!(
            entry.kind,
            Fact::Forgotten
                | Fact::RosterSigned
                | Fact::MemberRevoked
                | Fact::EpochSigned
                | Fact::MailboxSigned
                | Fact::EpochProven
                | Fact::ReWrapped
                | Fact::EpochDestroyed
                | Fact::CabinetRotated
                | Fact::KeyChangeRefused
                | Fact::AdminSigned
                | Fact::RecoveryDrilled
        );
        is_change || (entry.boxed.is_some() && entry.epoch.is_some())
    }

    /// Whether this is what the entry says.
    pub(super) fn is(&self, entry: &Entry, vault: VaultId) -> bool {
        let item = || entry.place(vault).map(|place| place.item);
        match self {
            Event::Sealed(kind, epoch) => {
                entry.kind != Fact::Resealed
                    && (entry.box_kind, entry.epoch) == (Some(*kind), Some(*epoch))
            }
            Event::Resealed(kind, id, epoch) => {
                entry.kind == Fact::Resealed
                    && (entry.box_kind, item(), entry.epoch)
                        == (Some(*kind), Some(*id), Some(*epoch))
            }
            Event::Forgotten(id) => entry.kind == Fact::Forgotten && entry.item == Some(*id),
            Event::Roster(_) => entry.kind == Fact::RosterSigned,
            Event::Revoked(id) => entry.kind == Fact::MemberRevoked && entry.staff == Some(*id),
            Event::Signed(id) => entry.kind == Fact::EpochSigned && entry.epoch == Some(*id),
            Event::MailboxSigned(number) => {
                entry.kind == Fact::MailboxSigned && entry.count == Some(u64::from(*number))
            }
            Event::Proven(id) => entry.kind == Fact::EpochProven && entry.epoch == Some(*id),
            Event::ReWrapped(Wrapped::Epoch(id)) => {
                entry.kind == Fact::ReWrapped && entry.epoch == Some(*id)
            }
            Event::ReWrapped(Wrapped::Mailbox(number)) => {
                entry.kind == Fact::ReWrapped && entry.count == Some(u64::from(*number))
            }
            Event::Destroyed(id) => entry.kind == Fact::EpochDestroyed && entry.epoch == Some(*id),
            Event::Rotated => entry.kind == Fact::CabinetRotated,
            Event::Refused => entry.kind == Fact::KeyChangeRefused,
            Event::AdminSigned(number) => {
                entry.kind == Fact::AdminSigned && entry.count == Some(*number)
            }
            Event::Drilled(epochs) => {
                entry.kind == Fact::RecoveryDrilled && entry.count == Some(*epochs)
            }
        }
    }
}

/// The vault.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) members: Vec<Member>,
    /// The version of the roster in force.
    pub(super) version: u32,
    /// In the order in which they were sealed first.
    pub(super) boxes: Vec<Boxed>,
    /// Every secret that lies there, and to whom it is wrapped.
    pub(super) wrapped: BTreeMap<Wrapped, BTreeSet<StaffId>>,
    /// Wrapped before the roster in force was signed.
    pub(super) stale: BTreeSet<Wrapped>,
    /// The highest epoch that was signed, and the one that is sealed to.
    pub(super) signed: EpochId,
    pub(super) newest: EpochId,
    pub(super) mailbox: u32,
    pub(super) destroyed: BTreeSet<EpochId>,
    pub(super) rotations: u64,
    /// When the last one was, in minutes since 1970.
    rotated: u64,
    /// A key was dropped since.
    is_dropped: bool,
}

impl Model {
    /// A vault just founded for these members; epoch 1 is proven.
    pub(super) fn new(mut members: Vec<Member>) -> Self {
        let readers: BTreeSet<_> = members.iter().filter(|m| m.reads()).map(|m| m.id).collect();
        for member in members.iter_mut().filter(|member| member.reads()) {
            member.could_open.insert(EpochId(1));
        }
        Self {
            members,
            version: 1,
            boxes: Vec::new(),
            wrapped: [
                (Wrapped::Epoch(EpochId(1)), readers.clone()),
                (Wrapped::Mailbox(1), readers),
            ]
            .into(),
            stale: BTreeSet::new(),
            signed: EpochId(1),
            newest: EpochId(1),
            mailbox: 1,
            destroyed: BTreeSet::new(),
            rotations: 0,
            rotated: 0,
            is_dropped: false,
        }
    }

    pub(super) fn present(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_present)
    }

    pub(super) fn readers(&self) -> impl Iterator<Item = &Member> {
        self.present().filter(|member| member.reads())
    }

    pub(super) fn member(&self, id: StaffId) -> &Member {
        self.members.iter().find(|member| member.id == id).expect("was hired")
    }

    /// Letters that are kept.
    pub(super) fn letters(&self) -> usize {
        self.boxes.iter().filter(|boxed| boxed.kind == Kind::Letter).count()
    }

    /// The number of the next member: nobody has it, and nobody had it.
    pub(super) fn next_number(&self) -> StaffId {
        StaffId(self.members.iter().map(|member| member.id.0).max().unwrap_or(0) + 1)
    }

    /// Whether the secret of this epoch lies wrapped to this member.
    pub(super) fn opens(&self, member: StaffId, epoch: EpochId) -> bool {
        self.wrapped.get(&Wrapped::Epoch(epoch)).is_some_and(|to| to.contains(&member))
    }

    /// Whether everything that is kept is open to this member.
    pub(super) fn opens_all(&self, member: StaffId) -> bool {
        let mut kept = self.boxes.iter().filter(|boxed| !boxed.is_forgotten());
        self.opens(member, self.newest) && kept.all(|boxed| self.opens(member, boxed.epoch()))
    }

    /// Whether something opens to nobody any more once this member is gone.
    pub(super) fn depends_on(&self, gone: StaffId) -> bool {
        let left: Vec<&Member> = self.readers().filter(|member| member.id != gone).collect();
        let may_wrap = |what: &Wrapped, member: &Member| match what {
            Wrapped::Epoch(_) => true,
            Wrapped::Mailbox(_) => member.role == Role::Backoffice,
        };
        let is_lost = |(what, to): (&Wrapped, &BTreeSet<StaffId>)| {
            !left.iter().any(|member| to.contains(&member.id) && may_wrap(what, member))
        };
        left.len() < 2 || self.wrapped.iter().any(is_lost)
    }

    /// Whether the nightly rotation of the cabinet is due.
    pub(super) fn rotation_is_due(&self, minute: u64) -> bool {
        self.is_dropped && minute >= self.rotated + DAY
    }

    /// What a log-in enters.
    pub(super) fn log_in(&self, member: StaffId) -> Vec<Group> {
        let proves = self.signed > self.newest
            && self.member(member).reads()
            && self.opens(member, self.signed);
        if proves { vec![vec![Event::Proven(self.signed)]] } else { Vec::new() }
    }

    /// What wrapping anew enters, and how many secrets wait for somebody else.
    pub(super) fn rewrap(&self, member: StaffId) -> (Vec<Group>, usize) {
        let role = self.member(member).role;
        let can = |what: &&Wrapped| {
            let may = match what {
                Wrapped::Epoch(_) => matches!(role, Role::Backoffice | Role::Dpo),
                Wrapped::Mailbox(_) => role == Role::Backoffice,
            };
            may && self.wrapped[*what].contains(&member)
        };
        let (done, left): (Vec<&Wrapped>, Vec<&Wrapped>) = self.stale.iter().partition(can);
        (done.into_iter().map(|what| vec![Event::ReWrapped(*what)]).collect(), left.len())
    }

    /// What sealing anew enters, at most so many boxes.
    pub(super) fn reseal(&self, most: usize) -> Vec<Group> {
        let is_old = |boxed: &&Boxed| !boxed.is_forgotten() && boxed.epoch() < self.newest;
        let boxes: Vec<Event> = (self.boxes.iter().filter(is_old).take(most))
            .map(|boxed| Event::Resealed(boxed.kind, boxed.item, self.newest))
            .collect();
        boxes.chunks(AT_ONCE).map(<[Event]>::to_vec).collect()
    }

    /// Epochs that are over, or how many boxes are in the way.
    pub(super) fn over(&self) -> Result<Vec<EpochId>, usize> {
        let kept = self.boxes.iter().filter(|boxed| !boxed.is_forgotten());
        let used: Vec<EpochId> = kept.map(Boxed::epoch).filter(|id| *id < self.newest).collect();
        let is_over = |id: &EpochId| !used.contains(id) && !self.destroyed.contains(id);
        let over: Vec<EpochId> = (1..self.newest.0).map(EpochId).filter(is_over).collect();
        if over.is_empty() && !used.is_empty() { Err(used.len()) } else { Ok(over) }
    }

    /// The slots that the cabinet has a key in, of boxes for staff.
    pub(super) fn live(&self) -> BTreeSet<SlotId> {
        let sealed = self.boxes.iter().flat_map(|boxed| &boxed.sealed);
        sealed.filter(|sealed| sealed.dropped.is_none()).map(|sealed| sealed.slot).collect()
    }

    /// The vault as it was restored from a backup of this one, after it was `lost`: what the first
    /// `known_to` entries of the lost ledger forgot is forgotten again, by these events. Gives the
    /// people whom it does not know any more, too.
    pub(super) fn restored(&self, lost: &Self, known_to: u64) -> (Self, Vec<Event>, Vec<Member>) {
        let mut model = Self { rotations: lost.rotations, ..self.clone() };
        let there_still = |known: &BTreeSet<EpochId>| -> BTreeSet<EpochId> {
            known.iter().copied().filter(|epoch| *epoch <= self.signed).collect()
        };
        for member in &mut model.members {
            let now = lost.members.iter().find(|now| now.name == member.name);
            member
                .could_open
                .extend(now.map(|now| there_still(&now.could_open)).into_iter().flatten());
        }
        let is_unknown = |now: &&Member| model.members.iter().all(|member| member.name != now.name);
        let unknown = lost.members.iter().filter(is_unknown).map(|now| Member {
            is_present: false,
            could_open: there_still(&now.could_open),
            ..now.clone()
        });
        let unknown = unknown.collect();
        let was_forgotten = |boxed: &&Boxed| {
            let now =
                lost.boxes.iter().find(|now| (now.kind, now.item) == (boxed.kind, boxed.item));
            let then = now.and_then(|now| now.forgotten);
            !boxed.is_forgotten() && then.is_some_and(|then| then < known_to)
        };
        let mut gone: Vec<&Boxed> = model.boxes.iter().filter(was_forgotten).collect();
        gone.sort_by_key(|boxed| boxed.sealed.last().map(|sealed| sealed.seq));
        let again = gone.iter().map(|boxed| Event::Forgotten(boxed.item)).collect();
        (model, again, unknown)
    }

    /// Takes in that a secret lies wrapped to the readers of the roster in force.
    pub(super) fn wrapped_to_readers(&mut self, what: Wrapped) {
        let readers: BTreeSet<StaffId> = self.readers().map(|member| member.id).collect();
        if let Wrapped::Epoch(epoch) = what {
            for member in self.members.iter_mut().filter(|member| readers.contains(&member.id)) {
                member.could_open.insert(epoch);
            }
        }
        self.wrapped.insert(what, readers);
    }

    /// Takes in what became of keys.
    pub(super) fn take_keys(&mut self, event: &Event) {
        match event {
            Event::Roster(change) => {
                self.version += 1;
                match &**change {
                    Change::Hired(member) => self.members.push(member.clone()),
                    Change::Dismissed(gone) => {
                        let member = self.members.iter_mut().find(|member| member.id == *gone);
                        member.expect("is in the roster").is_present = false;
                    }
                    Change::Nobody => {}
                }
                self.stale = self.wrapped.keys().copied().collect();
            }
            Event::Signed(epoch) => {
                self.signed = *epoch;
                self.wrapped_to_readers(Wrapped::Epoch(*epoch));
            }
            Event::MailboxSigned(number) => {
                self.mailbox = *number;
                self.wrapped_to_readers(Wrapped::Mailbox(*number));
            }
            Event::Proven(epoch) => self.newest = *epoch,
            Event::ReWrapped(what) => {
                self.stale.remove(what);
                self.wrapped_to_readers(*what);
            }
            Event::Destroyed(epoch) => {
                self.destroyed.insert(*epoch);
                self.wrapped.remove(&Wrapped::Epoch(*epoch));
                self.stale.remove(&Wrapped::Epoch(*epoch));
            }
            Event::Sealed(..)
            | Event::Resealed(..)
            | Event::Forgotten(_)
            | Event::Rotated
            | Event::Revoked(_)
            | Event::AdminSigned(_)
            | Event::Drilled(_)
            | Event::Refused => {}
        }
    }

    /// Takes in what became of boxes, of which the entry says where they are.
    pub(super) fn take_box(&mut self, event: &Event, entry: &Entry, vault: VaultId) {
        let dropped = Some(self.rotations);
        match event {
            Event::Sealed(kind, epoch) => {
                let place = entry.place(vault).expect("a box has a place");
                self.boxes.push(Boxed {
                    kind: *kind,
                    item: place.item,
                    case: entry.case.expect("a box is of a case"),
                    forgotten: None,
                    sealed: vec![Sealed::of(entry, *epoch)],
                });
            }
            Event::Resealed(kind, item, epoch) => {
                let boxed = self.boxed(*kind, *item);
                boxed.sealed.last_mut().expect("is sealed").dropped = dropped;
                boxed.sealed.push(Sealed::of(entry, *epoch));
                self.is_dropped = true;
            }
            Event::Forgotten(item) => {
                let boxed = self.boxed(Kind::Item, *item);
                boxed.forgotten = Some(entry.seq);
                boxed.sealed.last_mut().expect("is sealed").dropped = dropped;
                self.is_dropped = true;
            }
            Event::Rotated => {
                self.rotations += 1;
                (self.rotated, self.is_dropped) = (entry.minute, false);
            }
            _ => {}
        }
    }

    fn boxed(&mut self, kind: Kind, item: ItemId) -> &mut Boxed {
        let found = self.boxes.iter_mut().find(|boxed| (boxed.kind, boxed.item) == (kind, item));
        found.expect("was sealed")
    }
}
