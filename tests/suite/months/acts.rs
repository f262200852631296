//! What people do at the desk, and what each act will enter.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;

use kluis::casebook::Act as CaseAct;
use kluis::casebook::state::Wrapped;
use kluis::ids::{EpochId, ItemId, StaffId};
use kluis::keys::admin::AdminKey;
use kluis::keys::roster::{Member as Listed, Role, Roster};
use kluis::staff::client::{Client, Error};
use kluis::staff::keys::InForce;
use kluis::staff::recovery;
use kluis::store::{COMMIT_STEPS, FORGET_STEPS, ROTATE_STEPS};
use kluis::upkeep::backup::BACKUP_STEPS;
use kluis::vault::seal::Kind;

use super::model::{Change, Event, Group, Member, Model};
use super::{DAY, MOST_MEMBERS, SIZE, START, Walk};
use crate::forget::recording;
use crate::mail_client::{Client as Sender, letter};
use crate::world::{MAILBOX, World};

/// What somebody does.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// A letter comes.
    Deliver,
    /// A member logs in: proves a new epoch, wraps anew what waits, looks.
    Visit(StaffId),
    /// An item is forgotten, perhaps with a rotation of the cabinet at once.
    Forget(StaffId, ItemId, bool),
    Hire(Role),
    Dismiss(StaffId),
    /// A new epoch is signed.
    AddEpoch,
    /// A new key of the mailbox is signed.
    AddMailbox,
    /// So many boxes are sealed anew, perhaps with their content.
    Reseal(StaffId, u64, bool),
    DestroyEpochs,
    RotateCabinet,
    /// A roster that is not newer is offered.
    Replay,
    /// The admin key is handed over.
    HandOver,
    /// Whoever has an admin key that was handed over signs with it; an epoch, or else a roster.
    Forge(usize, bool),
    /// Sheets rebuild the recovery key, and it is tried.
    Drill(StaffId),
    /// The vault is copied to the folder of backups.
    BackUp,
}

impl Act {
    /// The steps at which it may be killed, beside those of a commit.
    pub(super) fn steps(&self) -> &'static [&'static str] {
        match self {
            Act::Deliver | Act::Reseal(..) => COMMIT_STEPS,
            Act::Visit(_) => &["file:drafted", "keys:kept-before", "keys:wrapped-written"],
            Act::Forget(_, _, true) | Act::RotateCabinet => ROTATE_STEPS,
            Act::Forget(_, _, false) => FORGET_STEPS,
            Act::Hire(_) | Act::Dismiss(_) => &["file:drafted", "keys:roster-written"],
            Act::AddEpoch => &["file:drafted", "keys:epoch-written"],
            Act::AddMailbox => &["file:drafted", "keys:mailbox-written", "keys:mailbox-entered"],
            Act::DestroyEpochs => &["keys:destroying-entered"],
            Act::Replay | Act::Forge(..) | Act::Drill(_) => COMMIT_STEPS,
            Act::HandOver => &["file:drafted", "keys:hand-over-written", "keys:roster-written"],
            Act::BackUp => BACKUP_STEPS,
        }
    }
}

