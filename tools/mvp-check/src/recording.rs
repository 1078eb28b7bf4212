// SPDX-License-Identifier: MPL-2.0
//! What there is to say of a recording. It is read as `xdfdemux` reads it.

use crate::Failure;
use crate::meter::Meter;
use crate::report::{Clock, Damage, Fault, Report, Stream, Verdict};
use crate::verdict::{fault, judge};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use stream_info::{Description, Format};
use timing::robust::median;
use xdf::{
    Corrector, Event, Failed, Finding, Map, Means, Offset, Parser, Placer, Recorded, Unzipped,
    is_gzip,
};

/// Bytes read at once.
const BLOCK: usize = 256 << 10;
/// Damages that are told one by one.
const TOLD: usize = 20;
/// From so many seconds of clock offsets a drift is told.
const DRIFT_SPAN: f64 = 10.0;
/// A median of distances times this is a standard deviation, if they are Gaussian.
const DEVIATION: f64 = 1.4826;

/// A file, which may be compressed.
struct Input {
    file: File,
    unzipped: Option<Unzipped>,
}

fn block(file: &mut File, at: u64) -> io::Result<Option<Vec<u8>>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; BLOCK];
    let mut n = 0;
    while n < BLOCK {
        match file.read(&mut bytes[n..]) {
            Ok(0) => break,
            Ok(read) => n += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(n);
    Ok((n > 0).then_some(bytes))
}

impl Input {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let zipped = block(&mut file, 0)?.and_then(|b| is_gzip(&b)) == Some(true);
        Ok(Self {
            file,
            unzipped: zipped.then(Unzipped::default),
        })
    }

    /// Some bytes of the recording from `at` on; `None` at its end.
    fn read(&mut self, at: u64) -> io::Result<Option<Vec<u8>>> {
        match &mut self.unzipped {
            Some(unzipped) => unzipped.read(at, |at| block(&mut self.file, at)),
            None => block(&mut self.file, at),
        }
    }
}

/// A stream while its samples go by.
struct Watched {
    stream: Stream,
    placer: Placer,
    corrector: Corrector,
    meter: Meter,
    offsets: Vec<Offset>,
}

impl Watched {
    fn new(recorded: &Recorded) -> Self {
        let d = &recorded.header.description;
        let mut corrector = recorded.corrector.clone();
        corrector.set_current(0);
        let mut stream = Stream::new(d.clone(), Some(recorded.id));
        stream.resets = corrector.resets() as u64;
        stream.range = recorded.range();
        // Samples of text have no common interval, whatever rate they declare.
        let rate = stream.declared().filter(|_| d.format != Some(Format::Text));
        Self {
            stream,
            placer: Placer::new(recorded.examined.clone()),
            corrector,
            meter: Meter::new(rate, !d.can_drop_samples),
            offsets: Vec::new(),
        }
    }

    fn take(&mut self, stamps: &[f64]) {
        self.stream.samples += stamps.len() as u64;
        for stamp in stamps {
            if self.placer.until_new_clock() == 0 {
                self.place(true);
            }
            match self.placer.take(*stamp) {
                Some(stamp) => self.meter.push(stamp),
                None => {
                    self.stream.strays += 1;
                    self.meter.stray();
                }
            }
            self.place(false);
        }
    }

    /// Puts what is ready on the recorder's clock; `all`: what waits as well.
    fn place(&mut self, all: bool) {
        let (placer, corrector) = (&self.placer, &mut self.corrector);
        let time = |stamp: f64| match placer.time(stamp) {
            Some(time) => time,
            None => corrector.correct(stamp),
        };
        match all {
            true => self.meter.finish(time),
            false => self.meter.place(time),
        }
    }

