//! What a virus scanner said of the items of a letter, and what that says of what holds them.

use super::{Finding, Letter, Scan};

impl Letter {
    /// Takes in what a scanner said: of each item, and then of what was taken out of them; nothing of
    /// any if nobody was asked; and of what stands around them, `around`, which goes into the findings
    /// alone. What the parser proposed is forgotten, it did not ask.
    ///
    /// What is in a container is in what holds it, whether the scanner could open that or not.
    pub fn scanned(&mut self, said: &[Option<Scan>], around: Option<Scan>) {
        let leaves = self.items.len();
        let mut said = said.to_vec();
        said.resize(leaves + self.contained.len(), None);
        for (at, one) in self.contained.iter().enumerate().rev() {
            let inner = said[leaves + at];
            let outer = one.item.container.and_then(|nr| said.get_mut(nr as usize));
            if let Some(outer) = outer.filter(|outer| **outer != Some(Scan::Infected))
                && matches!(inner, Some(Scan::Infected | Scan::NotScanned))
            {
                *outer = inner;
            }
        }
        let contained = self.contained.iter_mut().map(|one| &mut one.item);
        for (item, said) in self.items.iter_mut().chain(contained).zip(&said) {
            item.scan = *said;
        }
        let is_said = |scan| said.contains(&Some(scan)) || around == Some(scan);
        self.findings.retain(|one| !matches!(one, Finding::Infected | Finding::NotScanned));
        self.findings.extend(is_said(Scan::Infected).then_some(Finding::Infected));
        self.findings.extend(is_said(Scan::NotScanned).then_some(Finding::NotScanned));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Contained, Storage};
    use super::*;

    /// A letter of one leaf, with things in each other taken out of it.
    fn letter(containers: &[u32]) -> Letter {
        let mut letter = Letter::unparsed(b"x");
        for &nr in containers {
            let mut item = letter.items[0].clone();
            (item.container, item.storage) = (Some(nr), Storage::AsItCame);
            letter.contained.push(Contained { item, content: Vec::new() });
        }
        letter
    }

    fn scans(letter: &Letter) -> Vec<Option<Scan>> {
        let contained = letter.contained.iter().map(|one| &one.item);
        letter.items.iter().chain(contained).map(|item| item.scan).collect()
    }

    #[test]
    fn what_is_deep_inside_is_told_of_everything_around_it() {
        let (clean, bad, not) = (Some(Scan::Clean), Some(Scan::Infected), Some(Scan::NotScanned));
        for (said, told, found) in [
            ([clean, clean, clean, clean], [clean; 4], &[][..]),
            ([clean, clean, clean, bad], [bad, clean, bad, bad], &[Finding::Infected]),
            ([clean, not, clean, clean], [not, not, clean, clean], &[Finding::NotScanned]),
            (
                [clean, not, clean, bad],
                [bad, not, bad, bad],
                &[Finding::Infected, Finding::NotScanned],
            ),
            (
                [bad, not, clean, clean],
                [bad, not, clean, clean],
                &[Finding::Infected, Finding::NotScanned],
            ),
            ([None; 4], [None; 4], &[]),
        ] {
            // The third is in the second, which like the first is in the leaf.
            let mut letter = letter(&[0, 0, 2]);
            letter.findings = vec![Finding::Infected];
            letter.contained[0].item.scan = bad;
            letter.scanned(&said, clean);
            assert_eq!(scans(&letter), told);
            assert_eq!(letter.findings, found);
        }
    }

    #[test]
    fn nothing_said_is_nothing_known_and_a_container_that_is_none_harms_nobody() {
        let mut letter = letter(&[7]);
        letter.contained[0].item.scan = Some(Scan::Clean);
        letter.scanned(&[], None);
        assert_eq!(scans(&letter), [None, None]);
        letter.scanned(&[Some(Scan::Clean), Some(Scan::Infected)], None);
        assert_eq!(scans(&letter), [Some(Scan::Clean), Some(Scan::Infected)]);
    }

    #[test]
    fn what_stands_around_the_items_is_told_of_the_letter_and_of_none_of_them() {
        for (around, found) in [
            (Scan::Infected, &[Finding::Infected][..]),
            (Scan::NotScanned, &[Finding::NotScanned]),
            (Scan::Clean, &[]),
        ] {
            let mut letter = letter(&[0]);
            letter.findings = Vec::new();
            letter.scanned(&[Some(Scan::Clean); 2], Some(around));
            assert_eq!(scans(&letter), [Some(Scan::Clean); 2]);
            assert_eq!(letter.findings, found);
        }
    }
}
