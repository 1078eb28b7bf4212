// SPDX-License-Identifier: MPL-2.0
//! A sender written by hand, which can say what no outlet of liblsl would: it answers
//! searches and requests for the full description.

use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What the sender says of itself, as it is written into the XML.
#[derive(Clone)]
pub(crate) struct Says {
    pub name: String,
    pub stream_type: String,
    pub channels: String,
    pub rate: String,
    pub format: String,
    pub uid: String,
    pub desc: String,
}

impl Says {
    /// Something that can be received, but for what the test changes.
    pub(crate) fn sane(name: &str, stream_type: &str) -> Self {
        Self {
            name: name.into(),
            stream_type: stream_type.into(),
            channels: "1".into(),
            rate: "100".into(),
            format: "float32".into(),
            uid: fresh_uid(),
            desc: "<desc />".into(),
        }
    }

    fn xml(&self, session: &str, tcp: u16, udp: u16) -> String {
        format!(
            "<?xml version=\"1.0\"?><info><name>{}</name><type>{}</type>\
             <channel_count>{}</channel_count><nominal_srate>{}</nominal_srate>\
             <channel_format>{}</channel_format><source_id>by hand</source_id>\
             <version>1.1</version><created_at>7.5</created_at><uid>{}</uid>\
             <session_id>{session}</session_id><hostname>elsewhere</hostname>\
             <v4address>127.0.0.1</v4address><v4data_port>{tcp}</v4data_port>\
             <v4service_port>{udp}</v4service_port><v6address></v6address>\
             <v6data_port>0</v6data_port><v6service_port>0</v6service_port>{}</info>\n",
            self.name, self.stream_type, self.channels, self.rate, self.format, self.uid, self.desc
        )
    }
}

pub(crate) fn fresh_uid() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT
        .fetch_add(1, Ordering::Relaxed)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{n:016x}-by-hand")
}

pub(crate) struct Hand {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// A value of the LSL configuration of this process.
fn configured(key: &str) -> String {
    let path = std::env::var("LSLAPICFG").expect("hermetic() comes first");
    let text = std::fs::read_to_string(path).expect("the configuration");
    text.lines()
        .find_map(|l| l.strip_prefix(key)?.trim().strip_prefix('=').map(str::trim))
        .unwrap_or_else(|| panic!("no {key}"))
        .to_string()
}

impl Hand {
    /// Answers each search with `short` (one answer per entry), and a request for the full
    /// description with `full`.
    pub(crate) fn new(short: Vec<Says>, full: Says) -> Self {
        let base: u16 = configured("BasePort").parse().expect("a port");
        let session = configured("SessionID");
        // Searches go to every port of the range.
        let udp = (base..base + 32)
            .rev()
            .find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok())
            .expect("a free port");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let ports = (
            tcp.local_addr().expect("address").port(),
            udp.local_addr().expect("address").port(),
        );
        let answers: Vec<String> = short
            .iter()
            .map(|s| s.xml(&session, ports.0, ports.1))
            .collect();
        let full = full.xml(&session, ports.0, ports.1);
        let stop = Arc::<AtomicBool>::default();
        let brief = Duration::from_millis(20);
        udp.set_read_timeout(Some(brief)).expect("timeout");
        tcp.set_nonblocking(true).expect("non-blocking");
        let searches = {
            let stop = stop.clone();
            move || {
                let mut buffer = [0; 65536];
                while !stop.load(Ordering::SeqCst) {
                    let Ok((n, from)) = udp.recv_from(&mut buffer) else {
                        continue;
                    };
                    let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                    let lines: Vec<&str> = text.split("\r\n").collect();
                    let [first, _, back, ..] = lines[..] else {
                        continue;
                    };
                    let Some((port, query)) = back.split_once(' ') else {
                        continue;
                    };
                    if first != "LSL:shortinfo" {
                        continue;
                    }
                    let to = (from.ip(), port.parse().expect("a port"));
                    for (i, answer) in answers.iter().enumerate() {
                        let _ = udp.send_to(format!("{query}\r\n{answer}").as_bytes(), to);
                        if i % 32 == 31 {
                            // What the receiver's socket holds is bounded.
                            std::thread::sleep(Duration::from_millis(2));
                        }
                    }
                }
            }
        };
        let requests = {
            let stop = stop.clone();
            move || {
                while !stop.load(Ordering::SeqCst) {
                    let Ok((mut peer, _)) = tcp.accept() else {
                        std::thread::sleep(brief);
                        continue;
                    };
                    let _ = peer.set_nonblocking(false);
                    let _ = peer.set_read_timeout(Some(Duration::from_secs(1)));
                    let mut request = [0; 4096];
                    let n = peer.read(&mut request).unwrap_or(0);
                    if request[..n].starts_with(b"LSL:fullinfo") {
                        let _ = peer.write_all(full.as_bytes());
                    }
                }
            }
        };
        Self {
            stop,
            threads: vec![std::thread::spawn(searches), std::thread::spawn(requests)],
        }
    }

    /// Says the same in both places.
    pub(crate) fn saying(says: Says) -> Self {
        Self::new(vec![says.clone()], says)
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