    fn finish(mut self, findings: &[Finding], others: bool) -> Stream {
        self.place(true);
        let stream = &mut self.stream;
        if !self.meter.is_irregular() {
            stream.effective = self.meter.rate();
            stream.gaps = self.meter.gaps;
            stream.lost = self.meter.lost;
            stream.longest_gap = self.meter.longest;
            stream.jitter = self.meter.jitter();
        }
        stream.clock = clock(&self.corrector, &self.offsets);
        if self.meter.is_irregular() {
            stream.faults.push(fault(
                Verdict::Poor,
                "irregular",
                "a rate is declared, and samples come like events".into(),
                "have the sender declare the rate 0 (irregular)",
            ));
        }
        if stream.samples == 0 {
            let regular = stream.declared().is_some();
            stream.faults.push(fault(
                if regular { Verdict::Bad } else { Verdict::Poor },
                "found-no-data",
                "found, and not one sample was recorded".into(),
                "see before a session that the device measures: mvp-check live",
            ));
        } else if stream.clock.is_none() {
            let what = match others {
                true => "no clock offset was recorded, while other streams have some",
                false => "no clock offset was recorded",
            };
            stream.faults.push(fault(
                Verdict::Poor,
                "no-clock",
                format!("{what}: its times are right only if it came from the recorder's computer"),
                "record with LabRecorder, and let its clock measurements through the firewall",
            ));
        }
        if let Some(footer) = stream.footer
            && footer != stream.samples
        {
            stream.faults.push(fault(
                Verdict::Poor,
                "count",
                format!(
                    "{} samples are in the file, {footer} by its footer",
                    stream.samples
                ),
                "get another copy of the file if there is one",
            ));
        }
        let step = |f: &&Finding| matches!(f, Finding::OtherClock { from: 1.., .. });
        self.stream.resets += findings.iter().filter(step).count() as u64;
        self.stream.faults.extend(foreign(findings));
        judge(&mut self.stream);
        self.stream
    }
}

/// Timestamps that are of a clock that no other stream shares.
fn foreign(findings: &[Finding]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut clocks = 0;
    for finding in findings {
        match finding {
            // Counted as strays.
            Finding::Strays { .. } => (),
            Finding::Unit(unit) => faults.push(fault(
                Verdict::Poor,
                "unit",
                format!("timestamps count {unit} to the second, where LSL has seconds"),
                "have the sender stamp its samples with lsl_local_clock()",
            )),
            Finding::OtherClock { from, ahead, means } => {
                clocks += 1;
                if clocks > 1 {
                    continue;
                }
                let (verdict, how) = match means {
                    Means::Offsets => (
                        Verdict::Poor,
                        "they can be placed by where the clock offsets stand, to about a second",
                    ),
                    Means::Continuity => (
                        Verdict::Poor,
                        "they can be placed right after the sample before",
                    ),
                    Means::Start => (Verdict::Bad, "nothing says when they were taken"),
                };
                faults.push(fault(
                    verdict,
                    "foreign-clock",
                    format!(
                        "from sample {from} on, timestamps are of a clock that no other stream \
                             shares, {} from the recorder's: {how}",
                        seconds(*ahead)
                    ),
                    "have the sender stamp its samples with lsl_local_clock()",
                ));
            }
        }
    }
    faults
}

fn seconds(seconds: f64) -> String {
    match seconds.abs() < 1e12 {
        true => format!("{seconds:+.3} s"),
        false => format!("{seconds:+.3e} s"),
    }
}

/// What the clock offsets say.
fn clock(corrector: &Corrector, offsets: &[Offset]) -> Option<Clock> {
    let values = offsets.iter().map(|o| o.value);
    let (lowest, highest) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| {
        (a.min(v), b.max(v))
    });
    let mut corrector = corrector.clone();
    corrector.set_current(0);
    let off = |o: &Offset| (corrector.correct(o.time) - o.time - o.value).abs();
    let mut off: Vec<f64> = offsets.iter().map(off).collect();
    // A recording does not hold how long each measurement took: how far they scatter about
    // the line is what is known of their error.
    let scatter = DEVIATION * median(&mut off)?;
    Some(Clock {
        measurements: offsets.len(),
        lowest,
        highest,
        drift: corrector.drift(DRIFT_SPAN),
        uncertainty: scatter,
    })
}

/// The samples that a footer counts.
fn counted(footer: &str) -> Option<u64> {
    let (_, rest) = footer.split_once("<sample_count>")?;
    let (count, _) = rest.split_once('<')?;
    count.trim().parse().ok()
}

/// What is wrong in the file itself.
#[derive(Default)]
struct Damages {
    told: Vec<Damage>,
    more: u64,
    /// The last is followed by nothing that can be read yet.
    open: bool,
}

impl Damages {
    fn add(&mut self, at: u64, what: String, packed: bool) {
        match self.told.len() < TOLD {
            true => self.told.push(Damage { at, what, packed }),
            false => self.more += 1,
        }
        self.open = self.more == 0;
    }

    /// Reading goes on at `at`.
    fn go_on(&mut self, at: u64) {
        if std::mem::take(&mut self.open)
            && let Some(Damage { what, .. }) = self.told.last_mut()
        {
            *what += &format!("; what follows is read from byte {at} on");
        }
    }
}

