// SPDX-License-Identifier: MPL-2.0
use super::{
    Error, Library, StreamInfo,
    ffi::{self, PullChunk},
    library::check,
    limits,
};
use std::{
    cell::Cell,
    ffi::{c_char, c_ulong},
    ptr,
    time::Duration,
};
use stream_info::{Description, Format};

/// Samples asked for at once; more that wait are read in further rounds.
const ROUND: usize = 256;
/// How much the library keeps for a reader that is late.
const BUFFER_SECONDS: i32 = 60;
/// And bytes of it, at most.
const BUFFER_BYTES: f64 = (256u32 << 20) as f64;
/// And samples: liblsl makes room for all of them at once.
const BUFFER_SAMPLES: f64 = 6e6;
/// liblsl counts the buffer of an irregular stream in hundreds of samples.
const BUFFER_HUNDREDS: i32 = 100;
const BUFFER_IN_SAMPLES: i32 = 1;

/// Samples as they came, with the sender's own stamps.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Chunk {
    /// Numbers: samples after each other, channels interleaved, in the machine's byte
    /// order. Text: the strings after each other, see `lengths`.
    pub bytes: Vec<u8>,
    /// Text only: bytes of each string, one per channel and sample.
    pub lengths: Vec<usize>,
    /// Seconds on the sender's clock, one per sample.
    pub stamps: Vec<f64>,
}

impl Chunk {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
        self.stamps.clear();
    }
}

/// One measurement of the distance between the sender's clock and ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction {
    /// Seconds to add to the sender's stamps.
    pub offset: f64,
    /// Bound of the error in seconds, half the round trip.
    pub uncertainty: f64,
    /// When it was measured, on the sender's clock.
    pub remote_time: f64,
}

/// A connection to one sender. Stamps stay raw, and a lost sender stays lost: both
/// post-processing and recovery are left out of liblsl, whose ways with gaps and
/// restarts cost seconds of accuracy.
pub struct Inlet {
    library: &'static Library,
    handle: ffi::Inlet,
    format: Format,
    channels: usize,
    /// What the search found; the full description must agree with it.
    short: Description,
    /// It does. liblsl divides by the full description's channel count when it reads.
    agreed: Cell<bool>,
    // u64 keeps every sample type aligned.
    values: Vec<u64>,
    strings: Vec<*mut c_char>,
    lengths: Vec<u32>,
    stamps: Vec<f64>,
}

// liblsl's inlets may be used from any thread; the scratch space needs &mut.
unsafe impl Send for Inlet {}

impl Inlet {
    /// Prepares a connection; nothing is sent before [`Inlet::open`].
    ///
    /// # Errors
    /// [`Error::Refused`]: a stream that cannot be received.
    pub fn new(info: &StreamInfo) -> Result<Self, Error> {
        let library = info.library;
        let t = &library.table;
        let short = info.describe()?;
        let format = short.format.ok_or(Error::Failed(
            "inlet creation",
            "unknown channel format".into(),
        ))?;
        let channels = short.channels;
        let sample = (channels * limits::value_size(format)) as f64;
        let most = (BUFFER_BYTES / sample).min(BUFFER_SAMPLES);
        let handle = unsafe {
            if short.rate.is_regular() {
                let hz = short.rate.hz();
                // A buffer of no samples would be divided by.
                let least = (2.0 / hz).ceil() as i32;
                let seconds = BUFFER_SECONDS.min((most / hz) as i32).max(least);
                (t.create_inlet)(info.handle, seconds, 0, 0)
            } else if let Some(create) = t.create_inlet_ex {
                let samples = (BUFFER_HUNDREDS * 100).min(most as i32);
                create(info.handle, samples, 0, 0, BUFFER_IN_SAMPLES)
            } else {
                let hundreds = BUFFER_HUNDREDS.min((most / 100.0) as i32).max(1);
                (t.create_inlet)(info.handle, hundreds, 0, 0)
            }
        };
        if handle.is_null() {
            return Err(Error::Failed("inlet creation", library.last_error()));
        }
        let text = format == Format::Text;
        let values = ROUND * channels;
        Ok(Self {
            library,
            handle,
            format,
            channels,
            short,
            agreed: Cell::new(false),
            values: vec![
                0;
                if text {
                    0
                } else {
                    (values * format.size()).div_ceil(8)
                }
            ],
            strings: vec![ptr::null_mut(); if text { channels } else { 0 }],
            lengths: vec![0; if text { channels } else { 0 }],
            stamps: vec![0.0; ROUND],
        })
    }

