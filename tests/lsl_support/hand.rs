// SPDX-License-Identifier: MPL-2.0
//! A sender written by hand, which can say what no outlet of liblsl would: it answers
//! searches, measurements of its clock, and requests for the full description and for data.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
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

    fn xml(&self, session: &str, (tcp, udp): (u16, u16)) -> String {
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

/// Where a sender departs from the protocol.
#[derive(Clone, Default)]
pub(crate) struct Script {
    /// One answer to a search per entry.
    pub short: Vec<Says>,
    /// Instead: these bytes, behind the number of the search.
    pub answer: Option<Vec<u8>>,
    /// The session that the answers name; else the one of this process.
    pub session: Option<String>,
    /// The full description; else as the first of `short`.
    pub full: Option<Says>,
    /// Instead: whatever it writes.
    pub describe: Option<Feed>,
    /// What follows a request for data; else the connection is closed.
    pub feed: Option<Feed>,
    /// What follows the name and the time of a measurement of the clock; else our clock.
    pub time: Option<String>,
}

pub(crate) type Feed = Arc<dyn Fn(&mut Wire) -> std::io::Result<()> + Send + Sync>;

/// One connection to who asked for data.
pub(crate) struct Wire {
    pub stream: TcpStream,
    says: Says,
    stop: Arc<AtomicBool>,
}

/// The LSL clock of this machine.
pub(crate) fn clock() -> f64 {
    lsl::Library::load(None).map_or(0.0, |l| l.local_clock())
}

impl Wire {
    pub(crate) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The lines before the data, in the name of `uid`.
    pub(crate) fn lines(&mut self, uid: &str) -> std::io::Result<()> {
        let lines = format!(
            "LSL/110 200 OK\r\nUID: {uid}\r\nByte-Order: 1234\r\nSuppress-Subnormals: 0\r\n\
             Data-Protocol-Version: 110\r\n\r\n"
        );
        self.write(lines.as_bytes())
    }

    /// The lines and the two samples that every feed begins with.
    pub(crate) fn header(&mut self) -> std::io::Result<()> {
        let uid = self.says.uid.clone();
        self.lines(&uid)?;
        for offset in [4, 2] {
            let pattern = (0..self.channels()).map(|k| {
                let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
                (k + offset) as f32 * sign
            });
            let sample = match self.says.format.as_str() {
                // The pattern of texts is the same twice.
                "string" => {
                    let texts = (0..self.channels()).map(|k| {
                        let sign = if k % 2 == 0 { 1 } else { -1 };
                        ((k as i64 + 10) * sign).to_string().into_bytes()
                    });
                    texts_at(123_456.789, &texts.collect::<Vec<_>>())
                }
                _ => numbers_at(123_456.789, &pattern.collect::<Vec<_>>()),
            };
            self.write(&sample)?;
        }
        Ok(())
    }

    fn channels(&self) -> usize {
        self.says.channels.parse().expect("a number of channels")
    }

    /// Samples of one number each, at `stamp(n, time)`, in time until the end.
    pub(crate) fn play(&mut self, stamp: impl Fn(u32, f64) -> f64) -> std::io::Result<()> {
        let rate: f64 = self.says.rate.parse().expect("a rate");
        let t0 = clock();
        let mut n = 0;
        while self.goes_on() {
            let time = t0 + f64::from(n) / rate;
            let wait = time - clock();
            if wait > 0.0 {
                std::thread::sleep(Duration::from_secs_f64(wait));
            }
            self.write(&numbers_at(stamp(n, time), &[n as f32]))?;
            n += 1;
        }
        Ok(())
    }
}

/// A sample on the wire.
pub(crate) fn numbers_at(stamp: f64, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![2];
    bytes.extend(stamp.to_le_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

/// A sample of texts on the wire.
pub(crate) fn texts_at(stamp: f64, texts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![2];
    bytes.extend(stamp.to_le_bytes());
    for text in texts {
        bytes.push(4);
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text);
    }
    bytes
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

/// Answers searches and measurements of the clock until `stop`.
fn answer(udp: &UdpSocket, script: &Script, answers: &[Vec<u8>], stop: &AtomicBool) {
    let mut buffer = [0; 65536];
    while !stop.load(Ordering::SeqCst) {
        let Ok((n, from)) = udp.recv_from(&mut buffer) else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        let lines: Vec<&str> = text.split("\r\n").collect();
        match lines[..] {
            ["LSL:timedata", id, ..] => {
                let now = clock();
                let times = script.time.clone();
                let times = times.unwrap_or_else(|| format!("{now:.9} {now:.9}"));
                let _ = udp.send_to(format!(" {id} {times}").as_bytes(), from);
            }
            ["LSL:shortinfo", _, back, ..] => {
                let Some((port, query)) = back.split_once(' ') else {
                    continue;
                };
                let to = (from.ip(), port.parse().expect("a port"));
                for (i, answer) in answers.iter().enumerate() {
                    let bytes = [query.as_bytes(), b"\r\n", answer].concat();
                    let _ = udp.send_to(&bytes, to);
                    if i % 32 == 31 {
                        // What the receiver's socket holds is bounded.
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
            }
            _ => (),
        }
    }
}

/// Serves one request for the description or for data.
fn serve(mut wire: Wire, script: &Script, full: &[u8]) {
    let _ = wire.stream.set_nonblocking(false);
    let _ = wire.stream.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = wire.stream.set_write_timeout(Some(Duration::from_secs(5)));
    let mut request = [0; 4096];
    let n = wire.stream.read(&mut request).unwrap_or(0);
    // Errors are those of a receiver that leaves.
    if request[..n].starts_with(b"LSL:fullinfo") {
        let _ = match &script.describe {
            Some(describe) => describe(&mut wire),
            None => wire.write(full),
        };
    } else if let Some(feed) = &script.feed {
        let _ = feed(&mut wire);
    }
}

impl Hand {
    /// Answers each search with `short` (one answer per entry), and a request for the full
    /// description with `full`.
    pub(crate) fn new(short: Vec<Says>, full: Says) -> Self {
        Self::playing(Script {
            short,
            full: Some(full),
            ..Script::default()
        })
    }

    /// Says the same in both places.
    pub(crate) fn saying(says: Says) -> Self {
        Self::new(vec![says.clone()], says)
    }

    pub(crate) fn playing(script: Script) -> Self {
        let base: u16 = configured("BasePort").parse().expect("a port");
        let session = script.session.clone();
        let session = session.unwrap_or_else(|| configured("SessionID"));
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
        let says = script
            .full
            .clone()
            .or_else(|| script.short.first().cloned());
        let says = says.unwrap_or_else(|| Says::sane("nobody", "None"));
        let answers: Vec<Vec<u8>> = match &script.answer {
            Some(bytes) => vec![bytes.clone()],
            None => script
                .short
                .iter()
                .map(|s| s.xml(&session, ports).into_bytes())
                .collect(),
        };
        let full = says.xml(&session, ports).into_bytes();
        let stop = Arc::<AtomicBool>::default();
        let brief = Duration::from_millis(20);
        udp.set_read_timeout(Some(brief)).expect("timeout");
        tcp.set_nonblocking(true).expect("non-blocking");
        let searches = {
            let (stop, script) = (stop.clone(), script.clone());
            move || answer(&udp, &script, &answers, &stop)
        };
        let requests = {
            let stop = stop.clone();
            move || {
                std::thread::scope(|scope| {
                    while !stop.load(Ordering::SeqCst) {
                        let Ok((stream, _)) = tcp.accept() else {
                            std::thread::sleep(brief);
                            continue;
                        };
                        let wire = Wire {
                            stream,
                            says: says.clone(),
                            stop: stop.clone(),
                        };
                        scope.spawn(|| serve(wire, &script, &full));
                    }
                });
            }
        };
        Self {
            stop,
            threads: vec![std::thread::spawn(searches), std::thread::spawn(requests)],
        }
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
