//! Wall clock from the bytes of SMTP to a `Letter`, on one core: the conversation, the end of the
//! letter found, dots unstuffed, parsed. No socket, no child, no seal: docs/benchmarks.md.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use kluis::inbox::budget::Budget;
use kluis::inbox::smtp::{Action, Session};
use kluis::inbox::{Kind, Recipients, Settings, Verdict};
use kluis::letter::Letter;

#[path = "../tests/support/mail_client.rs"]
mod mail_client;

/// Bytes of an attachment, in base64, as a phone's photo comes.
const SIZES: [(&str, usize); 3] = [("5 kB", 5_000), ("200 kB", 200_000), ("10 MB", 10_000_000)];
/// Bytes that a socket gives at a time.
const PIECE: usize = 64 << 10;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut group = criterion.benchmark_group("letter");
    for (name, size) in SIZES {
        let raw = mail_client::letter(1, 1, size);
        let wire = [
            &b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n"
                [..],
            &mail_client::stuffed(&raw),
        ]
        .concat();
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_function(BenchmarkId::new("smtp to letter", name), |bencher| {
            bencher.iter(|| from_wire(black_box(&wire)));
        });
        group.bench_function(BenchmarkId::new("parse", name), |bencher| {
            bencher.iter(|| black_box(Letter::parse(black_box(&raw))));
        });
    }
    group.finish();
    criterion.final_summary();
}

fn from_wire(wire: &[u8]) {
    let settings =
        Settings { recipients: Recipients::new(["a@b.example"], true), ..Settings::default() };
    let mut session = Session::new(Kind::Smtp, Arc::new(settings), Budget::new(256 << 20), None);
    let mut letters = 0;
    for mut piece in wire.chunks(PIECE) {
        while let Some(action) = session.receive(&mut piece) {
            if let Action::Deliver(delivery) = action {
                black_box(Letter::parse(&delivery.raw));
                session.delivered(Verdict::Accepted);
                letters += 1;
            }
        }
    }
    assert_eq!(letters, 1);
}
