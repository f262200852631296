//! Masked pictures: the confined child that makes their pixels, and the parent, which writes them.
//!
//! The child decodes, so what it gives is not believed to be more than pixels: their number is held
//! against what a mask may have, and the file around them is made here.

use std::path::Path;
use std::sync::OnceLock;

use zeroize::Zeroizing;

use super::{Error, session};
use crate::identity::document::{self, Eyes, Sight, What};
use crate::identity::mask::{self, Masked};
use crate::identity::picture::decode::{self, DecodeError, Kind, MOST_PAGES, Pages};
use crate::letter::MAX_SIGHT;
use crate::sandbox::models::{self, LONGEST};
use crate::sandbox::{self, Failure, Limits, Sandbox, heif};

/// Bytes of an answer: the sight, every page as large as can be, and the CBOR around it.
const ANSWER: usize = MAX_SIGHT + MOST_PAGES * mask::MOST_EDGE * mask::MOST_EDGE + 1024;
/// Bytes that say how long the sight is, or how many pages are passed over.
const NUMBER: usize = 4;

/// The life of a child that masks: with the models in this folder it reads what it is given no sight
/// of, without one it only masks.
pub(super) fn child(folder: Option<&Path>) -> ! {
    static EYES: OnceLock<Eyes> = OnceLock::new();
    fn job(request: &[u8]) -> Vec<u8> {
        let begun = models::spent();
        let may_go_on = || models::spent() - begun < models::BUDGET;
        let Some((skipped, (sight, file))) =
            number(request).and_then(|(skipped, rest)| Some((skipped, split(rest)?)))
        else {
            return Vec::new();
        };
        let given = Sight::from_bytes(sight);
        let pages = decode::pages(file, skipped);
        let sight = match (given, &pages, EYES.get()) {
            (Some(sight), ..) => sight,
            (None, Ok(pages), Some(eyes)) => document::look_at(eyes, pages, &may_go_on),
            (None, Ok(_), None) => Sight::default(),
            (None, Err(refused), _) => Sight::refused(*refused),
        };
        let Pages { drawn, .. } = pages.unwrap_or_default();
        let masked = mask::pages(&drawn, &sight);
        let masked = minicbor::to_vec(masked).expect("memory takes what is written to it");
        joined(&sight.to_bytes(), &masked).to_vec()
    }
    // The first look at this clock asks for more than a confined child may.
    let _ = models::spent();
    sandbox::child_main_with(
        || match folder {
            Some(folder) => models::load(folder).map(Some),
            None => Some(None),
        },
        |weights| {
            let Some((detection, recognition)) = weights else { return true };
            let eyes = Eyes::new(detection, recognition);
            // Threads cannot be started later on.
            rten::thread_pool().run(|| ());
            eyes.is_some_and(|eyes| EYES.set(eyes).is_ok())
        },
        job,
        models::MEMORY,
    )
}

/// A number and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<NUMBER>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

/// A sight and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(bytes)?;
    (length <= MAX_SIGHT).then(|| rest.split_at_checked(length)).flatten()
}

fn joined(sight: &[u8], rest: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut all = Zeroizing::new(Vec::with_capacity(NUMBER + sight.len() + rest.len()));
    all.extend((sight.len() as u32).to_le_bytes());
    all.extend(sight);
    all.extend(rest);
    all
}

/// A file, read and masked.
pub(super) struct Masking {
    /// What was read of it.
    pub(super) sight: Sight,
    /// Its pages.
    pub(super) pages: Vec<Masked>,
}

impl Masking {
    /// What is shown on any page.
    pub(super) fn shown(&self) -> Vec<What> {
        let mut shown = Vec::new();
        for what in self.pages.iter().flat_map(|page| &page.shown) {
            if !shown.contains(what) {
                shown.push(*what);
            }
        }
        shown
    }

    /// What is shown, in words.
    pub(super) fn words(&self) -> String {
        match self.shown().iter().map(|what| what.word()).collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "all black".to_owned(),
            shown => format!("all black but {shown}"),
        }
    }
}

/// Children that one command has look at something: each may take 20 seconds.
pub(super) const MOST_LOOKS: usize = 12;

/// Why nobody could look.
pub(super) const NO_MODELS: &str = "the models are not there";
pub(super) const OUT_OF_TIME: &str = "the time for it was over before all of it was read";
pub(super) const TOO_MANY: &str = "there is more than is looked at in one go";

/// What is behind the first pages of a file.
pub(super) enum Behind {
    /// Pages that may be a copy, masked.
    Shows(Masking),
    /// Nothing that is one.
    Nothing,
    /// Nobody could look, and why.
    NotSeen(String),
}

/// What is behind the pages of a PDF that are looked at first, as far as `looks` go.
///
/// # Errors
/// This program cannot be found again, or no child started.
pub(super) fn all_behind(file: &[u8], looks: &mut usize) -> Result<Behind, Error> {
    let not_seen = |why: &str| Ok(Behind::NotSeen(why.to_owned()));
    if Kind::of(file) != Some(Kind::Pdf) {
        return not_seen("nobody looks behind its first page");
    }
    for skipped in (MOST_PAGES as u32..).step_by(MOST_PAGES) {
        if *looks == 0 {
            break;
        }
        *looks -= 1;
        let Some(masking) = behind(file, skipped, None)? else { return not_seen(NO_MODELS) };
        match &masking.sight {
            Sight { refused: Some(refused), .. } => return not_seen(&refused.to_string()),
            seen if seen.may_show_document() => return Ok(Behind::Shows(masking)),
            Sight { is_cut: true, .. } => return not_seen(OUT_OF_TIME),
            Sight { has_more: false, .. } => return Ok(Behind::Nothing),
            _ => {}
        }
    }
    not_seen(TOO_MANY)
}

