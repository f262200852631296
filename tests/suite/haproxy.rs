//! A real HAProxy in front: clients come through it under their own addresses, its checks find us well
//! and cost nothing, and nobody comes past it.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use kluis::casebook::Filter;
use tokio::net::TcpSocket;

use crate::haproxy_of_ours::HaProxy;
use crate::mail_client::{Client, letter};
use crate::way::{runtime, skipped};
use crate::world::{MAILBOX, World};

const SENDER: &str = "lotte@client.example";

/// A connection from this address of loopback.
fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let connected = runtime.expect("a runtime").block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(format!("{from}:0").parse().expect("an address"))?;
        socket.connect(to).await?.into_std()
    });
    let stream = connected.expect("connects");
    stream.set_nonblocking(false).expect("blocks");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
    stream
}

/// A greeted connection; it may take a moment until somebody is there.
fn client(from: &str, to: SocketAddr) -> Client {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let greeted = Client::over(connect(from, to), false).and_then(|mut client| {
            client.hello()?;
            Ok(client)
        });
        match greeted {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < end, "{from} {to}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The code of the answer to a letter.
fn send(client: &mut Client, raw: &[u8]) -> u16 {
    client.send(SENDER, &[MAILBOX], raw).expect("answers")[0].code
}

#[test]
fn behind_haproxy_a_client_keeps_its_address_and_its_limits() {
    let test = "behind_haproxy_a_client_keeps_its_address_and_its_limits";
    let (world, runtime) = (World::found(), runtime());
    let file = world.state().join("kluis.toml");
    let config = std::fs::read_to_string(&file).expect("is read");
    let config = config
        .replace("letters_per_hour = 60", "letters_per_hour = 3")
        .replace("connections_per_client = 10", "connections_per_client = 2");
    let mx = "\n[[listen.mx]]\naddress = \"127.0.0.1:0\"\n";
    std::fs::write(&file, config + mx + "proxy_from = [\"127.0.0.1\"]\n" + mx).expect("written");
    let server = runtime.block_on(world.serve());
    let [demands, forbids] = server.addresses.mx[..] else { panic!("two of them") };
    let every = "check inter 100ms fastinter 100ms";
    let started = HaProxy::start(&[
        ("one", demands, &format!("send-proxy {every}"), "option smtpchk EHLO proxy.example"),
        ("two", demands, &format!("send-proxy-v2 {every} check-send-proxy"), ""),
        // Looks at the port by itself: connects and hangs up, without a header.
        ("silent", demands, &format!("send-proxy-v2 {every} port {}", demands.port()), ""),
        ("headless", demands, "", ""),
        ("unwanted", forbids, "send-proxy", ""),
        ("unwanted2", forbids, "send-proxy-v2", ""),
        ("plain", forbids, "", ""),
    ]);
    let proxy = match started {
        Ok(proxy) => proxy,
        Err(reason) => return skipped(test, reason),
    };
    for (way, status) in [("one", "L7OK"), ("two", "L4OK"), ("silent", "L4OK")] {
        proxy.wait_for_check(way, status);
    }

    // Whoever comes through it is who they are, in the sealed envelope and for what they may.
    let mut n = 0;
    let mut next = || {
        n += 1;
        letter(61, n, 3_000)
    };
    for (from, way) in [("127.0.0.2", "one"), ("127.0.0.3", "two"), ("127.0.0.4", "silent")] {
        let mut client = client(from, proxy.port(way));
        let codes: Vec<u16> = (0..4).map(|_| send(&mut client, &next())).collect();
        assert_eq!(codes, [250, 250, 250, 450], "{from}");
    }
    let crowd = [(); 2].map(|()| client("127.0.0.5", proxy.port("two")));
    let mut one_more = Client::resume(connect("127.0.0.5", proxy.port("one")), false);
    assert_eq!(one_more.answer().expect("an answer").code, 421);
    assert_eq!(send(&mut client("127.0.0.6", proxy.port("one")), &next()), 250);
    drop(crowd);

    // Past it, or through it without a header, or with one where none may be: no letter.
    for (from, to) in [
        ("127.0.0.1", demands),
        ("127.0.0.2", demands),
        ("127.0.0.7", proxy.port("headless")),
        ("127.0.0.7", proxy.port("unwanted")),
        ("127.0.0.7", proxy.port("unwanted2")),
    ] {
        let mut client = Client::resume(connect(from, to), false);
        let _ = client.write(b"EHLO x\r\n");
        let mut said = Vec::new();
        while let Ok(answer) = client.answer() {
            said.push(answer.code);
        }
        assert!(!said.contains(&250), "{from} {to}: {said:?}");
        assert!(client.is_closed());
    }
    assert_eq!(send(&mut client("127.0.0.8", proxy.port("plain")), &next()), 250);

    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let clients = cases.iter().map(|case| {
        let envelope = &case.letters[0].detail.as_ref().expect("opens").envelope;
        envelope.client.as_ref().expect("has one").expose().clone()
    });
    let mut clients: Vec<String> = clients.collect();
    assert_eq!(clients.len(), 11);
    clients.sort();
    clients.dedup();
    // Without a header it is the proxy's own.
    let expected = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.6"];
    assert_eq!(clients.into_iter().collect::<BTreeSet<_>>(), expected.map(String::from).into());
    // All that while it looked whether we are there.
    for (way, status) in [("one", "L7OK"), ("two", "L4OK"), ("silent", "L4OK")] {
        proxy.wait_for_check(way, status);
    }
    drop(anna);
    runtime.block_on(server.stop());
}
