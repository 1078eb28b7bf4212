// SPDX-License-Identifier: MPL-2.0
//! mvp-offline: conditions recordings and computes answers without GStreamer, for training and
//! evaluation.
//!
//! It uses the same crates as the element `mvpfusion`, so that a network is trained on what it
//! is given when it runs live.

#![forbid(unsafe_code)]

mod answer;
mod error;
mod grid;
mod options;
mod records;

use error::Failure;
use lexopt::prelude::*;
use options::{Command, Options};
use std::io::Write;
use std::process::ExitCode;

const HELP: &str = "\
mvp-offline: recordings through the filters and the network of mvpfusion

  mvp-offline condition MANIFEST --signal NAME --rate HZ [--full-scale LOW,HIGH]
                        [--cut-at NS,...] [--counts FILE]   < samples > grid
  mvp-offline units     MANIFEST [--counts FILE]            < faces   > grid
  mvp-offline answer    BUNDLE --signal NAME=HZ:FILE... [--units FILE] [--recompute]
  mvp-offline windows   BUNDLE --signal NAME=HZ:FILE... [--units FILE] --end CHUNK
                        [--tokens]

condition   Checks, filters and normalises one signal and puts it onto its grid.
            Input: little-endian records of time in ns (u64) and value (f64, may be
            NaN), in order of time; times count from the start of the recording.
            Output: the grid as f32, from point 0 to that of the last sample, NaN
            where there is no value.
units       Puts face units onto their grid. Input: records of time in ns (u64), face
            confidence (f64), and one f64 for each unit of [video], in its order.
            Output: f32, for each point a row of all units.
answer      Writes one line of JSON for each hop, as mvpfusion answers with sync=wait.
windows     Writes the input of the encoders for the window that ends where chunk CHUNK
            begins: a line of JSON, then the arrays that it lists, f32, in that order.

MANIFEST is a bundle, its mvp.toml, or a TOML file with only its [[signal]] tables and
[video]. BUNDLE is the directory of a model. FILE holds records as above.

  --signal NAME          (condition) name of the [[signal]]
  --rate HZ              nominal rate of the stream, 0 for an irregular one
  --signal NAME=HZ:FILE  (answer, windows) a recording of modality NAME at nominal
                         rate HZ; once for each modality, which is the input of a
                         [[signal]], or its name
  --units FILE           a recording of face units
  --full-scale LOW,HIGH  lowest and highest value of an integer sample format, which
                         are saturated (answer, windows: NAME=LOW,HIGH)
  --unit UNIT            unit of the samples, such as kOhm or uV, where it is not uS
                         (eda) or mV (ecg) (answer, windows: NAME=UNIT)
  --cut-at NS,...        samples are missing before the first one at or after these
                         times (answer, windows: NAME=NS,...)
  --counts FILE          write the numbers of received and of bad samples there as
                         JSON; the default is standard error
  --provider NAME        cpu (the default), cuda, tensorrt or auto
  --ort-library FILE     libonnxruntime; the default is ORT_DYLIB_PATH, then the
                         system's directories
  --recompute            encode every chunk again for each window
  --end CHUNK            index of the chunk that begins where the window ends
  --tokens               write the tokens of the encoders too
  -h, --help             show this text
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.is_broken_pipe() => ExitCode::SUCCESS,
        Err(e) => {
            // If this fails there is nowhere to report it.
            let _ = writeln!(std::io::stderr(), "mvp-offline: {e}");
            ExitCode::from(if matches!(e, Failure::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut parser = lexopt::Parser::from_env();
    let help = || {
        let mut out = std::io::stdout();
        out.write_all(HELP.as_bytes())
            .map_err(Failure::io("standard output"))
    };
    let command = match parser.next()? {
        Some(Short('h') | Long("help")) => return help(),
        Some(Value(name)) => match name.string()?.as_str() {
            "condition" => Command::Condition,
            "units" => Command::Units,
            "answer" => Command::Answer,
            "windows" => Command::Windows,
            other => {
                return Err(Failure::Usage(format!(
                    "expected condition, units, answer or windows, found '{other}'"
                )));
            }
        },
        Some(other) => return Err(other.unexpected().into()),
        None => {
            return Err(Failure::Usage(
                "expected a command: condition, units, answer or windows".into(),
            ));
        }
    };
    let Some(options) = Options::parse(command, parser)? else {
        return help();
    };
    match command {
        Command::Condition => grid::condition(options),
        Command::Units => grid::units(options),
        Command::Answer => answer::answer(&options),
        Command::Windows => answer::windows(&options),
    }
}