impl Walk {
    /// What somebody may sensibly do now.
    pub(super) fn choose(&mut self) -> Option<Act> {
        let able = |model: &Model| -> Vec<StaffId> {
            let able = model.readers().filter(|member| member.role == Role::Backoffice);
            able.map(|member| member.id).filter(|id| model.opens_all(*id)).collect()
        };
        Some(match self.below(120) {
            0..28 => Act::Deliver,
            28..40 => {
                let members = self.model.present().map(|member| member.id).collect();
                Act::Visit(self.pick(members)?)
            }
            40..54 => {
                let who = self.pick(able(&self.model))?;
                let kept = self.model.boxes.iter().filter(|boxed| boxed.is_kept_item());
                let item = self.pick(kept.map(|boxed| boxed.item).collect())?;
                Act::Forget(who, item, self.one_in(3))
            }
            54..62 if self.model.present().count() < MOST_MEMBERS => {
                let roles = vec![Role::Backoffice, Role::Backoffice, Role::Dpo, Role::Auditor];
                Act::Hire(self.pick(roles)?)
            }
            54..70 => {
                let leaving = self.model.present().filter(|member| {
                    member.role != Role::Admin && !self.model.depends_on(member.id)
                });
                Act::Dismiss(self.pick(leaving.map(|member| member.id).collect())?)
            }
            70..78 => Act::AddEpoch,
            78..80 => Act::AddMailbox,
            80..90 => {
                let who = self.pick(able(&self.model))?;
                let most = if self.one_in(2) { u64::MAX } else { self.below(12) as u64 + 1 };
                Act::Reseal(who, most, self.one_in(3))
            }
            90..95 => Act::DestroyEpochs,
            95..98 => Act::RotateCabinet,
            98..100 => Act::Replay,
            100..102 => Act::HandOver,
            102..105 if self.old_admins.is_empty() => Act::HandOver,
            102..105 => Act::Forge(self.below(self.old_admins.len()), self.one_in(2)),
            105..108 => {
                let may = |member: &&Member| member.reads() || member.role == Role::Admin;
                let members = self.model.present().filter(may).map(|member| member.id).collect();
                Act::Drill(self.pick(members)?)
            }
            _ => Act::BackUp,
        })
    }

