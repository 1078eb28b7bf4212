// SPDX-License-Identifier: MPL-2.0
//! An LSL network of the test's own.

use std::path::PathBuf;

/// Gives this process (and its children) an LSL of its own: loopback only, ports and
/// session of its own. Must come before liblsl is touched; [`hermetic`] sees to it.
pub(crate) fn configure() {
    // Whoever starts a peer of ours passes the configuration on.
    if std::env::var_os("GSTMVP_TEST_LSL").is_some() {
        return;
    }
    let pid = std::process::id();
    // Below the ephemeral ports; two tests at the same time rarely have pids 300 apart,
    // and the session keeps them apart even then.
    let base = 17_000 + (pid % 300) * 48;
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("lsl-{pid}.cfg"));
    let text = format!(
        "[ports]\nMulticastPort = {base}\nBasePort = {}\nPortRange = 32\nAllowRandomPorts = 1\n\
         IPv6 = disable\n\
         [multicast]\nResolveScope = machine\nMachineAddresses = {{127.0.0.1}}\n\
         Interfaces = {{127.0.0.1}}\nListenAddress = 127.0.0.1\n\
         [lab]\nKnownPeers = {{127.0.0.1}}\nSessionID = gstmvp-{pid}\n\
         [tuning]\nMulticastMinRTT = 0.05\nMulticastMaxRTT = 0.1\nUnicastMinRTT = 0.05\n\
         UnicastMaxRTT = 0.2\nTimeProbeInterval = 0.01\nTimeProbeMaxRTT = 0.02\n\
         TimeUpdateInterval = 0.3\nWatchdogTimeThreshold = 2\nWatchdogCheckInterval = 1\n\
         [log]\nlevel = -2\n",
        base + 1
    );
    std::fs::write(&path, text).expect("write the LSL configuration");
    // SAFETY: no other thread of this process reads the environment yet.
    unsafe {
        std::env::set_var("LSLAPICFG", &path);
        std::env::set_var("GSTMVP_TEST_LSL", "1");
    }
}
