// SPDX-License-Identifier: MPL-2.0
//! mvp-offline: recordings through the code that serves, for training and evaluation.
//!
//! What a network learns from must be what it will be given. This program runs
//! recordings through the same rooms as `mvpfusion`, without a pipeline.

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
mvp-offline: recordings through the code that serves the MVP network

  mvp-offline condition MANIFEST --signal NAME --rate HZ [--full-scale LOW,HIGH]
                        [--cut-at NS,...] [--counts FILE]   < samples > grid
  mvp-offline units     MANIFEST [--counts FILE]            < faces   > grid
  mvp-offline answer    BUNDLE --signal NAME=HZ:FILE... [--units FILE] [--recompute]
  mvp-offline windows   BUNDLE --signal NAME=HZ:FILE... [--units FILE] --end CHUNK
                        [--tokens]

condition   One signal: checked, filtered, put onto its grid and normalised.
            Samples are little-endian records: time in ns (u64), value (f64, may be
            NaN), in order of time, from the recording's start. The grid is f32,
            points 0 to the last sample's, NaN where there is nothing.
units       Face units likewise. Records: time in ns (u64), face confidence (f64),
            then one f64 for each unit of [video], in its order. The grid is f32,
            one row of all units for each point.
answer      One line of JSON for each hop, as mvpfusion answers with sync=wait.
windows     What the encoders were given for the window that ends where chunk CHUNK
            begins: a line of JSON, then the arrays it lists, f32, one after another.

MANIFEST is a bundle, its mvp.toml, or a TOML file with its [[signal]] tables (and
[video]) alone. BUNDLE is the directory of a model. FILE holds records as above.

  --signal NAME          (condition) which [[signal]]
  --rate HZ              the sender's nominal rate, 0 for none
  --signal NAME=HZ:FILE  (answer, windows) a recording; once for each modality, the
                         input of a [[signal]] or its name
  --units FILE           a recording of face units
  --full-scale LOW,HIGH  ends of an integer sample format, at which it is saturated
                         (answer, windows: NAME=LOW,HIGH)
  --cut-at NS,...        the sender said that samples are missing before the first one
                         at or after these times (answer, windows: NAME=NS,...)
  --counts FILE          samples received and bad by kind as JSON; else on stderr
  --provider NAME        cpu (the default), cuda, tensorrt or auto
  --ort-library FILE     libonnxruntime; else ORT_DYLIB_PATH and the system's places
  --recompute            encode every chunk of every window anew, keep no tokens
  --end CHUNK            index of the chunk at whose beginning the window ends
  --tokens               also what the encoders made of it
  -h, --help             this
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.is_broken_pipe() => ExitCode::SUCCESS,
        Err(e) => {
            // Nobody is left to be told where this fails.
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
