//! Turns the environment variable `KLUIS_LAB=1` into `cfg(kluis_lab)`.
//!
//! A lab build records keys and dies on demand, so that tests can prove what a release must never
//! do. It exists for `make test` only.

fn main() {
    println!("cargo::rerun-if-env-changed=KLUIS_LAB");
    if std::env::var_os("KLUIS_LAB").is_some_and(|v| v == "1") {
        println!("cargo::rustc-cfg=kluis_lab");
    }
}
