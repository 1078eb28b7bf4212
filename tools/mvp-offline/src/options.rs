// SPDX-License-Identifier: MPL-2.0
//! What stands on the command line.

use crate::error::Failure;
use lexopt::prelude::*;
use onnx::Provider;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// How a signal's samples came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Format {
    /// Ends of an integer sample format.
    pub full_scale: Option<[f64; 2]>,
    /// Before the first sample at or after these instants (ns) some are missing.
    pub cuts: Vec<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Bundle or manifest.
    pub model: PathBuf,
    /// Names, and rates in Hz where they stand beside.
    pub signals: Vec<(String, Option<f64>)>,
    /// Recordings, in the order of `signals`.
    pub files: Vec<PathBuf>,
    pub rate: Option<f64>,
    pub formats: BTreeMap<String, Format>,
    pub counts: Option<PathBuf>,
    pub units: Option<PathBuf>,
    pub provider: Provider,
    pub library: Option<PathBuf>,
    pub recompute: bool,
    pub tokens: bool,
    /// Index of the chunk at whose beginning a window ends.
    pub end: Option<u64>,
}

/// What a command takes besides a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Condition,
    Units,
    Answer,
    Windows,
}

impl Options {
    pub(crate) fn parse(
        command: Command,
        mut parser: lexopt::Parser,
    ) -> Result<Option<Self>, Failure> {
        use Command::{Answer, Condition, Units, Windows};
        let mut model = None;
        let mut options = Self {
            model: PathBuf::new(),
            signals: Vec::new(),
            files: Vec::new(),
            rate: None,
            formats: BTreeMap::new(),
            counts: None,
            units: None,
            provider: Provider::Cpu,
            library: None,
            recompute: false,
            tokens: false,
            end: None,
        };
        // `NAME=` stands before a value where there may be several signals.
        let (mut full_scales, mut cuts) = (Vec::new(), Vec::new());
        let whole = matches!(command, Answer | Windows);
        while let Some(arg) = parser.next()? {
            match arg {
                Short('h') | Long("help") => return Ok(None),
                Value(path) if model.is_none() => model = Some(PathBuf::from(path)),
                Long("signal") if command == Condition => {
                    options.signals.push((parser.value()?.string()?, None));
                }
                Long("signal") if whole => {
                    let (name, rate, file) = recording(parser.value()?)?;
                    if options.signals.iter().any(|(n, _)| *n == name) {
                        return Err(Failure::Usage(format!("--signal {name} is there twice")));
                    }
                    options.signals.push((name, Some(rate)));
                    options.files.push(file);
                }
                Long("rate") if command == Condition => {
                    options.rate = Some(rate(&parser.value()?.string()?)?);
                }
                Long("full-scale") if command != Units => {
                    full_scales.push(parser.value()?.string()?);
                }
                Long("cut-at") if command != Units => cuts.push(parser.value()?.string()?),
                Long("counts") if !whole => options.counts = Some(parser.value()?.into()),
                Long("units") if whole => options.units = Some(parser.value()?.into()),
                Long("provider") if whole => {
                    options.provider = match parser.value()?.string()?.as_str() {
                        "cpu" => Provider::Cpu,
                        "cuda" => Provider::Cuda,
                        "tensorrt" => Provider::TensorRt,
                        "auto" => Provider::Auto,
                        other => {
                            return Err(Failure::Usage(format!(
                                "--provider: expected cpu, cuda, tensorrt or auto, found '{other}'"
                            )));
                        }
                    }
                }
                Long("ort-library") if whole => options.library = Some(parser.value()?.into()),
                Long("recompute") if command == Answer => options.recompute = true,
                Long("tokens") if command == Windows => options.tokens = true,
                Long("end") if command == Windows => options.end = Some(parser.value()?.parse()?),
                other => return Err(other.unexpected().into()),
            }
        }
        options.model = model.ok_or_else(|| {
            Failure::Usage(if whole {
                "expected a model bundle".into()
            } else {
                "expected a manifest (mvp.toml)".into()
            })
        })?;
        for text in full_scales {
            let (name, value) = options.owner(command, "--full-scale", &text)?;
            let ends: Option<Vec<f64>> = value.split(',').map(|v| v.trim().parse().ok()).collect();
            match ends.as_deref() {
                Some(&[low, high]) if low < high => {
                    options.formats.entry(name).or_default().full_scale = Some([low, high]);
                }
                _ => {
                    return Err(Failure::Usage(format!(
                        "--full-scale: expected LOW,HIGH, found '{value}'"
                    )));
                }
            }
        }
        for text in cuts {
            let (name, value) = options.owner(command, "--cut-at", &text)?;
            let times: Result<Vec<u64>, _> = value.split(',').map(|v| v.trim().parse()).collect();
            let times = times.map_err(|_| {
                Failure::Usage(format!(
                    "--cut-at: expected nanoseconds, separated by commas, found '{value}'"
                ))
            })?;
            let all = &mut options.formats.entry(name).or_default().cuts;
            all.extend(times);
            all.sort_unstable();
        }
        Ok(Some(options))
    }

    /// Which signal an option is about, and the rest of it.
    fn owner(
        &self,
        command: Command,
        option: &str,
        text: &str,
    ) -> Result<(String, String), Failure> {
        if command == Command::Condition {
            let name = self.signals.first().map(|(n, _)| n.clone());
            return Ok((name.unwrap_or_default(), text.into()));
        }
        match text.split_once('=') {
            Some((name, value)) if self.signals.iter().any(|(n, _)| n == name) => {
                Ok((name.into(), value.into()))
            }
            _ => Err(Failure::Usage(format!(
                "{option}: expected NAME=VALUE with the NAME of a --signal, found '{text}'"
            ))),
        }
    }

    /// One line of JSON where `--counts` says, or on standard error.
    pub(crate) fn tell(&self, counts: &serde_json::Value) -> Result<(), Failure> {
        match &self.counts {
            Some(path) => std::fs::write(path, format!("{counts}\n"))
                .map_err(Failure::io(path.display().to_string())),
            None => writeln!(std::io::stderr(), "{counts}").map_err(Failure::io("standard error")),
        }
    }
}

fn rate(text: &str) -> Result<f64, Failure> {
    text.parse()
        .ok()
        .filter(|r: &f64| r.is_finite() && *r >= 0.0)
        .ok_or_else(|| {
            Failure::Usage(format!(
                "expected a rate in Hz, 0 for a sender without one, found '{text}'"
            ))
        })
}

/// `NAME=RATE:FILE`.
fn recording(text: OsString) -> Result<(String, f64, PathBuf), Failure> {
    let text = text.string()?;
    let parts = text
        .split_once('=')
        .and_then(|(name, rest)| rest.split_once(':').map(|(rate, file)| (name, rate, file)));
    let (name, hz, file) = parts.ok_or_else(|| {
        Failure::Usage(format!(
            "--signal: expected NAME=RATE:FILE as in eda=4:eda.bin, found '{text}'"
        ))
    })?;
    Ok((name.into(), rate(hz)?, file.into()))
}