    /// Does it. An error is a server that died.
    pub(super) fn perform(&mut self, act: &Act, smtp: SocketAddr) -> Result<(), Error> {
        match act {
            Act::Deliver => {
                self.letters.push(letter(self.seed, self.letters.len() as u64, SIZE));
                self.deliver(smtp, true)
            }
            Act::Visit(who) => self.visit(*who).map(drop),
            Act::Forget(who, item, now) => {
                let mut client = self.visit(*who)?;
                let newest = self.model.newest;
                let looked = client.look(&[*item])?;
                self.learn(*item, &looked[0].stored);
                let boxed = self.model.boxes.iter().find(|boxed| boxed.item == *item);
                let reason = recording(&client, boxed.expect("is kept").case, CaseAct::Note);
                let mut planned =
                    vec![vec![Event::Sealed(Kind::Note, newest)], vec![Event::Forgotten(*item)]];
                planned.extend(now.then(|| vec![Event::Rotated]));
                self.attempt(planned, |_| client.forget(vec![*item], reason, *now)).map(drop)
            }
            Act::Hire(role) => {
                let (mut adam, in_force) = self.admin()?;
                let id = self.model.next_number();
                let (member, new) = self.newcomer(id, *role);
                let planned = vec![Event::Roster(Box::new(Change::Hired(member)))];
                self.sign(&mut adam, in_force, planned, |members| members.push(new))
            }
            Act::Dismiss(gone) => {
                let (mut adam, in_force) = self.admin()?;
                let change = Box::new(Change::Dismissed(*gone));
                let planned = vec![Event::Roster(change), Event::Revoked(*gone)];
                let leave = |members: &mut Vec<Listed>| members.retain(|m| m.id != *gone);
                self.sign(&mut adam, in_force, planned, leave)
            }
            Act::AddEpoch => {
                let (mut adam, in_force) = self.admin()?;
                let new = EpochId(self.model.signed.0 + 1);
                let admin = self.admin_key();
                let planned = vec![vec![Event::Signed(new)]];
                let added = self.attempt(planned, |_| adam.add_epoch(&in_force, &admin))?;
                assert_eq!(added, (new, false), "the admin reads nothing");
                Ok(())
            }
            Act::AddMailbox => {
                let (mut adam, in_force) = self.admin()?;
                let planned = vec![vec![Event::MailboxSigned(self.model.mailbox + 1)]];
                let now = START + self.day * DAY;
                let admin = self.admin_key();
                let add = |_: &World| adam.add_mailbox(&in_force, &admin, now);
                self.attempt(planned, add).map(drop)
            }
            Act::Reseal(who, most, with_content) => {
                let mut client = self.visit(*who)?;
                let planned = self.model.reseal(usize::try_from(*most).unwrap_or(usize::MAX));
                let count = planned.iter().map(Vec::len).sum::<usize>() as u64;
                let done = self.attempt(planned, |_| match with_content {
                    true => client.reseal_with_content(*most, &mut |_| ()),
                    false => client.reseal(*most, &mut |_| ()),
                })?;
                let (boxes, unopened) = (done.boxes, done.unopened);
                assert_eq!((boxes, unopened), (count, 0), "every box opens to who seals it anew");
                // A box may have no content.
                assert!(done.bytes == 0 || (*with_content && count > 0));
                Ok(())
            }
            Act::DestroyEpochs => {
                let (mut adam, _) = self.admin()?;
                let expected = self.model.over();
                let over = expected.clone().unwrap_or_default();
                let planned: Vec<Group> = match over.is_empty() {
                    true => Vec::new(),
                    false => vec![over.iter().copied().map(Event::Destroyed).collect()],
                };
                let destroyed = self.attempt(planned, |_| match adam.destroy_epochs() {
                    Err(Error::Refused(why)) => Ok(Err(why)),
                    other => other.map(Ok),
                })?;
                match (destroyed, expected) {
                    (Ok(gone), Ok(over)) => assert_eq!(gone, over),
                    (Err(why), Err(used)) => {
                        assert!(why.starts_with(&format!("{used} boxes are still")), "{why}");
                    }
                    (said, expected) => panic!("{said:?}, not {expected:?}"),
                }
                Ok(())
            }
            Act::RotateCabinet => {
                let (mut adam, _) = self.admin()?;
                self.attempt(vec![vec![Event::Rotated]], |_| adam.rotate_cabinet())
            }
            Act::Replay => {
                let (mut adam, in_force) = self.admin()?;
                let admin = self.admin_key();
                let replay = |_: &World| match adam.sign_roster(&in_force.roster, &admin) {
                    Err(Error::Refused(why)) if why.contains("not newer") => Ok(()),
                    Err(error @ (Error::NoServer(_) | Error::Broken(_))) => Err(error),
                    other => panic!("{other:?}"),
                };
                self.attempt(vec![vec![Event::Refused]], replay)
            }
            Act::HandOver => {
                let (mut adam, in_force) = self.admin()?;
                let (old, new) = (self.admin_key(), Rc::new(AdminKey::generate()));
                self.next_admin = Some(Rc::clone(&new));
                let number = self.admins.len() as u64 + 1;
                let roster = Event::Roster(Box::new(Change::Nobody));
                let planned = vec![vec![Event::AdminSigned(number), roster]];
                self.attempt(planned, |_| adam.hand_over(&in_force, &old, &new))
            }
            Act::Forge(which, is_epoch) => {
                let (mut adam, in_force) = self.admin()?;
                let old = Rc::clone(&self.old_admins[*which]);
                let newer =
                    Roster { version: in_force.roster.version + 1, ..in_force.roster.clone() };
                self.attempt(vec![vec![Event::Refused]], |_| {
                    let signed = match is_epoch {
                        true => adam.add_epoch(&in_force, &old).map(drop),
                        false => adam.sign_roster(&newer, &old),
                    };
                    match signed {
                        Err(Error::Refused(why)) if why.contains("did not sign") => Ok(()),
                        Err(error @ (Error::NoServer(_) | Error::Broken(_))) => Err(error),
                        other => panic!("a key that was handed over still signs: {other:?}"),
                    }
                })
            }
            Act::Drill(who) => {
                let key = self.rebuilt();
                let mut client = self.log_in(*who)?;
                let (files, test) = match client.wrapped_files() {
                    Err(recovery::Error::Client(error)) => return Err(error),
                    other => other.expect("every file is what the admin signed"),
                };
                self.assert_drilled(&files, &key);
                let epochs = files.epochs();
                let planned = vec![vec![Event::Drilled(u64::from(epochs))]];
                let noted =
                    self.attempt(planned, |_| match client.note_drill(&key, &test, epochs) {
                        Err(recovery::Error::Client(error)) => Err(error),
                        other => other.map_err(|error| panic!("{error}")),
                    });
                noted.map(|_| ())
            }
            Act::BackUp => self.back_up(),
        }
    }

