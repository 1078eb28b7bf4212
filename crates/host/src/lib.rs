// SPDX-License-Identifier: MPL-2.0
//! Questions to the operating system: the name of the machine, from where this code was loaded, how its threads are
//! scheduled, and how the process ends while one of them cannot.
//!
//! ```
//! // A test is a program of its own: the directory that holds it.
//! let directory = host::own_directory().expect("the loader knows its path");
//! assert!(directory.is_absolute() && directory.is_dir());
//! assert!(host::name().is_some_and(|name| !name.is_empty()));
//! ```

#![warn(clippy::undocumented_unsafe_blocks, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The name of this machine, as LSL streams carry it; `None` where the system does not tell.
pub fn name() -> Option<String> {
    #[cfg(unix)]
    {
        let mut name = [0u8; 256];
        // SAFETY: there is room for as many bytes as the call is told.
        let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) };
        let end = name.iter().position(|b| *b == 0)?;
        (failed == 0).then(|| String::from_utf8_lossy(&name[..end]).into_owned())
    }
    #[cfg(not(unix))]
    {
        std::env::var("COMPUTERNAME").ok()
    }
}

/// The directory of the shared object (or program) that holds this code; `None` where the
/// system does not tell.
pub fn own_directory() -> Option<PathBuf> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        // SAFETY: a `Dl_info` is two addresses and two string pointers, all of which may be 0.
        let mut info = unsafe { std::mem::zeroed::<libc::Dl_info>() };
        // SAFETY: `dladdr` takes any address, and `info` outlives the call.
        let found = unsafe { libc::dladdr(own_directory as *const libc::c_void, &mut info) };
        if found == 0 || info.dli_fname.is_null() {
            return None;
        }
        // SAFETY: the name belongs to the loaded object that holds this very code, which stays
        // loaded while it runs; it is terminated by NUL and not null.
        let name = unsafe { std::ffi::CStr::from_ptr(info.dli_fname) };
        let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        path.canonicalize().ok()?.parent().map(Path::to_path_buf)
    }
    #[cfg(not(unix))]
    {
        std::env::current_exe()
            .ok()?
            .parent()
            .map(Path::to_path_buf)
    }
}

/// Makes the calling thread give way to running threads: on Linux it no longer interrupts one
/// when it wakes (`SCHED_BATCH`). Otherwise a worker that a frame wakes delays that frame now
/// and then by a scheduler tick, about 4 ms. Needs no privilege; on other systems, or where it
/// is refused, nothing changes.
pub fn work_beside_video() {
    #[cfg(target_os = "linux")]
    {
        let parameter = libc::sched_param { sched_priority: 0 };
        // SAFETY: the parameter outlives the call; 0 is the calling thread.
        unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameter) };
    }
}

/// How many more files and sockets this process may open; `None` where the system does not tell.
///
/// ```
/// # #[cfg(target_os = "linux")]
/// assert!(host::free_descriptors().expect("Linux tells") > 0);
/// ```
pub fn free_descriptors() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the structure outlives the call, which fills it.
        if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
            return None;
        }
        match std::fs::read_dir("/proc/self/fd") {
            // One of them is of this very look.
            Ok(open) => Some(limit.rlim_cur.saturating_sub(open.count() as u64 - 1)),
            // There is not even one left.
            Err(e) if e.raw_os_error() == Some(libc::EMFILE) => Some(0),
            Err(_) => None,
        }
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Threads that nobody waits for and that may run when the process ends.
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// Says that a thread in a library's code is left to itself, because that code does not return.
///
/// When the process ends, the library's own destructors would take away what the thread still
/// uses, which ends in a crash. So, on Linux with glibc, a process that has such a thread ends
/// without the destructors of the libraries that were loaded before this call; its exit status
/// stays the same, and open C streams are flushed.
pub fn leave_thread() {
    LEFT.fetch_add(1, Ordering::SeqCst);
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        static REGISTERED: std::sync::Once = std::sync::Once::new();
        REGISTERED.call_once(|| {
            // SAFETY: `at_exit` is as `on_exit` wants it, and this code is loaded until the
            // process ends: GStreamer does not unload plugins, nor the system programs.
            unsafe { on_exit(at_exit, std::ptr::null_mut()) };
        });
    }
}

/// A thread that was left has returned after all.
pub fn thread_returned() {
    LEFT.fetch_sub(1, Ordering::SeqCst);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" {
    // Not in the crate libc. The function is run by `exit`, before what was registered earlier.
    fn on_exit(
        function: extern "C" fn(libc::c_int, *mut libc::c_void),
        argument: *mut libc::c_void,
    ) -> libc::c_int;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
extern "C" fn at_exit(status: libc::c_int, _argument: *mut libc::c_void) {
    if LEFT.load(Ordering::SeqCst) > 0 {
        // SAFETY: a null pointer stands for all open streams.
        unsafe { libc::fflush(std::ptr::null_mut()) };
        // SAFETY: has no conditions; nothing runs after it.
        unsafe { libc::_exit(status) };
    }
}
