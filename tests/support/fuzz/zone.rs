//! Machine-readable zones of identity documents.

use jiff::civil::date;
use kluis::identity::evidence::{Known, Verdict, judge};
use kluis::identity::mrz::{Mrz, read};

/// What is read has the form of a zone, what was mended names its place, and a zone that fits is read as
/// the same once more. Only such a one is ever consistent.
pub(crate) fn zone(bytes: &[u8]) {
    let (text, today) = (String::from_utf8_lossy(bytes), date(2026, 11, 30));
    let Ok(mrz) = read(&text, today) else { return };
    let width = mrz.lines[0].chars().count();
    assert!(matches!((mrz.lines.len(), width), (3, 30) | (2, 36 | 44)), "{width}");
    assert!(mrz.lines.iter().all(|line| line.chars().count() == width));
    for repair in &mrz.repairs {
        let line = usize::from(repair.line);
        assert!((1..=mrz.lines.len()).contains(&line), "line {line}");
        assert!((1..=width + 1).contains(&usize::from(repair.column)));
    }
    let told = |mrz: &Mrz| (mrz.number.clone(), mrz.birth, mrz.expiry, mrz.sex, mrz.issuer.clone());
    if mrz.fits() && !mrz.is_ambiguous {
        let again = read(&mrz.lines.join("\n"), today).expect("it is one");
        assert!(again.fits());
        assert_eq!(told(&again), told(&mrz));
    }
    for names in [&[][..], &["Jan Peeters"], &["", "-"]] {
        let evidence = judge(&mrz, Known { today, names });
        assert!(evidence.verdict != Verdict::Consistent || (mrz.fits() && !mrz.is_ambiguous));
    }
}
