// SPDX-License-Identifier: MPL-2.0
use super::{
    Error, Library, StreamInfo,
    ffi::{self, PushChunk},
    library::check,
};
use std::{ffi::c_ulong, time::Duration};
use stream_info::Format;

mod sealed {
    pub trait Sealed {}
}

/// A number that a stream can carry.
pub trait Number: sealed::Sealed + Copy + 'static {
    const FORMAT: Format;
    #[doc(hidden)]
    fn push(library: &Library) -> PushChunk<Self>;
}

macro_rules! number {
    ($($ty:ty, $format:ident, $push:ident;)*) => {$(
        impl sealed::Sealed for $ty {}
        impl Number for $ty {
            const FORMAT: Format = Format::$format;
            fn push(library: &Library) -> PushChunk<Self> {
                library.table.$push
            }
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

/// A stream that others can find and read, until dropped.
pub struct Outlet {
    library: &'static Library,
    handle: ffi::Outlet,
    format: Format,
    channels: usize,
}

// liblsl's outlets may be used from any thread.
unsafe impl Send for Outlet {}
unsafe impl Sync for Outlet {}

impl Outlet {
    /// # Errors
    /// What liblsl refuses, such as no free port.
    pub fn new(info: &StreamInfo) -> Result<Self, Error> {
        let library = info.library;
        let format = info.format().ok_or(Error::Failed(
            "outlet creation",
            "unknown channel format".into(),
        ))?;
        // No chunking of its own, six minutes for a reader that is late.
        let handle = unsafe { (library.table.create_outlet)(info.handle, 0, 360) };
        if handle.is_null() {
            return Err(Error::Failed("outlet creation", library.last_error()));
        }
        Ok(Self {
            library,
            handle,
            format,
            channels: info.channels(),
        })
    }

    /// Sends samples, channels interleaved, each with its stamp in seconds on this
    /// machine's LSL clock.
    ///
    /// # Errors
    /// Numbers of another type than the stream's, or not channels × stamps of them.
    pub fn push<T: Number>(&self, values: &[T], stamps: &[f64]) -> Result<(), Error> {
        self.check_shape(T::FORMAT, values.len(), stamps.len())?;
        if stamps.is_empty() {
            return Ok(());
        }
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

    /// As [`Outlet::push`], for strings, which may hold anything.
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

    pub fn have_consumers(&self) -> bool {
        unsafe { (self.library.table.have_consumers)(self.handle) != 0 }
    }

    /// Blocks until somebody reads the stream; false when nobody came in time.
    pub fn wait_for_consumers(&self, timeout: Duration) -> bool {
        unsafe { (self.library.table.wait_for_consumers)(self.handle, timeout.as_secs_f64()) != 0 }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        unsafe { (self.library.table.destroy_outlet)(self.handle) }
    }
}
