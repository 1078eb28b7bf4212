// SPDX-License-Identifier: MPL-2.0
//! mvp-check: says of each stream of a recording, or of the LSL network, whether it is fit for
//! use, and if not, why and what helps.
//!
//! It uses the same crates as `lslsrc` and `xdfdemux`, without GStreamer.

#![forbid(unsafe_code)]

mod body;
mod live;
mod meter;
mod recording;
mod report;
mod terminal;
mod trace;
mod verdict;

use lexopt::prelude::*;
use report::Verdict;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
mvp-check: is each stream of a recording, or of the LSL network, fit for use?

  mvp-check FILE             a recording (.xdf, .xdfz), also a damaged one
  mvp-check live             what the LSL network sends now

Prints a line for each stream: found or found-no-data, name, type, host, channels and
format, declared and effective rate, samples, gaps, clock resets, jitter, clock offset with
drift and uncertainty, timestamps that no other stream shares, and the verdict, good, poor
or bad, with the reason and what helps; then where the file is damaged. Of a live ECG, PPG or
EDA also the quality of the signal, and heart rate or skin conductance level.

  --seconds N            (live) end after N seconds; in a terminal the default is Ctrl-C,
                         elsewhere 10
  --predicate XPATH      (live) only streams that match, as starts-with(name,'Polar')
  --json                 print JSON
  -h, --help             show this text
  -V, --version          show the version

The exit code is 0 if all is good, 1 if something is poor or bad, 2 if nothing can be read.
In a terminal, live draws its streams twice a second. The LSL library is found as by lslsrc:
LSL_LIBRARY, PYLSL_LIB, then the system's places.
";

/// Seconds for which the network is watched where nobody can end it.
const USUAL: f64 = 10.0;

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}; mvp-check --help says more")]
    Usage(String),
    #[error("the recording cannot be read: {0}")]
    Read(io::Error),
    #[error("{0}")]
    NoXdf(xdf::Error),
    #[error(
        "the recording has no stream that can be read{}; was the recorder stopped before it found \
         one?",
        damaged(.0)
    )]
    NoStream(Vec<report::Damage>),
    #[error("LSL cannot be used: {0}")]
    Lsl(lsl::Error),
    #[error("the system refuses: {0}")]
    Thread(io::Error),
    #[error(
        "no LSL stream was found in {seconds:.1} s{}. Start the sender; if it runs on another \
         computer, both must be in one network whose firewall lets LSL through (UDP 16571, TCP \
         and UDP 16572-16604)",
        match .refused.as_str() { "" => String::new(), r => format!(" ({r})") }
    )]
    NoLive { seconds: f64, refused: String },
    #[error("standard output: {0}")]
    Write(io::Error),
}

fn damaged(damages: &[report::Damage]) -> String {
    let places = damages.iter().take(3);
    let places = places.map(|d| format!("; damaged at byte {}: {}", d.at, d.what));
    places.collect()
}

impl From<lexopt::Error> for Failure {
    fn from(e: lexopt::Error) -> Self {
        Self::Usage(e.to_string())
    }
}

/// What is to be checked.
enum Subject {
    Live,
    Recording(PathBuf),
}

/// The options.
struct Options {
    subject: Subject,
    seconds: Option<Duration>,
    predicate: Option<String>,
    json: bool,
    /// Somebody looks.
    terminal: bool,
}

/// A text to print, or what to do.
enum Request {
    Print(String),
    Check(Options),
}

fn parse() -> Result<Request, Failure> {
    let mut parser = lexopt::Parser::from_env();
    let (mut subject, mut seconds, mut predicate, mut json) = (None, None, None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Request::Print(HELP.into())),
            Short('V') | Long("version") => {
                let version = concat!("mvp-check ", env!("CARGO_PKG_VERSION"), "\n");
                return Ok(Request::Print(version.into()));
            }
            Long("json") => json = true,
            Long("predicate") => predicate = Some(parser.value()?.string()?),
            Long("seconds") => {
                let text = parser.value()?.string()?;
                let time = text.parse().ok().filter(|s: &f64| *s > 0.0);
                let time = time.and_then(|s| Duration::try_from_secs_f64(s).ok());
                seconds = Some(time.ok_or_else(|| {
                    Failure::Usage(format!(
                        "--seconds: expected a number above 0, found '{text}'"
                    ))
                })?);
            }
            Value(value) if subject.is_none() => {
                subject = Some(match value.to_str() {
                    Some("live") => Subject::Live,
                    _ => Subject::Recording(value.into()),
                });
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let Some(subject) = subject else {
        return Err(Failure::Usage("expected a recording, or 'live'".into()));
    };
    if let Subject::Recording(_) = subject
        && (seconds.is_some() || predicate.is_some())
    {
        return Err(Failure::Usage(
            "--seconds and --predicate are for 'live'; a file is read as a whole".into(),
        ));
    }
    let terminal = io::stdout().is_terminal();
    if !terminal || json {
        seconds = seconds.or(Some(Duration::from_secs_f64(USUAL)));
    }
    Ok(Request::Check(Options {
        subject,
        seconds,
        predicate,
        json,
        terminal,
    }))
}

fn run() -> Result<Verdict, Failure> {
    let options = match parse()? {
        Request::Check(options) => options,
        Request::Print(text) => {
            print(&text)?;
            return Ok(Verdict::Good);
        }
    };
    let report = match &options.subject {
        Subject::Live => live::check(&options)?,
        Subject::Recording(path) => recording::check(path)?,
    };
    match options.json {
        true => print(&format!("{:#}\n", report.json()))?,
        false => print(&report.text())?,
    }
    Ok(report.verdict())
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who reads has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failure::Write),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(e) => {
            // If this fails there is nowhere to report it.
            let _ = writeln!(io::stderr(), "mvp-check: {e}");
            ExitCode::from(2)
        }
    }
}
