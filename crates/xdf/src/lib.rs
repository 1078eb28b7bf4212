// SPDX-License-Identifier: MPL-2.0
//! Recordings in the Extensible Data Format (XDF), as LabRecorder writes them: an
//! incremental parser and the correction of clocks. No I/O: bytes are fed.

mod clock;
mod parser;
mod stamps;

pub use clock::{Causal, Corrector, Offset};
pub use parser::{ChunkStart, Error, Event, Header, Parser, Resume, Values};
pub use stamps::{Examined, Examiner, Finding, Means, Placer};
