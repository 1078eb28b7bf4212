// SPDX-License-Identifier: MPL-2.0
//! Which seeks video and physiology can follow together.

use gst::prelude::*;
use gst::{ClockTime, GenericFormattedValue, SeekFlags, SeekType};

/// A seek that brings every branch to the same position.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BranchSeek {
    rate: f64,
    flags: SeekFlags,
    start: ClockTime,
    stop_type: SeekType,
    stop: Option<ClockTime>,
}

impl BranchSeek {
    pub(super) fn event(&self, seqnum: gst::Seqnum) -> gst::Event {
        let (start, stop) = (Some(self.start), self.stop);
        gst::event::Seek::builder(
            self.rate,
            self.flags,
            SeekType::Set,
            start,
            self.stop_type,
            stop,
        )
        .seqnum(seqnum)
        .build()
    }
}

/// The seek to send to every branch in place of `seek`.
///
/// # Errors
/// Why they cannot follow it together, what was expected, and what to do.
pub(super) fn branch_seek(seek: &gst::event::Seek) -> Result<BranchSeek, String> {
    let (rate, flags, start_type, start, stop_type, stop) = seek.get();
    let time = |value: GenericFormattedValue| match value {
        GenericFormattedValue::Time(time) => Ok(time),
        other => Err(format!(
            "film and body are sought by time, found {:?}; seek in the time format",
            other.format()
        )),
    };
    let (start, stop) = (time(start)?, time(stop)?);
    let trick = SeekFlags::TRICKMODE
        | SeekFlags::TRICKMODE_KEY_UNITS
        | SeekFlags::TRICKMODE_NO_AUDIO
        | SeekFlags::INSTANT_RATE_CHANGE;
    if rate <= 0.0 || flags.intersects(trick) {
        return Err(format!(
            "at rate {rate} ({}) windows cannot be filled: the network takes every sample, in the \
             order of time; expected a rate above 0 and no trick mode while physiology is linked",
            if rate > 0.0 {
                "in a trick mode"
            } else {
                "backwards"
            }
        ));
    }
    if !flags.contains(SeekFlags::FLUSH) {
        return Err(
            "without a flush film and body would change over at different moments; seek with the \
             flag FLUSH"
                .into(),
        );
    }
    let start = match (start_type, start) {
        (SeekType::Set, Some(start)) => start,
        _ => {
            return Err(format!(
                "film and body may be at different places and of different length, so a start \
                 that is {start_type:?} {} is not one moment; give the start (type SET)",
                start.display()
            ));
        }
    };
    if stop_type == SeekType::End {
        return Err(
            "film and body may be of different length, so a stop before the end is not one \
             moment; give the stop (type SET) or none"
                .into(),
        );
    }
    // Key frames are where the video has them; the physiology has none.
    let snap = SeekFlags::KEY_UNIT | SeekFlags::SNAP_BEFORE | SeekFlags::SNAP_AFTER;
    Ok(BranchSeek {
        rate,
        flags: flags.difference(snap) | SeekFlags::ACCURATE,
        start,
        stop_type,
        stop,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: ClockTime = ClockTime::from_seconds(20);

    fn event(rate: f64, flags: SeekFlags, start: SeekType, stop: SeekType) -> gst::Event {
        gst::init().expect("gst");
        let end = (stop != SeekType::None).then_some(2 * AT);
        gst::event::Seek::new(rate, flags, start, Some(AT), stop, end)
    }

    fn ask(event: &gst::Event) -> Result<BranchSeek, String> {
        match event.view() {
            gst::EventView::Seek(seek) => branch_seek(seek),
            _ => unreachable!("a seek"),
        }
    }

    #[test]
    fn a_flushing_seek_to_a_time_is_made_accurate() {
        for flags in [
            SeekFlags::ACCURATE,
            SeekFlags::empty(),
            SeekFlags::KEY_UNIT,
            SeekFlags::KEY_UNIT | SeekFlags::SNAP_NEAREST,
        ] {
            for stop in [SeekType::None, SeekType::Set] {
                let seek = event(1.0, SeekFlags::FLUSH | flags, SeekType::Set, stop);
                let wanted = ask(&seek).expect("can be done");
                let want = SeekFlags::FLUSH | SeekFlags::ACCURATE;
                assert_eq!((wanted.flags, wanted.start), (want, AT));
                let own = wanted.event(seek.seqnum());
                assert_eq!(own.seqnum(), seek.seqnum());
                assert_eq!(ask(&own), Ok(wanted));
            }
        }
        for rate in [0.5, 2.0, 3.7] {
            let seek = event(rate, SeekFlags::FLUSH, SeekType::Set, SeekType::None);
            let own = ask(&seek).expect("can be done").event(seek.seqnum());
            let gst::EventView::Seek(own) = own.view() else {
                unreachable!("a seek")
            };
            assert_eq!(own.get().0, rate);
        }
        let looped = SeekFlags::FLUSH | SeekFlags::SEGMENT;
        let looped = ask(&event(1.0, looped, SeekType::Set, SeekType::None));
        assert!(looped.is_ok_and(|w| w.flags.contains(SeekFlags::SEGMENT)));
    }

    #[test]
    fn what_would_part_film_and_body_is_refused_with_the_reason() {
        let (flush, set) = (SeekFlags::FLUSH, SeekType::Set);
        let trick = SeekFlags::TRICKMODE;
        for (seek, word) in [
            (event(-1.0, flush, set, SeekType::Set), "rate -1"),
            (event(1.0, flush | trick, set, SeekType::None), "trick"),
            (
                event(1.0, SeekFlags::ACCURATE, set, SeekType::None),
                "FLUSH",
            ),
            (event(1.0, flush, SeekType::None, SeekType::Set), "start"),
            (event(1.0, flush, SeekType::End, SeekType::None), "start"),
            (event(1.0, flush, set, SeekType::End), "stop"),
        ] {
            let why = ask(&seek).expect_err(word);
            assert!(why.contains(word), "{word}: {why}");
        }
        gst::init().expect("gst");
        let at = gst::format::Default::from_u64(3);
        let none = gst::format::Default::NONE;
        let seek = gst::event::Seek::new(1.0, flush, set, at, SeekType::None, none);
        assert!(ask(&seek).expect_err("frames").contains("Default"));
    }
}
