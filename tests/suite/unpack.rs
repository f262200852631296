//! What letters carry inside other things: archives, TNEF, encoded messages. Taken out within
//! limits, the container kept; whatever is wrong with it, the letter is whole.

use kluis::letter::skeleton::cut_or_whole;
use kluis::letter::{
    Contained, Finding, Letter, MAX_CONTAINED, MAX_LAYERS, MAX_NAME, MAX_NAMES, MAX_SAME_FINDING,
    MAX_TEXT, MAX_TEXTS, MAX_TNEF_ATTRIBUTES, MAX_UNPACKED, Role, Storage,
};
use kluis::sandbox::Limits;
use kluis::secret::Personal;

use super::containers::{Attached, Behind, Entry, Text, Tnef, letter_with, zip};

/// Parses, and holds what was taken out to what the parent holds it to.
fn parse(raw: &[u8]) -> Letter {
    let letter = Letter::parse(raw);
    let (kept, skeleton, contents) = cut_or_whole(Some(letter.clone()), raw);
    assert!(!kept.findings.contains(&Finding::Unparsed), "the parent takes it");
    let contents: Vec<_> = contents.iter().map(|content| Some(content.as_slice())).collect();
    assert!(skeleton.rebuild(&contents) == raw, "what is taken out is no part of the raw message");
    letter
}

fn archive(entries: &[Entry]) -> Letter {
    parse(&letter_with("application/zip", "a.zip", &zip(entries)))
}

fn stream(stream: &Tnef) -> Letter {
    parse(&letter_with("application/ms-tnef", "winmail.dat", &stream.write()))
}

fn names(letter: &Letter) -> Vec<Vec<&str>> {
    let items = letter.contained.iter().map(|one| &one.item);
    items.map(|item| item.names.iter().map(|name| name.expose().as_str()).collect()).collect()
}

fn only(letter: &Letter) -> &Contained {
    let [one] = letter.contained.as_slice() else { panic!("one thing was taken out: {letter:?}") };
    one
}

#[test]
fn the_files_of_an_archive_are_items_that_name_it() {
    let mut stored = Entry::new(b"map/loon.pdf", b"%PDF-1.4 loon");
    stored.deflated = false;
    let letter =
        archive(&[Entry::new(b"map/", b""), Entry::new(b"foto.jpg", b"\xff\xd8\xff\xe0x"), stored]);
    assert_eq!(letter.findings, []);
    assert_eq!(names(&letter), [["foto.jpg"], ["map/loon.pdf"]]);
    assert_eq!(letter.items.len(), 2);
    for (one, (media_type, content)) in letter
        .contained
        .iter()
        .zip([("image/jpeg", &b"\xff\xd8\xff\xe0x"[..]), ("application/pdf", b"%PDF-1.4 loon")])
    {
        assert_eq!(one.item.container, Some(1));
        assert_eq!((one.item.media_type.as_str(), one.content.as_slice()), (media_type, content));
        assert_eq!((one.item.role, one.item.depth), (Role::Attachment, 0));
    }
}

#[test]
fn of_an_office_document_the_pictures_are_items_and_nothing_else_is() {
    let jpeg = b"\xff\xd8\xff\xe0 a card".as_slice();
    let document = |first: &[u8], pictures: &[(&[u8], &[u8])]| {
        let mut entries =
            vec![Entry::new(first, b"<x/>"), Entry::new(b"word/document.xml", b"<w/>")];
        entries.extend(pictures.iter().map(|(name, content)| Entry::new(name, content)));
        zip(&entries)
    };
    let word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    let read = |file: &[u8]| parse(&letter_with(word, "cv.docx", file));
    for first in [&b"[Content_Types].xml"[..], b"mimetype", b"_rels/.rels"] {
        let pictures = [(&b"word/media/image1.jpeg"[..], jpeg), (b"a.bin", b"%PDF-1.4 x")];
        let letter = read(&document(first, &pictures));
        assert_eq!(letter.findings, []);
        assert_eq!(names(&letter), [["word/media/image1.jpeg"], ["a.bin"]]);
        assert_eq!(letter.contained[0].content, jpeg);
        assert_eq!(letter.contained[0].item.container, Some(1));
        assert_eq!(letter.contained[1].item.magic.as_deref(), Some("application/pdf"));
    }
    // Text alone, and one that does not open.
    let text = read(&document(b"mimetype", &[]));
    assert_eq!((text.findings.as_slice(), text.contained.len()), (&[][..], 0));
    let whole = document(b"mimetype", &[(b"a.jpg", jpeg)]);
    let broken = read(&whole[..whole.len() - 30]);
    assert_eq!(
        (broken.findings.as_slice(), broken.contained.len()),
        (&[Finding::NotUnpacked][..], 0)
    );
}

