// SPDX-License-Identifier: MPL-2.0
//! What was found out about each stream, and how it is printed.

use conditioning::quality::Reason;
use serde_json::{Value, json};
use std::fmt::Write;
use stream_info::{Description, shortened};

/// How good a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Good,
    Poor,
    Bad,
}

impl Verdict {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Poor => "poor",
            Self::Bad => "bad",
        }
    }
}

/// Something that is wrong with a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub(crate) verdict: Verdict,
    /// One word, for programs.
    pub(crate) kind: &'static str,
    /// What was found, and what helps.
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

/// The clock of a sender, against that of the recorder or of this machine; seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clock {
    /// How many measurements there are.
    pub(crate) measurements: usize,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    /// Seconds per second by which the offset grows.
    pub(crate) drift: Option<f64>,
    pub(crate) uncertainty: f64,
}

/// What a sensor tells of the body now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Body {
    /// 0 to 1; `None`: too early.
    pub(crate) quality: Option<f64>,
    pub(crate) reason: Option<Reason>,
    /// Beats per minute.
    pub(crate) hr: Option<f64>,
    /// Skin conductance level, µS.
    pub(crate) scl: Option<f64>,
    /// What is wrong with the declared unit.
    pub(crate) unit: Option<String>,
}

impl Body {
    /// In a few words.
    pub(crate) fn text(&self) -> String {
        let parts = [
            self.hr.map(|hr| format!("HR {hr:.0} bpm")),
            self.scl.map(|scl| format!("SCL {scl:.2} uS")),
            self.quality.map(|q| format!("quality {q:.2}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// What is measured of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) description: Description,
    /// The number that a recording gives it.
    pub(crate) id: Option<u32>,
    pub(crate) samples: u64,
    /// What the recording's footer counts.
    pub(crate) footer: Option<u64>,
    /// Samples per second between gaps.
    pub(crate) effective: Option<f64>,
    pub(crate) gaps: u64,
    pub(crate) lost: u64,
    /// Seconds.
    pub(crate) longest_gap: f64,
    pub(crate) resets: u64,
    /// Seconds by which timestamps are off the regular raster, on the average.
    pub(crate) jitter: Option<f64>,
    pub(crate) clock: Option<Clock>,
    pub(crate) strays: u64,
    /// Seconds, first and last, on the clock of the recorder or of this machine.
    pub(crate) range: Option<(f64, f64)>,
    /// Live, of a sensor that is known.
    pub(crate) body: Option<Body>,
    pub(crate) faults: Vec<Fault>,
}

impl Stream {
    pub(crate) fn new(description: Description, id: Option<u32>) -> Self {
        Self {
            description,
            id,
            samples: 0,
            footer: None,
            effective: None,
            gaps: 0,
            lost: 0,
            longest_gap: 0.0,
            resets: 0,
            jitter: None,
            clock: None,
            strays: 0,
            range: None,
            body: None,
            faults: Vec::new(),
        }
    }

    pub(crate) fn declared(&self) -> Option<f64> {
        let rate = self.description.rate;
        rate.is_regular().then(|| rate.hz())
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let worst = self.faults.iter().map(|f| f.verdict).max();
        worst.unwrap_or(Verdict::Good)
    }

    /// `found-no-data` for a stream that is there and has no samples.
    pub(crate) fn state(&self) -> &'static str {
        let empty = |f: &Fault| f.kind == "found-no-data";
        match self.faults.iter().any(empty) {
            true => "found-no-data",
            false => "found",
        }
    }

    /// The faults in one sentence, with the remedy of each.
    pub(crate) fn reasons(&self) -> String {
        let mut faults: Vec<&Fault> = self.faults.iter().collect();
        faults.sort_by_key(|f| std::cmp::Reverse(f.verdict));
        let told = faults.iter().map(|f| match f.remedy {
            "" => f.what.clone(),
            remedy => format!("{} ({remedy})", f.what),
        });
        told.collect::<Vec<_>>().join("; ")
    }

    /// Everything in one line.
    pub(crate) fn line(&self) -> String {
        let d = &self.description;
        let format = d.format.map_or("unknown".into(), |f| f.to_string());
        let mut line = format!(
            "{} | {} | {} | host {} | {} channel(s), {format} | rate ",
            self.state(),
            named(&d.name),
            named(&d.stream_type),
            named(&d.hostname),
            d.channels,
        );
        let effective = self.effective.map(|e| format!("{e:.3} Hz effective"));
        let _ = match (self.declared(), effective) {
            (Some(hz), Some(effective)) => write!(line, "{hz} Hz declared, {effective}"),
            (Some(hz), None) => write!(line, "{hz} Hz declared"),
            (None, _) => write!(line, "irregular"),
        };
        let _ = write!(line, " | {} samples | gaps {}", self.samples, self.gaps);
        if self.gaps > 0 {
            let _ = write!(
                line,
                " ({} samples lost, longest {:.3} s)",
                self.lost, self.longest_gap
            );
        }
        let _ = write!(line, " | resets {}", self.resets);
        if let Some(jitter) = self.jitter {
            let _ = write!(line, " | jitter {:.3} ms", jitter * 1e3);
        }
        match &self.clock {
            Some(c) => {
                let _ = write!(line, " | clock {:+.6} to {:+.6} s", c.lowest, c.highest);
                if let Some(drift) = c.drift {
                    let _ = write!(line, ", drift {:+.1} ppm", drift * 1e6);
                }
                let _ = write!(line, ", uncertainty {:.3} ms", c.uncertainty * 1e3);
            }
            None => line.push_str(" | clock not measured"),
        }
        let _ = write!(line, " | stray timestamps {}", self.strays);
        let body = self.body.as_ref().map_or(String::new(), Body::text);
        if !body.is_empty() {
            let _ = write!(line, " | {body}");
        }
        let _ = write!(line, " | {}", self.verdict().as_str());
        if !self.faults.is_empty() {
            let _ = write!(line, ": {}", self.reasons());
        }
        line
    }

    pub(crate) fn json(&self) -> Value {
        let d = &self.description;
        let clock = self.clock.map(|c| {
            json!({
                "measurements": c.measurements,
                "lowest": c.lowest,
                "highest": c.highest,
                "drift-ppm": c.drift.map(|d| d * 1e6),
                "uncertainty": c.uncertainty,
            })
        });
        let faults = self.faults.iter().map(|f| {
            json!({
                "kind": f.kind,
                "verdict": f.verdict.as_str(),
                "what": f.what,
                "remedy": f.remedy,
            })
        });
        json!({
            "state": self.state(),
            "id": self.id,
            "name": d.name,
            "type": d.stream_type,
            "source-id": d.source_id,
            "hostname": d.hostname,
            "channels": d.channels,
            "format": d.format.map(|f| f.to_string()),
            "declared-rate": self.declared(),
            "effective-rate": self.effective,
            "samples": self.samples,
            "footer-samples": self.footer,
            "gaps": self.gaps,
            "lost-samples": self.lost,
            "longest-gap": self.longest_gap,
            "resets": self.resets,
            "jitter": self.jitter,
            "clock": clock,
            "stray-timestamps": self.strays,
            "quality": self.body.as_ref().and_then(|b| b.quality),
            "quality-reason": self.body.as_ref().and_then(|b| b.reason).map(Reason::as_str),
            "hr": self.body.as_ref().and_then(|b| b.hr),
            "scl": self.body.as_ref().and_then(|b| b.scl),
            "begin": self.range.map(|r| r.0),
            "end": self.range.map(|r| r.1),
            "verdict": self.verdict().as_str(),
            "faults": faults.collect::<Vec<_>>(),
        })
    }
}

fn named(text: &str) -> String {
    match text {
        "" => "-".into(),
        // A name of a stranger's file must not move the cursor of a terminal.
        text => shortened(&text.replace(|c: char| c.is_control() || c == '|', " ")),
    }
}

/// What is wrong in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Damage {
    /// Offset, bytes: in the recording, or (`packed`) in the compressed file.
    pub(crate) at: u64,
    pub(crate) what: String,
    pub(crate) packed: bool,
}

/// All that was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// What was checked: a file, or `live`.
    pub(crate) of: String,
    pub(crate) streams: Vec<Stream>,
    pub(crate) damages: Vec<Damage>,
    /// The file is compressed: places are those in what it unpacks to.
    pub(crate) unpacked: bool,
    /// Of these, how many were not kept.
    pub(crate) more_damages: u64,
    /// Worth knowing, and no fault.
    pub(crate) notes: Vec<String>,
}

impl Report {
    pub(crate) fn verdict(&self) -> Verdict {
        let worst = self.streams.iter().map(Stream::verdict).max();
        let worst = worst.unwrap_or(Verdict::Good);
        match self.damages.is_empty() {
            true => worst,
            false => worst.max(Verdict::Poor),
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for stream in &self.streams {
            text += &stream.line();
            text.push('\n');
        }
        for Damage { at, what, packed } in &self.damages {
            let of = match self.unpacked && !packed {
                true => " of what the file unpacks to",
                false => "",
            };
            let _ = writeln!(text, "damaged at byte {at}{of}: {what}");
        }
        if self.more_damages > 0 {
            let _ = writeln!(text, "damaged at {} more places", self.more_damages);
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        let of = |v: Verdict| self.streams.iter().filter(|s| s.verdict() == v).count();
        let _ = writeln!(
            text,
            "{}: {} ({} stream(s): {} good, {} poor, {} bad)",
            self.of,
            self.verdict().as_str(),
            self.streams.len(),
            of(Verdict::Good),
            of(Verdict::Poor),
            of(Verdict::Bad)
        );
        text
    }

    pub(crate) fn json(&self) -> Value {
        let unpacked = self.unpacked;
        let damages = self
            .damages
            .iter()
            .map(|d| json!({ "at": d.at, "unpacked": unpacked && !d.packed, "what": d.what }));
        json!({
            "of": self.of,
            "verdict": self.verdict().as_str(),
            "streams": self.streams.iter().map(Stream::json).collect::<Vec<_>>(),
            "damages": damages.collect::<Vec<_>>(),
            "more-damages": self.more_damages,
            "notes": self.notes,
        })
    }
}