    /// Sends the newest letter, which is kept or known already.
    pub(super) fn deliver(&mut self, smtp: SocketAddr, is_new: bool) -> Result<(), Error> {
        let raw = self.letters.last().expect("one was written").clone();
        let newest = self.model.newest;
        let boxes = [Kind::Letter, Kind::Item, Kind::Item, Kind::Item];
        let sealed = boxes.map(|kind| Event::Sealed(kind, newest)).to_vec();
        self.attempt(if is_new { vec![sealed] } else { Vec::new() }, |_| {
            let mut sender = Sender::greet(smtp, false).map_err(Error::Broken)?;
            let answers = sender.send("lotte@client.example", &[MAILBOX], &raw);
            let answers = answers.map_err(Error::Broken)?;
            assert_eq!(answers[0].code, 250, "{}", answers[0].text);
            Ok(())
        })
    }

    pub(super) fn log_in(&mut self, who: StaffId) -> Result<Client, Error> {
        let name = self.model.member(who).name.clone();
        self.attempt(self.model.log_in(who), |world| world.log_in(&name))
    }

    /// A log-in as every command makes it: what waits to be wrapped anew is.
    pub(super) fn visit(&mut self, who: StaffId) -> Result<Client, Error> {
        let mut client = self.log_in(who)?;
        if self.model.member(who).reads() {
            assert_eq!(client.stale, !self.model.stale.is_empty());
            let (planned, left) = self.model.rewrap(who);
            self.files_before = (self.model.stale.iter())
                .map(|what| (*what, std::fs::read(self.wrapped_file(*what)).expect("is there")))
                .collect();
            let count = planned.len();
            let done = self.attempt(planned, |_| client.rewrap())?;
            assert_eq!(done, (count, left));
        }
        Ok(client)
    }

    pub(super) fn admin(&mut self) -> Result<(Client, InForce), Error> {
        let mut adam = self.world.log_in("adam")?;
        let in_force = adam.roster()?;
        assert_eq!(in_force.next, self.model.next_number(), "a number is nobody else's");
        assert_eq!((in_force.epoch, in_force.mailbox), (self.model.signed, self.model.mailbox));
        assert_eq!(in_force.roster.version, self.model.version);
        let stale: BTreeSet<Wrapped> = in_force.stale.iter().copied().collect();
        assert_eq!(stale, self.model.stale);
        let listed = in_force.roster.members.iter().map(|m| (m.id, m.name.clone()));
        let present = self.model.present().map(|m| (m.id, m.name.clone()));
        assert_eq!(listed.collect::<BTreeSet<_>>(), present.collect());
        Ok((adam, in_force))
    }

    pub(super) fn sign(
        &mut self,
        adam: &mut Client,
        in_force: InForce,
        planned: Group,
        edit: impl FnOnce(&mut Vec<Listed>),
    ) -> Result<(), Error> {
        let mut new = Roster { version: in_force.roster.version + 1, ..in_force.roster };
        edit(&mut new.members);
        let admin = self.admin_key();
        self.attempt(vec![planned], |_| adam.sign_roster(&new, &admin))
    }

    /// Somebody new, with a key and a name that nobody had.
    pub(super) fn newcomer(&mut self, id: StaffId, role: Role) -> (Member, Listed) {
        self.newcomers += 1;
        let name = format!("newcomer{}", self.newcomers);
        let key = self.world.make_key(&name);
        let recipient = key.recipient().clone();
        self.keys.insert(name.clone(), key);
        let listed = Listed { id, name: name.clone(), roles: [role].into(), recipient };
        (Member { id, name, role, is_present: true, could_open: BTreeSet::new() }, listed)
    }

    /// The admin key in force.
    pub(super) fn admin_key(&self) -> Rc<AdminKey> {
        Rc::clone(self.admins.last().expect("there is one"))
    }
}