#[test]
fn a_picture_that_calls_itself_a_text_is_no_body() {
    let raw = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n/9j/4AAQSkZJRg==\r\n";
    let letter = parse(raw);
    assert_eq!(
        (letter.items[0].role, letter.items[0].magic.as_deref()),
        (Role::Attachment, Some("image/jpeg"))
    );
    // A text that begins with what a PDF begins with is a text.
    assert_eq!(
        parse(b"Content-Type: text/plain\r\n\r\n%PDF- is how it begins\r\n").items[0].role,
        Role::Body
    );
}

#[test]
fn names_in_an_archive_keep_every_byte() {
    for (name, flags, shown) in [
        (&b"caf\x82.txt"[..], 0, "café.txt"),
        ("café.txt".as_bytes(), 0, "café.txt"),
        ("café.txt".as_bytes(), 1 << 11, "café.txt"),
        (b"../../etc/passwd", 0, "../../etc/passwd"),
        (b"a\x1b[2J\0b", 0, "a\x1b[2J\0b"),
        (b"", 0, ""),
    ] {
        let letter = archive(&[Entry { flags, ..Entry::new(name, b"x") }]);
        let found = only(&letter).item.names.first().map_or("", |name| name.expose().as_str());
        assert_eq!(found, shown);
    }
    let twice = archive(&[Entry::new(b"a", b"one"), Entry::new(b"a", b"two")]);
    let contents: Vec<_> = twice.contained.iter().map(|one| one.content.as_slice()).collect();
    assert_eq!(contents, [b"one", b"two"], "none hides behind another of its name");
    assert_eq!(twice.findings, [Finding::AmbiguousArchive]);
}

