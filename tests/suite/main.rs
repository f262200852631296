//! The one binary of integration tests; each module opens with what it holds the program to.

mod cli;
#[cfg(kluis_lab)]
mod crash;
mod deadline;
mod docs;
mod imports;
mod inbox;
mod keys;
mod letters;
mod openpgp;
#[cfg(kluis_lab)]
mod sandbox;
mod store;
mod tree;
mod way;

#[path = "../support/mail_client.rs"]
mod mail_client;
#[path = "../support/world.rs"]
mod world;
