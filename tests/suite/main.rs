//! The one binary of integration tests; each module opens with what it holds the program to.

mod acts;
mod answers;
mod arrival;
mod attacks;
mod audit;
mod backup;
mod bombs;
mod breaker;
mod bulk;
mod canaries;
mod cli;
mod copies;
mod corpora;
#[cfg(kluis_lab)]
mod crash;
mod damage;
mod deadline;
mod docs;
mod doctor;
mod dovecot;
mod forget;
mod full;
mod fuzzed;
mod handing_over;
mod haproxy;
mod heif;
mod hostile;
mod id;
mod id_pictures;
mod imap;
mod imap_vault;
mod imap_worker;
mod import;
mod imports;
mod inbox;
mod index;
mod inside;
mod install;
mod keyring;
mod keys;
mod ladders;
mod letters;
mod log_in;
mod loops;
mod mask;
#[cfg(kluis_lab)]
mod memory;
#[cfg(kluis_lab)]
mod months;
mod names;
mod next_hop;
mod notices;
mod opened;
mod openpgp;
mod origin;
mod outsiders;
mod planned;
mod poison;
mod postfix;
#[cfg(kluis_lab)]
mod powercut;
mod receive;
mod recipes;
mod recovery;
mod reload;
mod remanence;
mod renewal;
mod restored;
mod rotation;
#[cfg(kluis_lab)]
mod sandbox;
mod scan;
mod scanned;
mod scrub;
mod secrecy;
mod shown;
mod status;
mod store;
mod sweep;
mod tree;
mod unmasked;
mod unpack;
mod vault_format;
mod way;
mod weight;
mod who;
mod wire;

#[path = "../support/containers.rs"]
mod containers;
#[path = "../support/disks.rs"]
mod disks;
#[path = "../support/dovecot.rs"]
mod dovecot_server;
#[path = "../support/fuzz/mod.rs"]
mod fuzz;
#[path = "../support/haproxy.rs"]
mod haproxy_of_ours;
#[path = "../support/imap_server.rs"]
mod imap_server;
#[path = "../support/mail_client.rs"]
mod mail_client;
#[path = "../support/name_server.rs"]
mod name_server;
#[path = "../support/oracles.rs"]
mod oracles;
#[path = "../support/postfix.rs"]
mod postfix_of_ours;
#[path = "../support/readout.rs"]
mod readout;
#[path = "../support/smtp_body.rs"]
mod smtp_body;
#[path = "../support/tally.rs"]
mod tally;
#[path = "../support/thief.rs"]
mod thief;
#[path = "../support/imap_worker.rs"]
mod worker;
#[path = "../support/world.rs"]
mod world;
