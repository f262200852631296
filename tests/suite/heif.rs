//! HEIC, what phones of one maker take: a program of Debian makes a JPEG of it, in a profile of its own,
//! and that is read like any other.

use std::path::Path;
use std::process::Command;

use image::{GenericImageView as _, ImageFormat};
use kluis::sandbox::{Failure, heif};
use pictures::{Third, picture};

use crate::id_pictures::{fonts, id, models};
use crate::way::{runtime, skipped};
use crate::world::KLUIS;

/// The picture as HEIC, written by another program than the one that reads it; none if one is missing.
pub(crate) fn heic(test: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    if !heif::is_there() || Command::new("heif-enc").arg("--help").output().is_err() {
        skipped(test, "libheif-examples is not installed");
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (png, heic) = (folder.path().join("a.png"), folder.path().join("a.heic"));
    image::load_from_memory(bytes)
        .expect("is read")
        .save_with_format(&png, ImageFormat::Png)
        .expect("is written");
    let status = Command::new("heif-enc").args(["-q", "90", "-o"]).arg(&heic).arg(&png).output();
    assert!(status.expect("runs").status.success());
    Some(std::fs::read(heic).expect("is written"))
}

fn converted(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    runtime().block_on(heif::as_jpeg(Path::new(KLUIS), bytes))
}

/// A picture without anything on it.
fn plain(width: u32, height: u32) -> Vec<u8> {
    let mut png = Vec::new();
    let pixel = |x, y| image::Rgb([(x % 256) as u8, (y % 256) as u8, 90]);
    let image = image::RgbImage::from_fn(width, height, pixel);
    image.write_to(&mut std::io::Cursor::new(&mut png), ImageFormat::Png).expect("is written");
    png
}

#[test]
fn a_picture_of_a_phone_becomes_a_jpeg_of_its_size_and_what_is_none_fails() {
    let test = "a_picture_of_a_phone_becomes_a_jpeg_of_its_size_and_what_is_none_fails";
    let Some(bytes) = heic(test, &plain(640, 401)) else { return };
    let jpeg = converted(&bytes).expect("is converted");
    let image = image::load_from_memory_with_format(&jpeg, ImageFormat::Jpeg).expect("is a JPEG");
    assert_eq!(image.dimensions(), (640, 401));
    for (what, spoilt) in [
        ("nothing", Vec::new()),
        ("half of it", bytes[..bytes.len() / 2].to_vec()),
        ("its beginning and noise", [&bytes[..64], &[0x5a; 9_000]].concat()),
        ("a JPEG", jpeg.clone()),
        ("a text", b"Beste, hierbij mijn vraag.".to_vec()),
    ] {
        assert_eq!(converted(&spoilt), Err(Failure::Crashed), "{what}");
    }
    // Each byte of the header in turn: it says what it likes, and nothing worse happens.
    for at in (0..bytes.len().min(400)).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0xff;
        let answer = converted(&flipped);
        assert!(!matches!(answer, Err(Failure::Unavailable)), "byte {at}");
        if let Ok(jpeg) = answer {
            assert!(jpeg.starts_with(b"\xff\xd8\xff"), "byte {at}");
        }
    }
}

#[test]
fn a_card_in_a_picture_of_a_phone_is_read_as_in_any_other() {
    let test = "a_card_in_a_picture_of_a_phone_is_read_as_in_any_other";
    if !fonts(test) || models(test).is_none() {
        return;
    }
    let card = picture(Third::Easy, 0);
    let Some(bytes) = heic(test, &card.bytes) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (code, json, _) = id(&bytes, &[("TMPDIR", folder.path().to_str().expect("is text"))]);
    for (name, value) in card.truth.fields() {
        assert_eq!(json["fields"][name].as_str().unwrap_or_default(), value, "{name}: {json}");
    }
    let (other, said, _) = id(&card.bytes, &[]);
    assert_eq!((code, &json["verdict"]), (other, &said["verdict"]));
    let left = std::fs::read_dir(folder.path()).expect("is listed").count();
    assert_eq!(left, 0, "nothing is left of the conversion");
}

#[cfg(kluis_lab)]
#[test]
fn the_program_has_no_file_no_network_no_other_process_and_no_more_than_its_share() {
    let test = "the_program_has_no_file_no_network_no_other_process_and_no_more_than_its_share";
    const PYTHON: &str = "/usr/bin/python3";
    if !Path::new(PYTHON).exists() {
        return skipped(test, "python3 is not installed");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "of the vault").expect("is written");
    let script = format!(
        r#"
import os, socket
def tried(name, what):
    try:
        what()
        print(name, "could", flush=True)
    except BaseException as error:
        print(name, "could not", type(error).__name__, flush=True)
tried("control", lambda: os.getpid())
tried("read", lambda: open("{0}").read())
tried("write", lambda: open("{0}", "w"))
tried("make", lambda: open("{1}/new", "w"))
tried("remove", lambda: os.unlink("{0}"))
tried("list", lambda: os.listdir("{1}"))
tried("passwd", lambda: open("/etc/passwd"))
tried("proc", lambda: open("/proc/1/cmdline"))
tried("socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
tried("local", lambda: socket.socket(socket.AF_UNIX))
tried("fork", lambda: os.fork() or os._exit(0))
tried("signal", lambda: os.kill(os.getppid(), 0))
tried("memory", lambda: bytearray(2 << 30))
tried("program", lambda: os.execv("/bin/true", ["true"]))
"#,
        secret.display(),
        folder.path().display()
    );
    let output = Command::new(KLUIS)
        .args(["confined-convert-probe", PYTHON, "-I", "-S", "-c", &script])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let could: Vec<&str> = said.lines().filter_map(|line| line.strip_suffix(" could")).collect();
    assert_eq!(could, ["control"], "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().count(), 14, "{said}");
    assert_eq!(std::fs::read(&secret).expect("is there"), b"of the vault");
    // The same program by itself can do most of it: the script is able to tell.
    let free = Command::new(PYTHON).args(["-I", "-S", "-c", &script]).output().expect("runs");
    let free = String::from_utf8_lossy(&free.stdout).into_owned();
    for name in ["read", "write", "make", "list", "passwd", "socket", "local"] {
        assert!(free.contains(&format!("{name} could\n")), "{name}: {free}");
    }
}