    /// The stream's information with its long description.
    ///
    /// # Errors
    /// [`Error::Timeout`]: ask again, the request goes on. [`Error::Lost`].
    /// [`Error::Refused`]: it breaks a limit, or is not of the stream that was found.
    pub fn full_info(&self, timeout: Duration) -> Result<StreamInfo, Error> {
        let mut code = 0;
        let handle = unsafe {
            (self.library.table.get_fullinfo)(self.handle, timeout.as_secs_f64(), &mut code)
        };
        if handle.is_null() {
            check(self.library, "the stream's description", code)?;
            return Err(Error::Failed(
                "the stream's description",
                self.library.last_error(),
            ));
        }
        let info = StreamInfo {
            library: self.library,
            handle,
        };
        let refused = |why: String| {
            Error::Refused(format!(
                "The LSL stream {} {why}. It is ignored; correct its sender, or start it anew",
                self.short
            ))
        };
        let size = info.xml().len();
        if size > limits::MAX_XML {
            return Err(refused(format!(
                "has a description of {size} bytes; at most {} can be received",
                limits::MAX_XML
            )));
        }
        limits::agrees(&self.short, &info.describe()?).map_err(refused)?;
        self.agreed.set(true);
        Ok(info)
    }

    /// Starts the flow of samples.
    ///
    /// # Errors
    /// As [`Inlet::full_info`], which comes first. [`Error::Timeout`]: ask again, the
    /// attempt goes on.
    pub fn open(&self, timeout: Duration) -> Result<(), Error> {
        if !self.agreed.get() {
            self.full_info(timeout)?;
        }
        let mut code = 0;
        unsafe { (self.library.table.open_stream)(self.handle, timeout.as_secs_f64(), &mut code) };
        check(self.library, "opening the stream", code)
    }

    /// Waits up to `wait` for a sample, then appends it and all that wait behind it.
    /// Returns the number of samples, 0 when there was none.
    ///
    /// # Errors
    /// [`Error::Lost`] once the sender is gone.
    pub fn pull(&mut self, wait: Duration, into: &mut Chunk) -> Result<usize, Error> {
        let mut total = 0;
        if !wait.is_zero() {
            // A longer wait for a whole round would hold back the first sample.
            total = self.round(1, wait, into)?;
            if total == 0 {
                return Ok(0);
            }
        }
        loop {
            // Samples in hand must not be thrown away for an error behind them; it
            // comes again at the next call.
            let n = match self.round(ROUND, Duration::ZERO, into) {
                Err(e) if total == 0 => return Err(e),
                read => read.unwrap_or(0),
            };
            total += n;
            if n < ROUND || total >= ROUND * 64 {
                return Ok(total);
            }
        }
    }

    fn round(&mut self, samples: usize, wait: Duration, into: &mut Chunk) -> Result<usize, Error> {
        let t = &self.library.table;
        match self.format {
            Format::F32 => self.numbers(t.pull_chunk_f, samples, wait, into),
            Format::F64 => self.numbers(t.pull_chunk_d, samples, wait, into),
            Format::I8 => self.numbers(t.pull_chunk_c, samples, wait, into),
            Format::I16 => self.numbers(t.pull_chunk_s, samples, wait, into),
            Format::I32 => self.numbers(t.pull_chunk_i, samples, wait, into),
            // Some releases mean `long` by it, which is not 64 bits everywhere, and 1.13
            // never returns from it.
            Format::I64 => self.singly(samples, wait, into, Self::long_sample),
            // The call for many cuts strings at a NUL in 1.13.
            Format::Text => self.singly(samples, wait, into, Self::text_sample),
        }
    }

    fn numbers<T>(
        &mut self,
        pull: PullChunk<T>,
        samples: usize,
        wait: Duration,
        into: &mut Chunk,
    ) -> Result<usize, Error> {
        debug_assert!(size_of::<T>() == self.format.size() && align_of::<T>() <= 8);
        let mut code = 0;
        let elements = unsafe {
            pull(
                self.handle,
                self.values.as_mut_ptr().cast(),
                self.stamps.as_mut_ptr(),
                (samples * self.channels) as c_ulong,
                samples as c_ulong,
                wait.as_secs_f64(),
                &mut code,
            )
        };
        let n = self.received(elements, code)?;
        let bytes = n * self.channels * size_of::<T>();
        // Plain numbers, initialised by the vector itself or by the call above.
        into.bytes.extend_from_slice(unsafe {
            std::slice::from_raw_parts(self.values.as_ptr().cast(), bytes)
        });
        into.stamps.extend_from_slice(&self.stamps[..n]);
        Ok(n)
    }

