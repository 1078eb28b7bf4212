// SPDX-License-Identifier: MPL-2.0
//! Where this code has been loaded from, and how its threads share the machine.

use std::path::{Path, PathBuf};

/// The directory of the shared object (or program) that holds this code.
pub fn own_directory() -> Option<PathBuf> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let mut info = unsafe { std::mem::zeroed::<libc::Dl_info>() };
        let found = unsafe { libc::dladdr(own_directory as *const libc::c_void, &mut info) };
        if found == 0 || info.dli_fname.is_null() {
            return None;
        }
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

/// Makes the calling thread one that works beside others: on Linux it no longer
/// interrupts a running thread when it wakes (`SCHED_BATCH`). A frame that woke a worker
/// was otherwise held up for a whole scheduler tick, about 4 ms, now and then. Needs no
/// privilege; elsewhere, or where it is refused, nothing changes.
pub fn work_beside_video() {
    #[cfg(target_os = "linux")]
    // SAFETY: the parameter outlives the call; 0 is the calling thread.
    unsafe {
        let parameter = libc::sched_param { sched_priority: 0 };
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameter);
    }
}