#[test]
fn where_two_programs_may_see_two_archives_the_directory_is_shown_and_it_is_told() {
    let second = |change: fn(&mut Entry)| {
        let mut entries = vec![Entry::new(b"a.txt", b"aaaa"), Entry::new(b"b.txt", b"bbbb")];
        change(&mut entries[1]);
        zip(&entries)
    };
    let behind = |change: fn(&mut Entry)| {
        let mut entries = vec![Entry::new(b"a.txt", b"aaaa"), Entry::new(b"b.txt", b"bbbb")];
        entries[1].local = &[(6, &[8, 0]), (14, &[0; 12])];
        entries[1].behind = Some(Behind::default());
        change(&mut entries[1]);
        zip(&entries)
    };
    // Where each field stands before the bytes: flags 6, method 8, sum 14, sizes 18 and 22, name 30.
    let with_end = |comment: &[u8]| {
        let mut bytes = second(|_| ());
        let at = bytes.len() - 2;
        bytes[at..].copy_from_slice(&(comment.len() as u16).to_le_bytes());
        [&bytes, comment].concat()
    };
    let first_alone = zip(&[Entry::new(b"x", b"x")]);
    let end = &first_alone[first_alone.len() - 22..];
    let mut other_end = end.to_vec();
    // An end before the true one whose comment is the rest of the file.
    other_end[20..].copy_from_slice(&22u16.to_le_bytes());
    let two_ends = {
        let entry = Entry { deflated: false, ..Entry::new(b"b.txt", &other_end) };
        let mut bytes = zip(&[Entry::new(b"a.txt", b"aaaa"), entry]);
        let at = bytes.windows(4).position(|four| four == b"PK\x05\x06").expect("the false end");
        let rest = u16::try_from(bytes.len() - at - 22).expect("short");
        let mut changed = other_end.clone();
        changed[20..].copy_from_slice(&rest.to_le_bytes());
        bytes = zip(&[
            Entry::new(b"a.txt", b"aaaa"),
            Entry { deflated: false, ..Entry::new(b"b.txt", &changed) },
        ]);
        bytes
    };
    let folder = |change: fn(&mut Entry)| {
        let mut entries = vec![Entry::new(b"d/", b""), Entry::new(b"b.txt", b"bbbb")];
        change(&mut entries[0]);
        zip(&entries)
    };
    let called = |names: [&str; 2], change: fn(&mut Entry)| {
        let mut entry = Entry::new(b"b.txt", b"bbbb");
        entry.extra = names.map(|name| if name.is_empty() { Vec::new() } else { unicode(name) });
        change(&mut entry);
        zip(&[Entry::new(b"a.txt", b"aaaa"), entry])
    };
    let between = {
        let hidden = Entry { hidden: true, ..Entry::new(b"x", b"x") };
        zip(&[Entry::new(b"a.txt", b"aaaa"), hidden, Entry::new(b"b.txt", b"bbbb")])
    };
    for (what, bytes, is_told, shown) in [
        ("an entry that the directory hides between two", between, true, &["a.txt", "b.txt"][..]),
        ("a folder", folder(|_| ()), false, &["b.txt"]),
        ("a folder in whose bytes an entry stands", folder(hide_in_nothing), true, &["b.txt"]),
        ("a folder with content", folder(|e| e.content = b"x".to_vec()), true, &["d/", "b.txt"]),
        ("two directories, one of zip64", two_directories(), true, &["a.txt"]),
        (
            "a second name of the same words",
            called(["b.txt", "b.txt"], |_| ()),
            false,
            &["a.txt", "b.txt"],
        ),
        (
            "a second name in another code",
            called(["café.txt", ""], |e| e.name = b"caf\x82.txt".to_vec()),
            false,
            &["a.txt", "café.txt"],
        ),
        (
            "a second name in the directory",
            called(["x.exe", ""], |_| ()),
            true,
            &["a.txt", "b.txt x.exe"],
        ),
        (
            "a second name before the bytes",
            called(["", "x.exe"], |_| ()),
            true,
            &["a.txt", "b.txt x.exe"],
        ),
        (
            "a third name behind another field",
            called(["b.txt", "b.txt"], |e| {
                e.extra[1] = [&[9, 0, 1, 0, 0][..], &e.extra[1], &unicode("y")].concat();
            }),
            true,
            &["a.txt", "b.txt y"],
        ),
        (
            "more names than are kept",
            called(["", ""], |e| {
                let many = (0..MAX_NAMES * 2).flat_map(|nr| unicode(&format!("n{nr:02}")));
                e.extra[0] = many.collect();
            }),
            true,
            &["a.txt", "b.txt n00 n01 n02 n03 n04 n05 n06 n07 n08 n09 n10 n11 n12 n13 n14"],
        ),
        (
            "a name that is too long",
            called(["", ""], |e| e.extra[1] = unicode(&"x".repeat(MAX_NAME + 1))),
            true,
            &["a.txt", "b.txt"],
        ),
        (
            "sizes of zip64 twice",
            second(|e| {
                e.zip64 = Some(0);
                e.local = &[(18, &[0xff; 8])];
                e.extra[1] = [&[1, 0, 16, 0][..], &[9; 16]].concat();
            }),
            true,
            &["a.txt", "b.txt"],
        ),
        ("nothing", second(|_| ()), false, &["a.txt", "b.txt"]),
        ("a comment", with_end(b"PK and more"), false, &["a.txt", "b.txt"]),
        ("a name", second(|e| e.local = &[(30, b"x.exe")]), true, &["a.txt", "b.txt x.exe"]),
        ("a size", second(|e| e.local = &[(18, &[1, 0, 0, 0])]), true, &["a.txt", "b.txt"]),
        ("a length", second(|e| e.local = &[(22, &[9, 0, 0, 0])]), true, &["a.txt", "b.txt"]),
        ("a method", second(|e| e.local = &[(8, &[0, 0])]), true, &["a.txt", "b.txt"]),
        ("a sum", second(|e| e.local = &[(14, &[9, 9, 9, 9])]), true, &["a.txt", "b.txt"]),
        ("a password", second(|e| e.local = &[(6, &[1, 0])]), true, &["a.txt", "b.txt"]),
        ("sizes that stand behind the bytes", behind(|_| ()), false, &["a.txt", "b.txt"]),
        (
            "the same with a mark",
            behind(|e| e.behind = Some(Behind { marked: true, ..Behind::default() })),
            false,
            &["a.txt", "b.txt"],
        ),
        (
            "the same in eight bytes",
            behind(|e| e.behind = Some(Behind { wide: true, ..Behind::default() })),
            false,
            &["a.txt", "b.txt"],
        ),
        (
            "another size behind the bytes",
            behind(|e| e.behind = Some(Behind { off: 1, ..Behind::default() })),
            true,
            &["a.txt", "b.txt"],
        ),
        (
            "sizes that should stand behind the bytes and do not",
            behind(|e| e.behind = None),
            true,
            &["a.txt", "b.txt"],
        ),
        (
            "stored bytes whose sizes stand behind them",
            behind(|e| e.deflated = false),
            true,
            &["a.txt", "b.txt"],
        ),
        (
            "another entry inside of the size of one",
            second(|e| e.more = zip(&[Entry::new(b"x", b"x")])[..34].to_vec()),
            true,
            &["a.txt", "b.txt"],
        ),
        (
            "a byte that nothing needs inside of the size of one",
            second(|e| e.more = vec![0]),
            true,
            &["a.txt", "b.txt"],
        ),
        (
            "sizes that are said behind the bytes and otherwise before them",
            second(|e| e.local = &[(6, &[8, 0]), (18, &[1, 0, 0, 0])]),
            true,
            &["a.txt", "b.txt"],
        ),
        (
            "sizes in the way of zip64",
            second(|e| {
                e.local = &[(18, &[0xff; 8])];
                e.zip64 = Some(0);
            }),
            false,
            &["a.txt", "b.txt"],
        ),
        (
            "other sizes in the way of zip64",
            second(|e| {
                e.local = &[(18, &[0xff; 8])];
                e.zip64 = Some(1);
            }),
            true,
            &["a.txt", "b.txt"],
        ),
        (
            "sizes that zip64 should say and does not",
            second(|e| e.local = &[(18, &[0xff; 8])]),
            true,
            &["a.txt", "b.txt"],
        ),
        ("a sum of all ones", second(|e| e.local = &[(14, &[0xff; 4])]), true, &["a.txt", "b.txt"]),
        ("an entry that the directory hides", second(|e| e.hidden = true), true, &["a.txt"]),
        (
            "an archive before the archive",
            [&first_alone, &second(|_| ())[..]].concat(),
            true,
            &["a.txt", "b.txt"],
        ),
        ("two ends", two_ends, true, &["a.txt", "b.txt"]),
    ] {
        let letter = parse(&letter_with("application/zip", "a.zip", &bytes));
        let names: Vec<String> = names(&letter).iter().map(|names| names.join(" ")).collect();
        assert_eq!(names, shown, "{what}");
        let told = letter.findings.contains(&Finding::AmbiguousArchive);
        assert_eq!(told, is_told, "{what}: {:?}", letter.findings);
    }
}

