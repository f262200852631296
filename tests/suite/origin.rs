//! Where a letter came from: asked of a DNS server on loopback that answers, lies, loops and is
//! silent.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, MessageType, Metadata, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record};
use hickory_resolver::proto::serialize::binary::{BinDecodable as _, BinEncodable as _};
use kluis::identity::origin::{Origin, Outcome, Witness};
use kluis::inbox::Delivery;
use kluis::inbox::origin::{Checker, Settings};
use kluis::letter::{Envelope, Source};
use kluis::secret::Personal;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;

use crate::way::runtime;