/// What a file shows whose first pages show this: they, or the first pages behind them that may be a copy. If
/// nobody can look at those, what is known.
pub(super) fn whole(file: &[u8], first: Sight, looks: &mut usize) -> Sight {
    if !is_open(&first) {
        return first;
    }
    match all_behind(file, looks) {
        Ok(Behind::Shows(masking)) => masking.sight,
        Ok(Behind::Nothing) => Sight { has_more: false, ..first },
        Ok(Behind::NotSeen(_)) | Err(_) => first,
    }
}

/// A file, read and masked: its first pages, or the first behind them that may be a copy. `None` without
/// models.
///
/// # Errors
/// This program cannot be found again, or no child started.
pub(super) fn mask_whole(file: &[u8]) -> Result<Option<Masking>, Error> {
    let Some(mut first) = mask(file, None)? else { return Ok(None) };
    if is_open(&first.sight) {
        let mut looks = MOST_LOOKS;
        match all_behind(file, &mut looks)? {
            Behind::Shows(masking) => return Ok(Some(masking)),
            Behind::Nothing => first.sight.has_more = false,
            Behind::NotSeen(_) => {}
        }
    }
    Ok(Some(first))
}

/// Whether it depends on the pages behind these what a file is.
fn is_open(first: &Sight) -> bool {
    first.has_more && !first.is_cut && !first.shows_document()
}

/// Has a confined child mask a file by what was read of it, or read it first; if the child dies of it,
/// nothing was read. `None` if it was not read and the models are not there.
///
/// # Errors
/// This program cannot be found again, or no child started.
pub(super) fn mask(file: &[u8], sight: Option<&Sight>) -> Result<Option<Masking>, Error> {
    behind(file, 0, sight)
}

/// The same, of a PDF without so many of its first pages.
///
/// # Errors
/// This program cannot be found again, or no child started.
pub(super) fn behind(
    file: &[u8],
    skipped: u32,
    sight: Option<&Sight>,
) -> Result<Option<Masking>, Error> {
    let mut args = vec![super::CONFINED_MASK.into()];
    if sight.is_none() {
        let folder = models::folder();
        if !models::are_there(&folder) {
            return Ok(None);
        }
        args.push(folder.into_os_string());
    }
    let sight = sight.map(Sight::to_bytes).unwrap_or_default();
    let limits = Limits { wall: LONGEST, answer: ANSWER };
    let program = session::program()?;
    let sandbox = Sandbox::new(program.clone(), args, 1, limits);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("starting", &error))?;
    let answer = runtime.block_on(async {
        // What was read of a HEIC picture was read of the JPEG that this gives.
        let is_heif = Kind::of(file) == Some(Kind::Heif) && heif::is_there();
        let jpeg = match is_heif {
            true => match heif::as_jpeg(&program, file).await {
                Ok(jpeg) => Some(Zeroizing::new(jpeg)),
                // It is not read here, and the child says so.
                Err(Failure::Unavailable) => None,
                Err(failure) => return Err(failure),
            },
            false => None,
        };
        let asked = joined(&sight, jpeg.as_ref().map_or(file, |jpeg| jpeg.as_slice()));
        let request = Zeroizing::new([&skipped.to_le_bytes(), &asked[..]].concat());
        let answer = sandbox.run(&request).await;
        sandbox.dismiss().await;
        answer
    });
    let why = match answer {
        Ok(answer) => match read(&Zeroizing::new(answer)) {
            Some(masking) => return Ok(Some(masking)),
            None => DecodeError::Crashed,
        },
        Err(Failure::Crashed | Failure::TooLarge) => DecodeError::Crashed,
        Err(Failure::TimedOut) => DecodeError::TimedOut,
        Err(Failure::Unavailable) => {
            return Err(Error::new("no confined child could be started")
                .hint("`kluis doctor` says what this machine lacks"));
        }
    };
    Ok(Some(Masking { sight: Sight::refused(why), pages: Vec::new() }))
}

/// What a child answered, if it can be that.
fn read(answer: &[u8]) -> Option<Masking> {
    let (sight, pages) = split(answer)?;
    let pages: Vec<Masked> = minicbor::decode(pages).ok()?;
    let is_sound = pages.len() <= MOST_PAGES && pages.iter().all(Masked::is_sound);
    is_sound.then(|| Some(Masking { sight: Sight::from_bytes(sight)?, pages })).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_picture_of_a_mask_is_refused() {
        let page = |width: u32, height: u32, pixels: usize| Masked {
            width,
            height,
            pixels: vec![9; pixels],
            shown: vec![What::Expiry],
        };
        let answer = |pages: &[Masked]| {
            joined(&Sight::default().to_bytes(), &minicbor::to_vec(pages).expect("is written"))
        };
        let good = read(&answer(&[page(2, 3, 6), page(1, 1, 1)])).expect("is an answer");
        assert_eq!((good.pages.len(), good.shown()), (2, vec![What::Expiry]));
        for wrong in [
            answer(&[page(2, 3, 5)]),
            answer(&[page(1601, 1, 1601)]),
            answer(&[page(0, 0, 0)]),
            answer(&[page(1, 1, 1), page(1, 1, 1), page(1, 1, 1), page(1, 1, 1)]),
            joined(&[0xff], &[0x80]),
            Zeroizing::new(vec![0xff; 4]),
            Zeroizing::new(Vec::new()),
        ] {
            assert!(read(&wrong).is_none());
        }
        let largest = page(1600, 1600, 1600 * 1600);
        assert!(answer(&[largest.clone(), largest.clone(), largest]).len() <= ANSWER);
    }
}
