// SPDX-License-Identifier: MPL-2.0
//! The command line.

use crate::error::Failure;
use conditioning::{Conversion, UnitSpec};
use lexopt::prelude::*;
use onnx::Provider;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// How the samples of a recording came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Format {
    /// Lowest and highest value of an integer sample format.
    pub(crate) full_scale: Option<[f64; 2]>,
    /// Times (ns), sorted: samples are missing before the first one at or after each.
    pub(crate) cuts: Vec<u64>,
    /// The unit of the samples, where it is not that of the signal.
    pub(crate) unit: Option<String>,
}

impl Format {
    /// How samples of `modality` become those of its unit.
    pub(crate) fn conversion(&self, modality: &str) -> Result<Conversion, Failure> {
        let spec = UnitSpec {
            unit: self.unit.clone(),
            ..UnitSpec::default()
        };
        Conversion::new(modality, "", &spec).map_err(|e| Failure::Usage(format!("--unit: {e}")))
    }
}

/// The options of a command.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Bundle or manifest.
    pub(crate) model: PathBuf,
    /// Name of each `--signal`, and its rate in Hz if the option has one.
    pub(crate) signals: Vec<(String, Option<f64>)>,
    /// Recordings, in the order of `signals`.
    pub(crate) files: Vec<PathBuf>,
    /// Hz.
    pub(crate) rate: Option<f64>,
    /// By the name of the signal.
    pub(crate) formats: BTreeMap<String, Format>,
    pub(crate) counts: Option<PathBuf>,
    pub(crate) units: Option<PathBuf>,
    pub(crate) provider: Provider,
    pub(crate) library: Option<PathBuf>,
    pub(crate) recompute: bool,
    pub(crate) tokens: bool,
    /// Index of the chunk that begins where the window ends.
    pub(crate) end: Option<u64>,
}

/// The commands; each takes a model and options of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Condition,
    Units,
    Answer,
    Windows,
}

impl Options {
    /// Reads what follows the command. `None`: the help text is asked for.
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
        // Values with `NAME=`, which can be resolved only when all signals are known.
        let (mut full_scales, mut cuts, mut names) = (Vec::new(), Vec::new(), Vec::new());
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
                Long("unit") if command != Units => names.push(parser.value()?.string()?),
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
        for text in names {
            let (name, value) = options.owner(command, "--unit", &text)?;
            options.formats.entry(name).or_default().unit = Some(value);
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

    /// The signal that an option is for, and the option's value.
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

    /// Writes one line of JSON to the file of `--counts`, or to standard error.
    pub(crate) fn tell(&self, counts: &serde_json::Value) -> Result<(), Failure> {
        match &self.counts {
            Some(path) => std::fs::write(path, format!("{counts}\n"))
                .map_err(Failure::io(path.display().to_string())),
            None => writeln!(std::io::stderr(), "{counts}").map_err(Failure::io("standard error")),
        }
    }
}

/// A rate in Hz, 0 or more.
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
