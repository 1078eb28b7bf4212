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

/// Samples read by one call of liblsl.
const ROUND: usize = 256;
/// Seconds of samples that liblsl keeps for an inlet that is not read.
const BUFFER_SECONDS: i32 = 60;
/// Most bytes in that buffer.
const BUFFER_BYTES: f64 = (64u32 << 20) as f64;
/// Bytes that liblsl needs for a sample besides its values.
const SAMPLE_BYTES: usize = 64;
/// Most samples of strings in that buffer. How long they are is known only when they came.
const BUFFER_TEXTS: f64 = 2000.0;
/// A call that has so many bytes or samples returns, even if there are more.
const CHUNK_BYTES: usize = 8 << 20;
const CHUNK_SAMPLES: usize = ROUND * 64;
/// liblsl counts the buffer of an irregular stream in hundreds of samples.
const BUFFER_HUNDREDS: i32 = 100;
/// The flag of `lsl_create_inlet_ex` for a buffer that is counted in samples.
const BUFFER_IN_SAMPLES: i32 = 1;

/// Samples in the order of their arrival.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Chunk {
    /// Numbers: `[samples, channels]` in the machine's byte order. Text: the strings after
    /// each other, see `lengths`.
    pub bytes: Vec<u8>,
    /// Text only: bytes of each string, `[samples, channels]`.
    pub lengths: Vec<usize>,
    /// The timestamp of each sample, seconds on the clock of the outlet's host.
    pub stamps: Vec<f64>,
}

impl Chunk {
    /// Bytes of memory, about.
    pub fn size(&self) -> usize {
        self.bytes.len()
            + size_of_val(self.lengths.as_slice())
            + size_of_val(self.stamps.as_slice())
    }

    /// Whether there may have been more to read in one call of [`Inlet::pull`].
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= CHUNK_BYTES || self.stamps.len() >= CHUNK_SAMPLES
    }

    /// Removes all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
        self.stamps.clear();
    }
}

/// One measurement of the clock offset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction {
    /// Seconds to add to a timestamp to get the time on this host's LSL clock.
    pub offset: f64,
    /// Greatest possible error in seconds: half the round trip.
    pub uncertainty: f64,
    /// When it was measured, seconds on the clock of the outlet's host.
    pub remote_time: f64,
}

/// A connection to one outlet. liblsl's post-processing of timestamps and its recovery of lost
/// outlets are off: around gaps and restarts they give timestamps that are wrong by seconds.
pub struct Inlet {
    library: &'static Library,
    handle: ffi::Inlet,
    format: Format,
    channels: usize,
    /// What the search found; the full description must agree with it.
    short: Description,
    /// Whether it does. liblsl divides by the full description's channel count when it reads.
    agreed: Cell<bool>,
    /// Samples of a call; `u64` aligns every format.
    values: Vec<u64>,
    /// The strings of a call.
    strings: Vec<*mut c_char>,
    lengths: Vec<u32>,
    stamps: Vec<f64>,
}

// SAFETY: liblsl's calls may come from any thread, and its own threads behind the inlet share
// their state under locks. `strings` holds no pointers between two calls.
unsafe impl Send for Inlet {}

