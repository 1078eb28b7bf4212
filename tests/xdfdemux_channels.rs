// SPDX-License-Identifier: MPL-2.0
//! xdfdemux plays chosen channels of recorded streams.

mod lsl_support;
#[path = "xdf_support/player.rs"]
mod player;
mod xdf_support;

use lsl_support::numbers;
use player::*;
use std::collections::BTreeMap;
use xdf_support::{Sample, Xdf};

const SECONDS: usize = 12;

fn labels(all: &[&str]) -> String {
    let of = |l: &&str| format!("<channel><label>{l}</label><unit>u{l}</unit></channel>");
    let of: String = all.iter().map(of).collect();
    format!("<channels>{of}</channels>")
}

/// A device of four channels, a belt of one, and markers of two.
fn recording() -> Xdf {
    let mut x = Xdf::new();
    let four = labels(&["nSeq", "EDA", "PPG", "EDA"]);
    x.stream_with(1, "Dev", 4, "int16", 32.0, &four);
    x.stream_with(2, "Belt", 1, "float32", 16.0, &labels(&["resp"]));
    x.stream_with(3, "Marks", 2, "string", 0.0, "");
    for s in 0..SECONDS {
        let at = |n: usize, rate: usize| 50.0 + s as f64 + n as f64 / rate as f64;
        x.offset(1, 50.0 + s as f64, 0.0);
        x.offset(2, 50.0 + s as f64, 0.0);
        x.offset(3, 50.0 + s as f64, 0.0);
        let dev: Vec<_> = (0..32)
            .map(|n| {
                let value = (s * 32 + n) as i16;
                let row = [value, 1000 + value, 2000 + value, 3000 + value];
                let bytes = row.iter().flat_map(|v| v.to_le_bytes()).collect();
                (Some(at(n, 32)), Sample::Bytes(bytes))
            })
            .collect();
        x.samples(1, &dev);
        let belt: Vec<_> = (0..16).map(|n| (at(n, 16), (s * 16 + n) as f32)).collect();
        x.floats(2, &belt);
        x.samples(3, &[(Some(at(0, 1)), Sample::Texts(&["a", "b"]))]);
        if s % 10 == 9 {
            x.boundary();
        }
    }
    x
}

/// What comes on each pad, by its name.
fn pads(channels: &str, between: &str) -> Result<BTreeMap<String, Track>, String> {
    let file = file(&recording());
    let options = format!("channels=\"{channels}\"");
    let player = Player::with(file.path(), between, &options, SINK);
    let told = player.play()?;
    assert_eq!(told, Vec::<String>::new(), "{channels}");
    let tracks = player.tracks.0.lock().expect("tracks").clone();
    Ok(tracks)
}

fn shorts(track: &Track) -> Vec<i16> {
    numbers(&track.bytes(), i16::from_le_bytes)
}

#[test]
fn chosen_channels_come_each_entry_on_its_pad() {
    for between in [PULL, PUSH] {
        // Several entries of one stream, in an order of their own; the others whole.
        let all = pads("Dev:PPG,0;Dev:3;Marks:1", between).expect("played");
        assert_eq!(all.len(), 4, "{between}");
        let expected = |of: &[i16]| -> Vec<i16> {
            let rows = 0..(SECONDS * 32) as i16;
            rows.flat_map(|v| of.iter().map(move |o| o + v)).collect()
        };
        let [two, one, belt, marks] =
            ["stream_0", "stream_1", "stream_2", "stream_3"].map(|name| &all[name]);
        assert_eq!(shorts(two), expected(&[2000, 0]), "{between}");
        assert_eq!(shorts(one), expected(&[3000]), "{between}");
        assert_eq!(belt.floats().len(), SECONDS * 16);
        assert_eq!(marks.texts(), vec!["b"; SECONDS], "{between}");
        for (track, wants) in [
            (
                two,
                ["channels=(int)2", "\"PPG\\,nSeq\"", "\"uPPG\\,unSeq\""],
            ),
            (
                one,
                ["channels=(int)1", "channel-labels=(string)EDA", "uEDA"],
            ),
        ] {
            for want in wants {
                assert!(track.caps.contains(want), "{want}: {}", track.caps);
            }
        }
        assert!(two.stream_id != one.stream_id, "{}", two.stream_id);
        // Both at the same times, without a hole.
        assert_eq!(two.times(4), one.times(2), "{between}");
        assert_eq!((two.gaps.len(), one.gaps.len()), (0, 0), "{between}");
        assert!(two.eos && one.eos);
    }
}

#[test]
fn a_label_alone_is_of_the_stream_that_has_it() {
    for between in [PULL, PUSH] {
        let all = pads("PPG", between).expect("played");
        assert_eq!(all.len(), 3, "{between}");
        assert_eq!(shorts(&all["stream_0"])[..3], [2000, 2001, 2002]);
        assert_eq!(all["stream_1"].floats().len(), SECONDS * 16);
        assert_eq!(all["stream_2"].texts()[0], "a\nb");
    }
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    for between in [PULL, PUSH] {
        for (channels, wants) in [
            ("GSR", ["channels=GSR", "nSeq, EDA, PPG, EDA", "'Belt'"]),
            ("Dev:GSR", ["'GSR'", "nSeq, EDA, PPG, EDA", "0 to 3"]),
            ("Other:EDA", ["Other:EDA", "'Dev'", "expected"]),
            ("Belt:1", ["'1'", "resp", "0 to 0"]),
        ] {
            let why = pads(channels, between)
                .expect_err(channels)
                .replace("Expected", "expected");
            assert!(wants.iter().all(|w| why.contains(w)), "{channels}: {why}");
        }
    }
}