/// The name of an entry in an extra field of Info-ZIP.
fn unicode(name: &str) -> Vec<u8> {
    let length = u16::try_from(name.len() + 5).expect("short").to_le_bytes();
    [&b"\x75\x70"[..], &length, &[1, 0, 0, 0, 0], name.as_bytes()].concat()
}

/// Who reads from the front finds the end of nothing after two bytes, then sum and sizes, then a file; who
/// reads the directory jumps over all of it.
fn hide_in_nothing(folder: &mut Entry) {
    let other = zip(&[Entry::new(b"evil.exe", b"MZ")]);
    let directory = other.windows(4).position(|four| four == b"PK\x01\x02").expect("is there");
    let told = [0u32, 2, 0].map(u32::to_le_bytes).concat();
    folder.more = [&told, &other[..directory]].concat();
    folder.local = &[(6, &[8, 0]), (14, &[0; 12])];
    folder.behind = Some(Behind::default());
}

/// One archive to whoever asks the end, and another to whoever first asks what stands before it: the
/// directory's one line has a comment that is a directory, its end and the way to it, as of zip64.
fn two_directories() -> Vec<u8> {
    let other = zip(&[Entry { deflated: false, ..Entry::new(b"evil.exe", b"MZ") }]);
    let line = other.windows(4).position(|four| four == b"PK\x01\x02").expect("is there");
    let mut directory = other[line..other.len() - 22].to_vec();
    // The entry stands in the content of the true one, 35 bytes from the front.
    directory[42..46].copy_from_slice(&35u32.to_le_bytes());
    let at = 35 + line + 46 + 5;
    let numbers = |numbers: &[usize]| -> Vec<u8> {
        numbers.iter().flat_map(|number| (*number as u64).to_le_bytes()).collect()
    };
    let end = [
        &b"PK\x06\x06"[..],
        &numbers(&[44]),
        &[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &numbers(&[1, 1, directory.len(), at]),
    ]
    .concat();
    let way =
        [&b"PK\x06\x07\0\0\0\0"[..], &numbers(&[at + directory.len()]), &[1, 0, 0, 0]].concat();
    let comment = [directory, end, way].concat();
    let content = &other[..line];
    zip(&[Entry { deflated: false, comment, ..Entry::new(b"a.txt", content) }])
}

/// Overlapping entries: a bomb of the kind that is small, flat and quotes its own bytes.
#[test]
fn entries_that_overlap_in_part_are_one_bomb() {
    // The second entry lies inside the stored bytes of the first.
    let inner = zip(&[Entry::new(b"b.txt", &vec![0; 100_000])]);
    let local = inner.windows(4).position(|four| four == b"PK\x01\x02").expect("a directory");
    let mut bytes = zip(&[
        Entry { deflated: false, ..Entry::new(b"a.txt", &inner[..local]) },
        Entry { shares: true, ..Entry::new(b"b.txt", &vec![0; 100_000]) },
    ]);
    let line = bytes.windows(4).rposition(|four| four == b"PK\x01\x02").expect("its line");
    bytes[line + 42..line + 46].copy_from_slice(&35u32.to_le_bytes());
    let letter = parse(&letter_with("application/zip", "a.zip", &bytes));
    assert_eq!(letter.contained, []);
    assert_eq!(letter.findings, [Finding::NotUnpacked, Finding::SwollenArchive]);
}

/// What the texts and names of a letter take in memory is bounded for the letter as a whole, and its
/// answer is one that the parent takes.
#[test]
fn texts_and_names_are_counted_and_what_is_too_much_stays_in_its_item() {
    let kept = |letter: &Letter| {
        let contained = letter.contained.iter().map(|one| &one.item);
        let items = letter.items.iter().chain(contained);
        let texts = items.flat_map(|item| item.names.iter().chain(&item.text));
        texts.map(|text| text.expose().len()).sum::<usize>()
    };
    // A byte of this charset is three of UTF-8.
    let part = |times: usize| {
        let head = b"--b\r\nContent-Type: text/plain; charset=windows-1252\r\n\r\n";
        [&head[..], &b"\x80".repeat(80_000), b"\r\n"].concat().repeat(times)
    };
    let raw = |times: usize| {
        let head = b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
        [&head[..], &part(times), b"--b--\r\n"].concat()
    };
    let few = parse(&raw(60));
    assert_eq!((few.items.len(), kept(&few)), (60, 60 * 240_000));
    assert_eq!(few.findings, []);
    let many = parse(&raw(120));
    assert!(kept(&many) <= MAX_TEXTS, "{}", kept(&many));
    assert_eq!((many.items.len(), many.findings.len()), (120, MAX_SAME_FINDING));
    assert!(many.findings.iter().all(|finding| *finding == Finding::OverLimit));
    assert_eq!(many.items[119].text, None);
    assert_eq!(many.items[119].role, Role::Body, "it is read from its item");
    // The same inside of an encoded message, where it counts against what may be taken out, too.
    let letter = parse(&letter_with("message/rfc822", "a.eml", &raw(120)));
    assert!(kept(&letter) <= MAX_TEXTS);
    let answer = minicbor::to_vec(&letter).expect("is written").len();
    assert!(answer <= Limits::default().answer, "{answer}");
}

#[test]
fn an_archive_that_is_not_as_it_should_stays_as_it_is() {
    let good = || vec![Entry::new(b"a.txt", b"aaaa"), Entry::new(b"b.txt", b"bbbb")];
    let fault = |change: fn(&mut Entry)| {
        let mut entries = good();
        change(&mut entries[1]);
        zip(&entries)
    };
    let whole = zip(&good());
    let mut other_volume = whole.clone();
    let end = whole.len() - 22;
    other_volume[end + 4] = 1;
    let mut fewer = whole.clone();
    (fewer[end + 8], fewer[end + 10]) = (1, 1);
    let mut behind = whole.clone();
    behind[end + 12] += 1;
    for (what, bytes, more) in [
        ("a password", fault(|e| e.flags = 1), Some(Finding::LockedArchive)),
        ("strong encryption", fault(|e| e.flags = 1 << 6), Some(Finding::LockedArchive)),
        ("a wrong sum", fault(|e| e.spoil_crc = true), None),
        ("a length that is less", fault(|e| e.says = Some(3)), None),
        ("a length that is more", fault(|e| e.says = Some(5)), None),
        ("a length without end", fault(|e| e.says = Some(u32::MAX)), Some(Finding::SwollenArchive)),
        ("shared bytes", fault(|e| e.shares = true), Some(Finding::SwollenArchive)),
        (
            "a long name",
            fault(|e| e.name = vec![b'x'; MAX_NAME + 1]),
            Some(Finding::SwollenArchive),
        ),
        ("another volume", other_volume, None),
        ("a directory with more than it counts", fewer, None),
        ("a directory of another length", behind, None),
        ("no directory", whole[..end].to_vec(), None),
        ("half of it", whole[..whole.len() / 2].to_vec(), None),
    ] {
        let letter = parse(&letter_with("application/zip", "a.zip", &bytes));
        assert_eq!(letter.contained, [], "{what}");
        let mut wanted = vec![Finding::NotUnpacked];
        wanted.extend(more);
        assert_eq!(letter.findings, wanted, "{what}");
    }
}

#[test]
fn of_an_archive_cut_short_nothing_comes_out_and_of_one_with_a_changed_byte_nothing_else() {
    let (first, second) = (&b"aaaaaaaaaaaaaaaaaaaaaaaa"[..], &b"b"[..]);
    let whole = zip(&[Entry::new(b"a.txt", first), Entry::new(b"b", second)]);
    for at in 4..whole.len() {
        let letter = parse(&letter_with("application/zip", "a.zip", &whole[..at]));
        assert_eq!(letter.contained, [], "cut at {at}");
        assert_eq!(letter.findings, [Finding::NotUnpacked], "cut at {at}");
        for bit in [1, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= bit;
            let letter = parse(&letter_with("application/zip", "a.zip", &changed));
            if letter.contained.is_empty() {
                assert_eq!(letter.findings[0], Finding::NotUnpacked, "{bit} at {at}");
                continue;
            }
            let contents: Vec<_> =
                letter.contained.iter().map(|one| one.content.as_slice()).collect();
            assert_eq!(contents, [first, second], "{bit} at {at}");
            let is_told = letter.findings == [Finding::AmbiguousArchive];
            assert!(is_told || letter.findings.is_empty(), "{bit} at {at}: {:?}", letter.findings);
            assert!(is_told || names(&letter) == [["a.txt"], ["b"]], "{bit} at {at}");
        }
    }
}

#[test]
fn a_bomb_is_kept_as_it_is() {
    let zeros = |length: usize| vec![0u8; length];
    let mut many = vec![Entry::new(b"x", b"x"); MAX_CONTAINED + 1];
    many[0].deflated = false;
    for (what, entries) in [
        ("one large entry", vec![Entry::new(b"x", &zeros(30 << 20))]),
        ("several", vec![Entry::new(b"x", &zeros(1 << 20)); 3]),
        ("too many", many),
    ] {
        let letter = archive(&entries);
        assert_eq!(letter.contained, [], "{what}");
        assert_eq!(letter.findings, [Finding::NotUnpacked, Finding::SwollenArchive], "{what}");
    }
    // Archives in archives: as many as the layers, and the innermost stays closed.
    let mut inner = zip(&[Entry::new(b"x", b"x")]);
    for _ in 0..MAX_LAYERS + 1 {
        inner = zip(&[Entry::new(b"inner.zip", &inner)]);
    }
    let letter = parse(&letter_with("application/zip", "a.zip", &inner));
    assert_eq!(letter.contained.len(), usize::from(MAX_LAYERS));
    assert_eq!(letter.findings, [Finding::NotUnpacked, Finding::SwollenArchive]);
    let outer: Vec<_> = letter.contained.iter().map(|one| one.item.container).collect();
    assert_eq!(outer, [1, 2, 3, 4].map(Some));
    // Ten archives of ten archives of a megabyte each.
    let mega = zip(&[Entry::new(b"x", &zeros(1_000_000))]);
    let ten = zip(&(0..10).map(|_| Entry::new(b"y.zip", &mega)).collect::<Vec<_>>());
    let hundred = zip(&(0..10).map(|_| Entry::new(b"z.zip", &ten)).collect::<Vec<_>>());
    let letter = parse(&letter_with("application/zip", "a.zip", &hundred));
    let all = letter.contained.iter().map(|one| one.content.len()).sum::<usize>();
    assert!(all <= MAX_UNPACKED && letter.contained.len() <= MAX_CONTAINED);
    assert!(letter.findings.contains(&Finding::SwollenArchive));
}

/// As one does that holds itself several times, which has no end where nobody counts.
#[test]
fn archives_of_archives_of_archives_end_by_layers_or_by_items() {
    let grown = |each: usize| {
        let mut bytes = zip(&[Entry::new(b"q.txt", b"q")]);
        for _ in 0..MAX_LAYERS + 2 {
            let copy = |nr: usize| Entry::new(format!("q{nr}.zip").as_bytes(), &bytes);
            bytes = zip(&(0..each).map(copy).collect::<Vec<_>>());
        }
        parse(&letter_with("application/zip", "q.zip", &bytes))
    };
    // How many stand in how many others.
    let layers = |letter: &Letter| {
        let mut counts = [0; MAX_LAYERS as usize];
        let mut layer = vec![0, 0];
        for one in &letter.contained {
            let outer = layer[one.item.container.expect("something holds it") as usize];
            counts[outer] += 1;
            layer.push(outer + 1);
        }
        counts
    };
    // All that the layers can hold; each of the innermost stays closed.
    let two = grown(2);
    assert_eq!(layers(&two), [2, 4, 8, 16]);
    let closed = [Finding::NotUnpacked, Finding::SwollenArchive].repeat(MAX_SAME_FINDING);
    assert_eq!(two.findings, closed);
    // For six in each of 216 there is no room: no item more than a letter may have.
    let six = grown(6);
    assert_eq!(layers(&six), [6, 36, 216, 738]);
    assert!(six.contained.len() > MAX_CONTAINED - 6 && six.contained.len() <= MAX_CONTAINED);
    assert_eq!(six.findings, closed);
}

#[test]
fn an_office_document_is_one_file_also_inside_an_archive() {
    let office =
        zip(&[Entry::new(b"[Content_Types].xml", b"<x/>"), Entry::new(b"word/d.xml", b"x")]);
    let letter = archive(&[Entry::new(b"cv.docx", &office)]);
    assert_eq!(names(&letter), [["cv.docx"]]);
    assert_eq!(letter.findings, []);
}

#[test]
fn the_files_of_a_tnef_stream_have_their_long_names_in_every_code_page() {
    let file = |title: &[u8], long_name| Attached {
        title: Some(title.to_vec()),
        long_name,
        content: b"%PDF-1.4".to_vec(),
        ..Attached::default()
    };
    for (page, title, long_name, wanted) in [
        (
            Some(1252),
            &b"QUARTE~1.PDF"[..],
            Some(Text::Wide("Quarterly r\u{e9}sum\u{e9}.pdf")),
            &["Quarterly résumé.pdf", "QUARTE~1.PDF"][..],
        ),
        (
            Some(950),
            b"\xb3\xf8~1.PDF",
            Some(Text::Narrow(b"\xb3\xf8\xa7i.pdf".to_vec())),
            &["報告.pdf", "報~1.PDF"],
        ),
        (
            Some(1252),
            b"caf\xe9.pdf",
            Some(Text::Narrow(b"caf\xe9 2.pdf".to_vec())),
            &["café 2.pdf", "café.pdf"],
        ),
        (Some(932), b"\x83n.pdf", None, &["ハ.pdf"]),
        (Some(65001), "é.pdf".as_bytes(), None, &["é.pdf"]),
        (Some(99), b"caf\xe9.pdf", None, &["café.pdf"]),
        (None, b"caf\xe9.pdf", None, &["café.pdf"]),
    ] {
        let letter = stream(&Tnef {
            code_page: page,
            attached: vec![file(title, long_name)],
            ..Tnef::default()
        });
        assert_eq!(names(&letter), [wanted], "{page:?}");
        assert_eq!(only(&letter).item.media_type, "application/pdf");
        assert_eq!(only(&letter).content, b"%PDF-1.4");
        assert_eq!(letter.findings, []);
    }
}

#[test]
fn a_tnef_stream_of_bodies_alone_gives_them() {
    let letter = stream(&Tnef {
        code_page: Some(1252),
        body: Some(b"Beste,\r\ncaf\xe9\0".to_vec()),
        html: Some((b"<p>Ik wil <b>inzage</b> in caf\xe9</p>".to_vec(), 1252)),
        rtf: Some(b"{\\rtf1 x}".to_vec()),
        ..Tnef::default()
    });
    let texts: Vec<_> = letter
        .contained
        .iter()
        .map(|one| {
            (one.item.media_type.as_str(), one.item.text.as_ref().map(|t| t.expose().as_str()))
        })
        .collect();
    assert_eq!(
        texts,
        [
            ("text/plain", Some("Beste,\r\ncafé")),
            ("text/html", Some("Ik wil inzage in café")),
            ("application/rtf", None),
        ]
    );
    assert_eq!(letter.contained[0].item.role, Role::Body);
    assert_eq!(letter.contained[2].content, b"{\\rtf1 x}");
    assert_eq!(letter.findings, []);
}

#[test]
fn a_message_in_a_tnef_stream_and_a_stream_in_a_forwarded_letter_are_opened() {
    let inner = Tnef {
        attached: vec![Attached {
            title: Some(b"b.pdf".to_vec()),
            content: b"%PDF-1.4".to_vec(),
            ..Attached::default()
        }],
        ..Tnef::default()
    };
    let outer = Tnef {
        attached: vec![Attached {
            title: Some(b"Fwd".to_vec()),
            content: inner.write(),
            is_message: true,
            ..Attached::default()
        }],
        ..Tnef::default()
    };
    let letter = stream(&outer);
    assert_eq!(names(&letter), [["Fwd"], ["b.pdf"]]);
    assert_eq!(letter.contained[1].item.container, Some(2));
    let forwarded = letter_with("application/ms-tnef", "winmail.dat", &inner.write());
    for coding in ["7bit", "base64"] {
        let body = match coding {
            "base64" => data_encoding::BASE64.encode(&forwarded).into_bytes(),
            _ => forwarded.clone(),
        };
        let head = format!(
            "From: a@b.example\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: {coding}\r\n\r\n"
        );
        let letter = parse(&[head.as_bytes(), &body].concat());
        assert_eq!(names(&letter).last().expect("a file"), &["b.pdf"], "{coding}");
        assert_eq!(letter.contained.last().expect("a file").item.depth, 1);
        assert_eq!(letter.findings, [], "{coding}");
    }
}

#[test]
fn of_a_tnef_stream_cut_inside_of_an_attribute_or_with_a_wrong_length_nothing_comes_out() {
    // Attributes: the properties of the message, the begin and the content of a file.
    const PROPERTIES: u32 = 0x0006_9003;
    const BEGINS: u32 = 0x0006_9002;
    const CONTENT: u32 = 0x0006_800f;
    let whole = Tnef {
        code_page: Some(1252),
        attached: vec![Attached {
            title: Some(b"a.pdf".to_vec()),
            long_name: Some(Text::Wide("a long name.pdf")),
            mime_tag: Some("application/pdf"),
            content: b"%PDF-1.4".to_vec(),
            ..Attached::default()
        }],
        html: Some((b"<p>x".to_vec(), 1252)),
        ..Tnef::default()
    }
    .write();
    let read = |bytes: &[u8]| parse(&letter_with("application/ms-tnef", "winmail.dat", bytes));
    let refused = |letter: &Letter, at: &dyn std::fmt::Debug| {
        assert_eq!(letter.contained, [], "{at:?}");
        assert_eq!(letter.findings[0], Finding::NotUnpacked, "{at:?}");
    };
    // One attribute after the other: level, id, length, data, sum.
    let honest = read(&whole).contained;
    assert_eq!(honest.len(), 2, "a body and a file");
    let (mut at, mut items) = (6, 0);
    while at < whole.len() {
        let number = |at: usize| u32::from_le_bytes(whole[at..at + 4].try_into().expect("four"));
        let (id, data) = (number(at + 1), at + 9..at + 9 + number(at + 5) as usize);
        let end = data.end + 2;
        // Up to here it is a whole stream of fewer attributes.
        let shorter = read(&whole[..at]);
        assert_eq!((shorter.contained.len(), &shorter.findings[..]), (items, &[][..]), "{at}");
        for cut in at + 1..end {
            refused(&read(&whole[..cut]), &cut);
        }
        for (byte, bit) in (at..end).flat_map(|byte| [1, 0x80, 0xff].map(|bit| (byte, bit))) {
            let mut changed = whole.clone();
            changed[byte] ^= bit;
            let letter = read(&changed);
            let is_refused = letter.findings.contains(&Finding::NotUnpacked);
            match byte - at {
                // Nobody needs the level and the sum.
                0 => assert_eq!(letter.contained, honest, "{byte}"),
                _ if byte >= data.end => assert_eq!(letter.contained, honest, "{byte}"),
                // All behind it is somewhere else.
                5..9 => refused(&letter, &(byte, bit)),
                _ if is_refused => refused(&letter, &(byte, bit)),
                // What nobody knows is passed over, a text is another one, and the file is as it was, but
                // for what is its own content.
                in_head => {
                    let mut content = honest[1].content.clone();
                    match (id, in_head) {
                        (CONTENT, 1..5) => content.clear(),
                        (CONTENT, _) => content[byte - data.start] ^= bit,
                        _ => {}
                    }
                    let file = letter.contained.last().expect("the file");
                    assert_eq!(file.content, content, "{bit} at {byte}");
                }
            }
        }
        items += usize::from(matches!(id, PROPERTIES | BEGINS));
        at = end;
    }
    assert_eq!((at, items), (whole.len(), 2), "the whole of it was walked");
    let mut many = whole.clone();
    for _ in 0..MAX_TNEF_ATTRIBUTES {
        many.extend([1, 6, 0x90, 8, 0, 0, 0, 0, 0, 0, 0]);
    }
    let letter = parse(&letter_with("application/ms-tnef", "winmail.dat", &many));
    assert_eq!(letter.findings, [Finding::NotUnpacked, Finding::SwollenArchive]);
}

#[test]
fn a_child_that_lies_about_what_is_inside_is_not_believed() {
    let raw = letter_with("application/zip", "a.zip", &zip(&[Entry::new(b"a", b"one")]));
    let honest = Letter::parse(&raw);
    let lies: [fn(&mut Letter); 14] = [
        |letter| letter.contained[0].item.container = None,
        |letter| letter.contained[0].item.container = Some(2),
        |letter| letter.contained[0].item.start = 1,
        |letter| letter.contained[0].item.end = 2,
        |letter| letter.contained[0].item.end = 4,
        |letter| {
            let storage = Storage::Base64 { width: 76, bare: false, closed: true };
            letter.contained[0].item.storage = storage;
        },
        |letter| letter.contained[0].item.media_type = "x".repeat(256),
        |letter| letter.contained[0].item.magic = Some("x".repeat(256)),
        |letter| letter.contained[0].item.transfer = "base64".into(),
        |letter| {
            let name = letter.contained[0].item.names[0].clone();
            letter.contained[0].item.names = vec![name; MAX_NAMES + 1];
        },
        |letter| letter.findings = vec![Finding::Nul; MAX_SAME_FINDING + 1],
        |letter| {
            let text = Personal::new("x".repeat(MAX_TEXT + 1));
            letter.items[0].text = Some(text);
        },
        |letter| letter.contained = vec![letter.contained[0].clone(); MAX_CONTAINED + 1],
        |letter| {
            let content = vec![0; MAX_UNPACKED + 1];
            letter.contained[0].item.end = content.len();
            letter.contained[0].content = content;
        },
    ];
    let kept =
        |letter: Letter| !cut_or_whole(Some(letter), &raw).0.findings.contains(&Finding::Unparsed);
    assert!(kept(honest.clone()));
    for (nr, lie) in lies.iter().enumerate() {
        let mut letter = honest.clone();
        lie(&mut letter);
        assert!(!kept(letter), "lie {nr}");
    }
}