/// Reads the whole recording once more, with what the first look found.
fn watch(
    input: &mut Input,
    watched: &mut [Watched],
    damages: &mut Damages,
) -> Result<u64, Failure> {
    let by_id: HashMap<u32, usize> = (watched.iter().enumerate())
        .filter_map(|(i, w)| Some((w.stream.id?, i)))
        .collect();
    let mut parser = Parser::default();
    let mut finished = false;
    loop {
        match parser.next_event().map_err(Failure::NoXdf)? {
            Some(Event::Samples { id, stamps, .. }) => {
                if let Some(w) = by_id.get(&id).and_then(|i| watched.get_mut(*i)) {
                    w.take(&stamps);
                }
            }
            Some(Event::Offset(id, offset)) => {
                if let Some(w) = by_id.get(&id).and_then(|i| watched.get_mut(*i)) {
                    w.offsets.push(offset);
                }
            }
            Some(Event::Footer(id, xml)) => {
                if let Some(w) = by_id.get(&id).and_then(|i| watched.get_mut(*i)) {
                    w.stream.footer = counted(&xml);
                }
            }
            Some(Event::Damage { at, what }) => damages.add(at, what, false),
            Some(Event::Boundary) => damages.go_on(parser.position()),
            Some(_) => (),
            None if finished => return Ok(parser.position()),
            None => {
                let at = parser.position() + parser.held() as u64;
                match input.read(at).map_err(Failure::Read)? {
                    Some(bytes) => parser.feed(&bytes),
                    None => {
                        parser.finish();
                        finished = true;
                    }
                }
            }
        }
    }
}

/// Looks for streams that no other lies beside in time.
fn compare(streams: &mut [Stream]) {
    let ranges: Vec<Option<(f64, f64)>> = streams.iter().map(|s| s.range).collect();
    for (stream, far) in streams.iter_mut().zip(xdf::apart(&ranges)) {
        if let Some(far) = far {
            let nearest = far.abs();
            stream.faults.push(fault(
                Verdict::Bad,
                "alone",
                format!("its times lie {nearest:.1} s from those of every other stream"),
                "have the sender stamp its samples with lsl_local_clock(), and record clock offsets",
            ));
        }
    }
}

fn names(streams: &[&Description]) -> String {
    let names: Vec<String> = streams.iter().map(|d| format!("'{}'", d.name)).collect();
    names.join(", ")
}

/// Checks the recording at `path`.
///
/// # Errors
/// It cannot be read, or is no recording, or has no stream.
pub(crate) fn check(path: &Path) -> Result<Report, Failure> {
    let mut input = Input::open(path).map_err(Failure::Read)?;
    let map = Map::make(None, |at| input.read(at)).map_err(|e| match e {
        Failed::NoXdf(e) => Failure::NoXdf(e),
        Failed::Read(e) => Failure::Read(e),
    })?;
    let mut damages = Damages::default();
    let mut watched: Vec<Watched> = map.streams.iter().map(Watched::new).collect();
    let end = watch(&mut input, &mut watched, &mut damages)?;
    let mut report = Report {
        of: path.display().to_string(),
        ..Report::default()
    };
    let others = watched.iter().any(|w| !w.offsets.is_empty());
    let unclosed: Vec<bool> = watched.iter().map(|w| w.stream.footer.is_none()).collect();
    report.streams = watched
        .into_iter()
        .zip(&map.streams)
        .map(|(w, recorded)| w.finish(recorded.examined.findings(), others))
        .collect();
    compare(&mut report.streams);
    report.unpacked = input.unzipped.is_some();
    if let Some(spoiled) = input.unzipped.as_ref().and_then(Unzipped::spoiled) {
        damages.add(spoiled.at, format!("gzip: {}", spoiled.what), true);
    }
    if unclosed.iter().any(|u| *u) {
        let open: Vec<&Description> = (report.streams.iter().zip(&unclosed))
            .filter_map(|(s, u)| u.then_some(&s.description))
            .collect();
        report.notes.push(format!(
            "no footer of {}: the file ends at byte {end} before the recorder has closed it, as \
             when it is killed; what was recorded until then is there",
            names(&open)
        ));
    }
    (report.damages, report.more_damages) = (damages.told, damages.more);
    if report.streams.is_empty() {
        return Err(Failure::NoStream(report.damages));
    }
    Ok(report)
}