impl Inlet {
    /// Prepares a connection; no samples are sent before [`Inlet::open`].
    ///
    /// # Errors
    /// [`Error::Refused`]: a stream that cannot be received. [`Error::Failed`]: liblsl refuses.
    pub fn new(info: &StreamInfo) -> Result<Self, Error> {
        let library = info.library();
        let t = &library.table;
        let short = info.describe()?;
        let format = short.format.ok_or(Error::Failed(
            "inlet creation",
            "unknown channel format".into(),
        ))?;
        let channels = short.channels;
        let sample = (channels * limits::value_size(format) + SAMPLE_BYTES) as f64;
        let most = match format {
            Format::Text => BUFFER_TEXTS.min(BUFFER_BYTES / sample),
            _ => BUFFER_BYTES / sample,
        };
        let (length, in_samples) = if short.rate.is_regular() {
            let hz = short.rate.hz();
            // liblsl divides by the number of samples in its buffer.
            let least = (2.0 / hz).ceil() as i32;
            (BUFFER_SECONDS.min((most / hz) as i32).max(least), None)
        } else if let Some(create) = t.create_inlet_ex {
            ((BUFFER_HUNDREDS * 100).min(most as i32), Some(create))
        } else {
            (BUFFER_HUNDREDS.min((most / 100.0) as i32).max(1), None)
        };
        let handle = match in_samples {
            // SAFETY: the streaminfo is live, and copied by the call.
            Some(create) => unsafe { create(info.handle(), length, 0, 0, BUFFER_IN_SAMPLES) },
            // SAFETY: as above.
            None => unsafe { (t.create_inlet)(info.handle(), length, 0, 0) },
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
    /// [`Error::Timeout`]: call again, the request goes on. [`Error::Lost`].
    /// [`Error::Refused`]: it breaks a limit, or is not of the stream that was found.
    pub fn full_info(&self, timeout: Duration) -> Result<StreamInfo, Error> {
        let mut code = 0;
        // SAFETY: the inlet is live until `drop`; `code` outlives the call.
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
        // SAFETY: the streaminfo was made for this call, whose caller owns it.
        let info = unsafe { StreamInfo::from_handle(self.library, handle) };
        let refused = |why: String| {
            Error::Refused(format!(
                "The LSL stream {} {why}. It is ignored; correct its sender, or restart it",
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
    /// As [`Inlet::full_info`], which is called first. [`Error::Timeout`]: call again, the
    /// attempt goes on.
    pub fn open(&self, timeout: Duration) -> Result<(), Error> {
        if !self.agreed.get() {
            self.full_info(timeout)?;
        }
        let mut code = 0;
        // SAFETY: the inlet is live until `drop`; `code` outlives the call.
        unsafe { (self.library.table.open_stream)(self.handle, timeout.as_secs_f64(), &mut code) };
        check(self.library, "opening the stream", code)
    }

    /// Waits up to `wait` for a sample, then appends it and those that follow without a wait.
    /// Returns the number of samples, 0 when there was none. What comes in a flood is read in
    /// several calls: see [`Chunk::is_full`].
    ///
    /// # Errors
    /// [`Error::Lost`] once the outlet is gone. [`Error::Failed`] before [`Inlet::open`].
    pub fn pull(&mut self, wait: Duration, into: &mut Chunk) -> Result<usize, Error> {
        // liblsl would open the stream here, and take the channel count for its reads from a
        // description that has not been checked.
        if !self.agreed.get() {
            return Err(Error::Failed(
                "reading samples",
                "the stream is not open".into(),
            ));
        }
        let mut total = 0;
        if !wait.is_zero() {
            // To wait for more than one sample would delay the first.
            total = self.read(1, wait, into)?;
            if total == 0 {
                return Ok(0);
            }
        }
        loop {
            // An error after samples is not returned now, so that the samples are not lost; the
            // next call meets it again.
            let n = match self.read(ROUND, Duration::ZERO, into) {
                Err(e) if total == 0 => return Err(e),
                read => read.unwrap_or(0),
            };
            total += n;
            if n < ROUND || into.bytes.len() >= CHUNK_BYTES || total >= CHUNK_SAMPLES {
                return Ok(total);
            }
        }
    }

    fn read(&mut self, samples: usize, wait: Duration, into: &mut Chunk) -> Result<usize, Error> {
        let t = &self.library.table;
        match self.format {
            Format::F32 => self.numbers(t.pull_chunk_f, samples, wait, into),
            Format::F64 => self.numbers(t.pull_chunk_d, samples, wait, into),
            Format::I8 => self.numbers(t.pull_chunk_c, samples, wait, into),
            Format::I16 => self.numbers(t.pull_chunk_s, samples, wait, into),
            Format::I32 => self.numbers(t.pull_chunk_i, samples, wait, into),
            // `lsl_pull_chunk_l` reads `long` in some releases, which is not 64 bits everywhere,
            // and never returns in 1.13.
            Format::I64 => self.one_by_one(samples, wait, into, Self::long_sample),
            // `lsl_pull_chunk_buf` cuts strings at a NUL in 1.13.
            Format::Text => self.one_by_one(samples, wait, into, Self::text_sample),
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
        // SAFETY: the inlet is live until `drop`. `values` and `stamps` have room for `ROUND`
        // samples of this format, and `samples` is no more. `pull` has made sure that liblsl's
        // channel count is `channels`.
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
        // SAFETY: `values` has at least `bytes` bytes, initialised since the vector was made, and
        // is borrowed until they are copied.
        let values = unsafe { std::slice::from_raw_parts(self.values.as_ptr().cast(), bytes) };
        into.bytes.extend_from_slice(values);
        into.stamps.extend_from_slice(&self.stamps[..n]);
        Ok(n)
    }

    /// Reads sample by sample, waiting only for the first.
    fn one_by_one(
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
            if into.bytes.len() >= CHUNK_BYTES {
                return Ok(n + 1);
            }
        }
        Ok(samples)
    }

    fn long_sample(&mut self, wait: Duration, into: &mut Chunk) -> (f64, i32) {
        let mut code = 0;
        let bytes = self.channels * size_of::<i64>();
        // SAFETY: the inlet is live until `drop`; `values` has room for a sample of 64-bit
        // numbers, and the call is told its size in bytes.
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
        // SAFETY: the inlet is live until `drop`; `strings` and `lengths` have a place for each
        // channel.
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
                    // SAFETY: the call has made a string of `length` bytes here.
                    let value = unsafe { std::slice::from_raw_parts(string.cast(), length) };
                    into.bytes.extend_from_slice(value);
                }
                if !string.is_null() {
                    // SAFETY: the string is the caller's to destroy, once: the next call of
                    // `pull_sample_buf` overwrites the pointer before it is read again.
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

    /// The newest clock offset. The first call starts the measurements, which liblsl then
    /// repeats by itself.
    ///
    /// # Errors
    /// [`Error::Timeout`] while there is no measurement. [`Error::Lost`].
    pub fn time_correction(&self, timeout: Duration) -> Result<Correction, Error> {
        let (mut remote_time, mut uncertainty, mut code) = (0.0, 0.0, 0);
        // SAFETY: the inlet is live until `drop`; the three targets outlive the call.
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

    /// Whether there was a clock reset since the last call.
    pub fn was_clock_reset(&self) -> bool {
        // SAFETY: the inlet is live until `drop`.
        unsafe { (self.library.table.was_clock_reset)(self.handle) != 0 }
    }

    /// Drops the samples that have not been read; their number, or `None` before liblsl 1.14.
    pub fn flush(&mut self) -> Option<u32> {
        self.library
            .table
            .inlet_flush
            // SAFETY: the inlet is live until `drop`.
            .map(|flush| unsafe { flush(self.handle) })
    }
}

impl Drop for Inlet {
    /// May take most of a second: liblsl joins its threads.
    fn drop(&mut self) {
        // SAFETY: the inlet is live and this value's own; nothing can use it afterwards.
        unsafe { (self.library.table.destroy_inlet)(self.handle) }
    }
}
