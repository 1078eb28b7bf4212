// SPDX-License-Identifier: MPL-2.0
//! What a stream may declare. Any host on the network can answer a search, and liblsl and this
//! crate allocate and divide by what the answer says: it is checked before.

use super::Error;
use stream_info::{Description, Format, shortened};

pub(crate) const MAX_CHANNELS: usize = 4096;
/// Samples per second, of a stream of regular rate.
pub(crate) const MAX_RATE: f64 = 200_000.0;
/// About one sample a day; for much slower ones liblsl makes a buffer of no samples.
pub(crate) const MIN_RATE: f64 = 1e-5;
/// Bytes of samples per second: liblsl allocates room for several seconds.
const MAX_FLOW: f64 = (32u32 << 20) as f64;
/// Bytes of a name, a type and the like.
pub(crate) const MAX_TEXT: usize = 4096;
/// Bytes of a stream's whole XML.
pub(crate) const MAX_XML: usize = 4 << 20;
/// Seconds by which timestamps may be late according to `offset_mean`.
pub(crate) const MAX_OFFSET: f64 = 3600.0;
/// Bytes that liblsl allocates for one string.
const STRING: usize = 32;

/// Files and sockets that liblsl opens for a search, or for an outlet. Without them it ends the
/// process.
const DESCRIPTORS: u64 = 14;

/// Whether liblsl can open what it needs.
///
/// # Errors
/// Says how many files the process may open yet, and how to have more.
pub(crate) fn check_descriptors() -> Result<(), Error> {
    match host::free_descriptors() {
        Some(free) if free < DESCRIPTORS => Err(Error::Refused(format!(
            "this process may open {free} more files and sockets, and liblsl ends it where it \
             cannot open about {DESCRIPTORS}: raise the limit (ulimit -n, or LimitNOFILE= of \
             systemd), or close what is open"
        ))),
        _ => Ok(()),
    }
}

/// The numbers of a description, as liblsl read them and as they were written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub channels: i32,
    pub channels_text: &'a str,
    pub rate: f64,
    pub rate_text: &'a str,
    pub format: Option<Format>,
}

/// Bytes that liblsl needs for a value.
pub(crate) fn value_size(format: Format) -> usize {
    match format {
        Format::Text => STRING,
        other => other.size(),
    }
}

/// Whether a stream of these numbers can be received.
///
/// # Errors
/// Names what was found and the limit.
pub(crate) fn check(claim: &Claim) -> Result<Format, String> {
    let format = claim
        .format
        .ok_or("has a channel format that is not known".to_string())?;
    if claim.channels == 0 {
        return Err(format!(
            "has no channels; 1 to {MAX_CHANNELS} can be received"
        ));
    }
    let channels = usize::try_from(claim.channels).unwrap_or(usize::MAX);
    // liblsl reads the digits at the beginning and ignores the rest.
    let written = number(claim.channels_text);
    if channels > MAX_CHANNELS || written != Some(f64::from(claim.channels)) {
        return Err(format!(
            "has {} channels; a whole number from 1 to {MAX_CHANNELS} can be received",
            shortened(claim.channels_text)
        ));
    }
    let sane = |r: f64| r == 0.0 || (MIN_RATE..=MAX_RATE).contains(&r);
    if !sane(claim.rate) || !number(claim.rate_text).is_some_and(sane) {
        return Err(format!(
            "has a nominal rate of {} Hz; 0 (irregular) or {MIN_RATE} to {MAX_RATE} Hz can be \
             received",
            shortened(claim.rate_text)
        ));
    }
    let flow = claim.rate * (channels * value_size(format)) as f64;
    if flow > MAX_FLOW {
        return Err(format!(
            "sends {flow:.0} bytes per second ({channels} channels of {format} at {} Hz); at most \
             {MAX_FLOW:.0} can be received",
            claim.rate
        ));
    }
    Ok(format)
}

