//! What was seen in the pictures of a letter.

use minicbor::bytes::ByteVec;

use super::{Letter, MAX_SIGHT};
use crate::secret::Personal;

impl Letter {
    /// Takes in what was seen in each item, and then in what was taken out of them; nothing of any
    /// that nobody looked at, or that is longer than what can be seen. What the parser proposed is
    /// forgotten: it did not look.
    pub fn looked(&mut self, seen: &[Option<Vec<u8>>]) {
        let contained = self.contained.iter_mut().map(|one| &mut one.item);
        for (at, item) in self.items.iter_mut().chain(contained).enumerate() {
            let sight = seen.get(at).and_then(Option::as_ref);
            let sight = sight.filter(|sight| sight.len() <= MAX_SIGHT);
            item.sight = sight.map(|sight| Personal::new(ByteVec::from(sight.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_parser_says_that_it_saw_is_forgotten_and_what_is_too_long_is_not_kept() {
        let mut letter = Letter::parse(b"From: a@b.example\r\n\r\nBeste");
        letter.looked(&[Some(vec![0xa0])]);
        let kept = letter.items[0].sight.as_ref().map(|sight| sight.expose().to_vec());
        assert_eq!(kept, Some(vec![0xa0]));
        assert!(!format!("{letter:?}").contains("160"), "it prints what it says");
        let answer = minicbor::to_vec(&letter).expect("is written");
        let again = Letter::from_answer(&answer).expect("is a letter");
        assert_eq!(again.items[0].sight, None);
        letter.looked(&[Some(vec![0; MAX_SIGHT + 1])]);
        assert_eq!(letter.items[0].sight, None);
    }
}
