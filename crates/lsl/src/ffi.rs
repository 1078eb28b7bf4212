// SPDX-License-Identifier: MPL-2.0
//! The part of liblsl's C interface that this crate calls, as a table of function
//! pointers filled from a library loaded at run time, or from the one linked in.

use std::ffi::{c_char, c_double, c_int, c_ulong, c_void};

#[repr(C)]
pub(crate) struct InfoOpaque(c_void);
#[repr(C)]
pub(crate) struct InletOpaque(c_void);
#[repr(C)]
pub struct OutletOpaque(c_void);
#[repr(C)]
pub(crate) struct ResolverOpaque(c_void);
#[repr(C)]
pub(crate) struct XmlOpaque(c_void);

pub(crate) type Info = *mut InfoOpaque;
pub(crate) type Inlet = *mut InletOpaque;
pub(crate) type Outlet = *mut OutletOpaque;
pub(crate) type Resolver = *mut ResolverOpaque;
pub(crate) type Xml = *mut XmlOpaque;
type Str = *const c_char;

pub(crate) type PullChunk<T> =
    unsafe extern "C" fn(Inlet, *mut T, *mut f64, c_ulong, c_ulong, c_double, *mut i32) -> c_ulong;
pub(crate) type PushChunk<T> =
    unsafe extern "C" fn(Outlet, *const T, c_ulong, *const f64, c_int) -> i32;

/// A function of liblsl that reads one field of a streaminfo and changes nothing. Only the
/// table makes values of this type, so that [`super::StreamInfo::get`] can call them all.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Getter<T>(unsafe extern "C" fn(Info) -> T);

impl<T> Getter<T> {
    /// # Safety
    /// `info` must be a streaminfo that is not destroyed, and no other thread may use it.
    pub(crate) unsafe fn call(self, info: Info) -> T {
        // SAFETY: liblsl's getters take any live streaminfo, as the caller has promised.
        unsafe { (self.0)(info) }
    }
}

pub(crate) const ERROR_TIMEOUT: i32 = -1;
pub(crate) const ERROR_LOST: i32 = -2;

macro_rules! table {
    (
        required { $($name:ident = $symbol:ident : $ty:ty;)* }
        optional { $($oname:ident = $osymbol:ident : $oty:ty;)* }
    ) => {
        /// Every function of liblsl in use; optional ones came with later versions.
        pub(crate) struct Table {
            $(pub(crate) $name: $ty,)*
            $(pub(crate) $oname: Option<$oty>,)*
        }

        impl Table {
            /// # Safety
            /// `library` must be a liblsl and must stay loaded while the table is used.
            ///
            /// # Errors
            /// The first required symbol that is missing.
            pub(crate) unsafe fn from_library(
                library: &libloading::Library,
            ) -> Result<Self, &'static str> {
                Ok(Self {
                    $(
                        // SAFETY: the type is that of the function in liblsl's header, and
                        // the library is a liblsl by this function's contract.
                        $name: *unsafe {
                            library.get::<$ty>(concat!(stringify!($symbol), "\0").as_bytes())
                        }
                        .map_err(|_| stringify!($symbol))?,
                    )*
                    $(
                        // SAFETY: as above.
                        $oname: unsafe {
                            library.get::<$oty>(concat!(stringify!($osymbol), "\0").as_bytes())
                        }
                        .ok()
                        .map(|s| *s),
                    )*
                })
            }

            /// The functions of the liblsl 1.13 that is linked in.
            #[cfg(feature = "bundled")]
            pub(crate) fn bundled() -> Self {
                Self {
                    $(
                        // SAFETY: `lsl_sys` declares the function of liblsl's header; the
                        // handle types of the two signatures differ by name only.
                        $name: unsafe {
                            std::mem::transmute::<*const (), $ty>(lsl_sys::$symbol as *const ())
                        },
                    )*
                    $($oname: None,)*
                }
            }
        }
    };
}