/// Whether the full description is of the stream that was found.
///
/// # Errors
/// Names what differs.
pub(crate) fn agrees(short: &Description, full: &Description) -> Result<(), String> {
    let differs = |what: &str, short: &dyn std::fmt::Display, full: &dyn std::fmt::Display| {
        Err(format!(
            "was found with {what} {} but describes itself with {what} {}; both must be the same",
            shortened(&short.to_string()),
            shortened(&full.to_string())
        ))
    };
    if short.uid != full.uid {
        return differs("uid", &short.uid, &full.uid);
    }
    if short.channels != full.channels {
        return differs("channel count", &short.channels, &full.channels);
    }
    if short.format != full.format {
        let name = |d: &Description| d.format.map_or(String::new(), |f| f.to_string());
        return differs("format", &name(short), &name(full));
    }
    // The same rate may be written with another last digit.
    if (short.rate.hz() - full.rate.hz()).abs() > 1e-6 * short.rate.hz() {
        return differs("rate", &short.rate.hz(), &full.rate.hz());
    }
    Ok(())
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|v: &f64| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claim<'a>(
        channels: i32,
        channels_text: &'a str,
        rate: f64,
        rate_text: &'a str,
    ) -> Claim<'a> {
        Claim {
            channels,
            channels_text,
            rate,
            rate_text,
            format: Some(Format::F32),
        }
    }

    #[test]
    fn what_sensors_send_passes() {
        for (channels, rate) in [
            (1, 0.0),
            (1, 1.0 / 3600.0),
            (1, 4.0),
            (3, 51.2),
            (64, 2048.0),
            (256, 25_000.0),
            (2, 48_000.0),
            (4096, 0.0),
        ] {
            let (c, r) = (channels.to_string(), rate.to_string());
            assert_eq!(check(&claim(channels, &c, rate, &r)), Ok(Format::F32));
            assert!(check(&claim(channels, " 1 ", rate, &r)).is_ok() == (channels == 1));
        }
        // Written as a real number, it is still a whole one.
        assert!(check(&claim(4, "4.0", 100.0, "1e2")).is_ok());
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_limit() {
        for (channels, channels_text, rate, rate_text, found) in [
            (0, "0", 1.0, "1", "no channels"),
            (i32::MAX, "2147483647", 1.0, "1", "2147483647 channels"),
            (4097, "4097", 1.0, "1", "4097 channels"),
            (-1, "-1", 1.0, "1", "-1 channels"),
            (2, "2.5", 1.0, "1", "2.5 channels"),
            (2, "2 or more", 1.0, "1", "2 or more channels"),
            (1, "1", f64::NAN, "nan", "nan Hz"),
            (1, "1", 0.0, "0nan", "0nan Hz"),
            (1, "1", f64::INFINITY, "inf", "inf Hz"),
            (1, "1", -0.5, "-0.5", "-0.5 Hz"),
            (1, "1", 1e300, "1e300", "1e300 Hz"),
            (1, "1", 200_001.0, "200001", "200001 Hz"),
            (1, "1", 1e-300, "1e-300", "1e-300 Hz"),
            (4096, "4096", 50_000.0, "50000", "bytes per second"),
        ] {
            let e = check(&claim(channels, channels_text, rate, rate_text)).expect_err(found);
            assert!(e.contains(found), "{e}");
            assert!(e.contains("can be received"), "{e}");
        }
        let unknown = Claim {
            format: None,
            ..claim(1, "1", 1.0, "1")
        };
        assert!(check(&unknown).expect_err("unknown").contains("format"));
        let long = "9".repeat(60_000);
        let e = check(&claim(i32::MAX, &long, 1.0, "1")).expect_err("too long");
        assert!(e.len() < 300 && e.contains("60000 bytes"), "{e}");
    }

    proptest! {
        /// Accepted values can be allocated and divided by.
        #[test]
        fn accepted_values_are_bounded(channels: i32, rate: f64, text in prop::sample::select(vec![
            Format::F32, Format::F64, Format::Text, Format::I32, Format::I16, Format::I8, Format::I64,
        ]), small: bool) {
            let channels = if small { channels % 5000 } else { channels };
            let rate = if small { rate % 1e5 } else { rate };
            let (c, r) = (channels.to_string(), rate.to_string());
            let claim = Claim { format: Some(text), ..claim(channels, &c, rate, &r) };
            if check(&claim).is_ok() {
                prop_assert!((1..=MAX_CHANNELS as i32).contains(&channels));
                prop_assert!(rate == 0.0 || rate.is_finite() && rate > 0.0 && rate <= MAX_RATE);
                prop_assert!(f64::from(channels) * rate * value_size(text) as f64 <= MAX_FLOW);
            }
        }
    }
}
