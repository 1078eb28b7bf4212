// SPDX-License-Identifier: MPL-2.0
use super::{
    Error, Library, StreamInfo,
    ffi::{self, PushChunk},
    library::check,
    limits,
};
use std::{
    ffi::c_ulong,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use stream_info::Format;

/// Samples per chunk on the network; 0: as they are pushed.
const CHUNK_SIZE: i32 = 0;
/// Seconds of samples that are kept for an inlet that is late.
const BUFFER_SECONDS: i32 = 360;

mod sealed {
    use crate::{Library, ffi::PushChunk};

    pub trait Sealed: Sized {
        /// The function of liblsl that sends samples of this type.
        fn push(library: &Library) -> PushChunk<Self>;
    }
}

/// A number that a stream can carry.
pub trait Number: sealed::Sealed + Copy + 'static {
    /// The channel format of this type.
    const FORMAT: Format;
}

macro_rules! number {
    ($($ty:ty, $format:ident, $push:ident;)*) => {$(
        impl sealed::Sealed for $ty {
            fn push(library: &Library) -> PushChunk<Self> {
                library.table.$push
            }
        }
        impl Number for $ty {
            const FORMAT: Format = Format::$format;
        }
    )*};
}
number! {
    f32, F32, push_chunk_f;
    f64, F64, push_chunk_d;
    i8, I8, push_chunk_c;
    i16, I16, push_chunk_s;
    i32, I32, push_chunk_i;
    i64, I64, push_chunk_l;
}

/// A stream that inlets can find and read, until dropped.
pub struct Outlet {
    library: &'static Library,
    handle: ffi::Outlet,
    format: Format,
    channels: usize,
    /// Held while samples are pushed.
    sending: Mutex<()>,
}

// SAFETY: liblsl's calls may come from any thread; only `drop` destroys the handle.
unsafe impl Send for Outlet {}
// SAFETY: `sending` keeps pushes apart, since liblsl takes the samples of an outlet from a free
// list that one thread at a time may use. The questions about consumers lock inside liblsl.
unsafe impl Sync for Outlet {}

impl Outlet {
    /// Announces the stream on the network.
    ///
    /// # Errors
    /// [`Error::Failed`]: an unknown channel format, or what liblsl refuses, such as where no
    /// port is free.
    pub fn new(info: &StreamInfo) -> Result<Self, Error> {
        limits::check_descriptors()?;
        let library = info.library();
        let format = info.format().ok_or(Error::Failed(
            "outlet creation",
            "unknown channel format".into(),
        ))?;
        // SAFETY: the streaminfo is live, and copied by the call.
        let handle =
            unsafe { (library.table.create_outlet)(info.handle(), CHUNK_SIZE, BUFFER_SECONDS) };
        if handle.is_null() {
            return Err(Error::Failed("outlet creation", library.last_error()));
        }
        Ok(Self {
            library,
            handle,
            format,
            channels: info.channels(),
            sending: Mutex::new(()),
        })
    }

    /// Sends samples: `values` are `[samples, channels]`, `stamps` the timestamp of each sample
    /// in seconds on this host's LSL clock.
    ///
    /// # Errors
    /// [`Error::Failed`]: numbers of another type than the stream's, or not channels × stamps
    /// of them.
    pub fn push<T: Number>(&self, values: &[T], stamps: &[f64]) -> Result<(), Error> {
        self.check_shape(T::FORMAT, values.len(), stamps.len())?;
        if stamps.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the outlet is live until `drop`; `check_shape` has made sure that the type is
        // the stream's and that there are as many values as the outlet reads: those of a sample
        // for each timestamp.
        let code = unsafe {
            T::push(self.library)(
                self.handle,
                values.as_ptr(),
                values.len() as c_ulong,
                stamps.as_ptr(),
                1,
            )
        };
        check(self.library, "sending samples", code)
    }

    /// As [`Outlet::push`], for strings of any bytes.
    ///
    /// # Errors
    /// As [`Outlet::push`].
    pub fn push_text<S: AsRef<[u8]>>(&self, values: &[S], stamps: &[f64]) -> Result<(), Error> {
        self.check_shape(Format::Text, values.len(), stamps.len())?;
        if stamps.is_empty() {
            return Ok(());
        }
        let mut pointers: Vec<_> = values.iter().map(|s| s.as_ref().as_ptr().cast()).collect();
        let lengths: Vec<u32> = values.iter().map(|s| s.as_ref().len() as u32).collect();
        let _one_at_a_time = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as in `push`; each pointer has its length beside it, and the strings are
        // copied during the call.
        let code = unsafe {
            (self.library.table.push_chunk_buf)(
                self.handle,
                pointers.as_mut_ptr(),
                lengths.as_ptr(),
                pointers.len() as c_ulong,
                stamps.as_ptr(),
                1,
            )
        };
        check(self.library, "sending samples", code)
    }

    fn check_shape(&self, format: Format, values: usize, stamps: usize) -> Result<(), Error> {
        if format != self.format {
            return Err(Error::Failed(
                "sending samples",
                format!("the stream carries {}, not {format}", self.format),
            ));
        }
        if values != stamps * self.channels {
            return Err(Error::Failed(
                "sending samples",
                format!(
                    "{values} values are not {stamps} samples of {} channels",
                    self.channels
                ),
            ));
        }
        Ok(())
    }

    /// Whether an inlet is connected.
    pub fn have_consumers(&self) -> bool {
        // SAFETY: the outlet is live until `drop`.
        unsafe { (self.library.table.have_consumers)(self.handle) != 0 }
    }

    /// Waits until an inlet is connected; false if none was within `timeout`.
    pub fn wait_for_consumers(&self, timeout: Duration) -> bool {
        // SAFETY: the outlet is live until `drop`.
        unsafe { (self.library.table.wait_for_consumers)(self.handle, timeout.as_secs_f64()) != 0 }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        // SAFETY: the outlet is live and this value's own; nothing can use it afterwards.
        unsafe { (self.library.table.destroy_outlet)(self.handle) }
    }
}