    /// Reads sample by sample, waiting only for the first.
    fn singly(
        &mut self,
        samples: usize,
        wait: Duration,
        into: &mut Chunk,
        one: fn(&mut Self, Duration, &mut Chunk) -> (f64, i32),
    ) -> Result<usize, Error> {
        for n in 0..samples {
            let (stamp, code) = one(self, if n == 0 { wait } else { Duration::ZERO }, into);
            if stamp == 0.0 {
                if n == 0 && code != ffi::ERROR_TIMEOUT {
                    check(self.library, "reading samples", code)?;
                }
                return Ok(n);
            }
            into.stamps.push(stamp);
        }
        Ok(samples)
    }

    fn long_sample(&mut self, wait: Duration, into: &mut Chunk) -> (f64, i32) {
        let mut code = 0;
        let bytes = self.channels * size_of::<i64>();
        let stamp = unsafe {
            (self.library.table.pull_sample_v)(
                self.handle,
                self.values.as_mut_ptr().cast(),
                bytes as i32,
                wait.as_secs_f64(),
                &mut code,
            )
        };
        if stamp != 0.0 {
            let values = &self.values[..self.channels];
            into.bytes
                .extend(values.iter().flat_map(|v| v.to_ne_bytes()));
        }
        (stamp, code)
    }

    fn text_sample(&mut self, wait: Duration, into: &mut Chunk) -> (f64, i32) {
        let t = &self.library.table;
        let mut code = 0;
        let stamp = unsafe {
            (t.pull_sample_buf)(
                self.handle,
                self.strings.as_mut_ptr(),
                self.lengths.as_mut_ptr(),
                self.channels as i32,
                wait.as_secs_f64(),
                &mut code,
            )
        };
        if stamp != 0.0 {
            for (string, length) in self.strings.iter().zip(&self.lengths) {
                let length = if string.is_null() {
                    0
                } else {
                    *length as usize
                };
                if length > 0 {
                    into.bytes.extend_from_slice(unsafe {
                        std::slice::from_raw_parts(string.cast(), length)
                    });
                }
                if !string.is_null() {
                    unsafe { (t.destroy_string)(*string) };
                }
                into.lengths.push(length);
            }
        }
        (stamp, code)
    }

    /// Samples in an answer of `elements` values.
    fn received(&self, elements: c_ulong, code: i32) -> Result<usize, Error> {
        if elements == 0 && code != ffi::ERROR_TIMEOUT {
            check(self.library, "reading samples", code)?;
        }
        Ok((elements as usize / self.channels).min(ROUND))
    }

    /// The distance between the clocks; the first call starts the measurement, which
    /// then goes on by itself.
    ///
    /// # Errors
    /// [`Error::Timeout`] while there is none. [`Error::Lost`].
    pub fn time_correction(&self, timeout: Duration) -> Result<Correction, Error> {
        let (mut remote_time, mut uncertainty, mut code) = (0.0, 0.0, 0);
        let offset = unsafe {
            (self.library.table.time_correction)(
                self.handle,
                &mut remote_time,
                &mut uncertainty,
                timeout.as_secs_f64(),
                &mut code,
            )
        };
        check(self.library, "measuring the clock offset", code)?;
        Ok(Correction {
            offset,
            uncertainty,
            remote_time,
        })
    }

    /// Whether the sender's clock started anew since the last call.
    pub fn was_clock_reset(&self) -> bool {
        unsafe { (self.library.table.was_clock_reset)(self.handle) != 0 }
    }

    /// Throws away what waits; the number of samples, or `None` before liblsl 1.14.
    pub fn flush(&mut self) -> Option<u32> {
        self.library
            .table
            .inlet_flush
            .map(|flush| unsafe { flush(self.handle) })
    }
}

impl Drop for Inlet {
    /// May take most of a second: liblsl joins its threads.
    fn drop(&mut self) {
        unsafe { (self.library.table.destroy_inlet)(self.handle) }
    }
}