table! {
    required {
        library_version = lsl_library_version: extern "C" fn() -> i32;
        library_info = lsl_library_info: unsafe extern "C" fn() -> Str;
        local_clock = lsl_local_clock: extern "C" fn() -> f64;
        destroy_string = lsl_destroy_string: unsafe extern "C" fn(*mut c_char);

        create_streaminfo = lsl_create_streaminfo:
            unsafe extern "C" fn(Str, Str, i32, f64, c_int, Str) -> Info;
        copy_streaminfo = lsl_copy_streaminfo: unsafe extern "C" fn(Info) -> Info;
        destroy_streaminfo = lsl_destroy_streaminfo: unsafe extern "C" fn(Info);
        get_name = lsl_get_name: Getter<Str>;
        get_type = lsl_get_type: Getter<Str>;
        get_source_id = lsl_get_source_id: Getter<Str>;
        get_hostname = lsl_get_hostname: Getter<Str>;
        get_uid = lsl_get_uid: Getter<Str>;
        get_session_id = lsl_get_session_id: Getter<Str>;
        get_channel_count = lsl_get_channel_count: Getter<i32>;
        get_channel_format = lsl_get_channel_format: Getter<c_int>;
        get_nominal_srate = lsl_get_nominal_srate: Getter<f64>;
        get_created_at = lsl_get_created_at: Getter<f64>;
        get_xml = lsl_get_xml: Getter<*mut c_char>;
        get_desc = lsl_get_desc: Getter<Xml>;

        xml_parent = lsl_parent: unsafe extern "C" fn(Xml) -> Xml;
        xml_empty = lsl_empty: unsafe extern "C" fn(Xml) -> i32;
        xml_child = lsl_child: unsafe extern "C" fn(Xml, Str) -> Xml;
        xml_next_sibling = lsl_next_sibling_n: unsafe extern "C" fn(Xml, Str) -> Xml;
        xml_child_value = lsl_child_value_n: unsafe extern "C" fn(Xml, Str) -> Str;
        xml_append_child = lsl_append_child: unsafe extern "C" fn(Xml, Str) -> Xml;
        xml_append_child_value = lsl_append_child_value:
            unsafe extern "C" fn(Xml, Str, Str) -> Xml;

        create_resolver_all = lsl_create_continuous_resolver:
            unsafe extern "C" fn(f64) -> Resolver;
        create_resolver = lsl_create_continuous_resolver_bypred:
            unsafe extern "C" fn(Str, f64) -> Resolver;
        resolver_results = lsl_resolver_results:
            unsafe extern "C" fn(Resolver, *mut Info, u32) -> i32;
        destroy_resolver = lsl_destroy_continuous_resolver: unsafe extern "C" fn(Resolver);

        create_inlet = lsl_create_inlet: unsafe extern "C" fn(Info, i32, i32, i32) -> Inlet;
        destroy_inlet = lsl_destroy_inlet: unsafe extern "C" fn(Inlet);
        get_fullinfo = lsl_get_fullinfo: unsafe extern "C" fn(Inlet, f64, *mut i32) -> Info;
        open_stream = lsl_open_stream: unsafe extern "C" fn(Inlet, f64, *mut i32);
        time_correction = lsl_time_correction_ex:
            unsafe extern "C" fn(Inlet, *mut f64, *mut f64, f64, *mut i32) -> f64;
        was_clock_reset = lsl_was_clock_reset: unsafe extern "C" fn(Inlet) -> u32;
        pull_chunk_f = lsl_pull_chunk_f: PullChunk<f32>;
        pull_chunk_d = lsl_pull_chunk_d: PullChunk<f64>;
        pull_chunk_c = lsl_pull_chunk_c: PullChunk<i8>;
        pull_chunk_s = lsl_pull_chunk_s: PullChunk<i16>;
        pull_chunk_i = lsl_pull_chunk_i: PullChunk<i32>;
        pull_sample_v = lsl_pull_sample_v:
            unsafe extern "C" fn(Inlet, *mut c_void, i32, c_double, *mut i32) -> f64;
        pull_sample_buf = lsl_pull_sample_buf:
            unsafe extern "C" fn(Inlet, *mut *mut c_char, *mut u32, i32, c_double, *mut i32) -> f64;

        create_outlet = lsl_create_outlet: unsafe extern "C" fn(Info, i32, i32) -> Outlet;
        destroy_outlet = lsl_destroy_outlet: unsafe extern "C" fn(Outlet);
        have_consumers = lsl_have_consumers: unsafe extern "C" fn(Outlet) -> i32;
        wait_for_consumers = lsl_wait_for_consumers: unsafe extern "C" fn(Outlet, f64) -> i32;
        push_chunk_f = lsl_push_chunk_ftnp: PushChunk<f32>;
        push_chunk_d = lsl_push_chunk_dtnp: PushChunk<f64>;
        push_chunk_c = lsl_push_chunk_ctnp: PushChunk<i8>;
        push_chunk_s = lsl_push_chunk_stnp: PushChunk<i16>;
        push_chunk_i = lsl_push_chunk_itnp: PushChunk<i32>;
        push_chunk_l = lsl_push_chunk_ltnp: PushChunk<i64>;
        push_chunk_buf = lsl_push_chunk_buftnp:
            unsafe extern "C" fn(
                Outlet, *mut *const c_char, *const u32, c_ulong, *const f64, c_int,
            ) -> i32;
    }
    optional {
        inlet_flush = lsl_inlet_flush: unsafe extern "C" fn(Inlet) -> u32;
        last_error = lsl_last_error: unsafe extern "C" fn() -> Str;
        matches_query = lsl_stream_info_matches_query: unsafe extern "C" fn(Info, Str) -> i32;
        create_inlet_ex = lsl_create_inlet_ex:
            unsafe extern "C" fn(Info, i32, i32, i32, c_int) -> Inlet;
        set_config_content = lsl_set_config_content: unsafe extern "C" fn(Str);
    }
}
