// SPDX-License-Identifier: MPL-2.0
//! Writes XDF recordings, right ones and wrong ones.
#![allow(dead_code)]

pub(crate) const BOUNDARY: [u8; 16] = [
    0x43, 0xA5, 0x46, 0xDC, 0xCB, 0xF5, 0x41, 0x0F, 0xB3, 0x0E, 0xD5, 0x46, 0x73, 0x83, 0xCB, 0xE4,
];

pub(crate) enum Sample<'a> {
    Bytes(Vec<u8>),
    Texts(&'a [&'a str]),
}

/// A recording in the making.
#[derive(Default, Clone)]
pub(crate) struct Xdf {
    pub bytes: Vec<u8>,
    /// Bytes that lengths are written with at least: 1, 4 or 8.
    pub width: u8,
}

impl Xdf {
    pub(crate) fn new() -> Self {
        let mut xdf = Self {
            bytes: b"XDF:".to_vec(),
            width: 1,
        };
        xdf.chunk(
            1,
            b"<?xml version=\"1.0\"?><info><version>1.0</version></info>",
        );
        xdf
    }

    fn length(&self, n: usize) -> Vec<u8> {
        let width = match n {
            0..256 => self.width.max(1),
            256..0x1_0000_0000 => self.width.max(4),
            _ => 8,
        };
        let mut out = vec![width];
        out.extend(&(n as u64).to_le_bytes()[..width.into()]);
        out
    }

    pub(crate) fn chunk(&mut self, tag: u16, content: &[u8]) {
        let length = self.length(content.len() + 2);
        self.bytes.extend(length);
        self.bytes.extend(tag.to_le_bytes());
        self.bytes.extend(content);
    }

    fn of(&mut self, tag: u16, id: u32, content: &[u8]) {
        self.chunk(tag, &[&id.to_le_bytes(), content].concat());
    }

    pub(crate) fn stream(&mut self, id: u32, name: &str, channels: usize, format: &str, rate: f64) {
        self.stream_with(id, name, channels, format, rate, "");
    }

    pub(crate) fn stream_with(
        &mut self,
        id: u32,
        name: &str,
        channels: usize,
        format: &str,
        rate: f64,
        desc: &str,
    ) {
        let xml = format!(
            "<?xml version=\"1.0\"?><info><name>{name}</name><type>Test</type>\
             <channel_count>{channels}</channel_count><channel_format>{format}</channel_format>\
             <source_id>s{id}</source_id><nominal_srate>{rate}</nominal_srate>\
             <hostname>h</hostname><uid>u{id}</uid><created_at>1</created_at>\
             <desc>{desc}</desc></info>"
        );
        self.of(2, id, xml.as_bytes());
    }

    pub(crate) fn samples(&mut self, id: u32, samples: &[(Option<f64>, Sample)]) {
        let mut content = self.length(samples.len());
        for (stamp, sample) in samples {
            match stamp {
                Some(stamp) => {
                    content.push(8);
                    content.extend(stamp.to_le_bytes());
                }
                None => content.push(0),
            }
            match sample {
                Sample::Bytes(bytes) => content.extend(bytes),
                Sample::Texts(texts) => {
                    for text in *texts {
                        content.extend(self.length(text.len()));
                        content.extend(text.as_bytes());
                    }
                }
            }
        }
        self.of(3, id, &content);
    }

    /// Samples of one float32 channel.
    pub(crate) fn floats(&mut self, id: u32, samples: &[(f64, f32)]) {
        let samples: Vec<_> = samples
            .iter()
            .map(|(t, v)| (Some(*t), Sample::Bytes(v.to_le_bytes().to_vec())))
            .collect();
        self.samples(id, &samples);
    }

    pub(crate) fn offset(&mut self, id: u32, time: f64, value: f64) {
        self.of(4, id, &[time.to_le_bytes(), value.to_le_bytes()].concat());
    }

    pub(crate) fn boundary(&mut self) {
        self.chunk(5, &BOUNDARY);
    }

    pub(crate) fn footer(&mut self, id: u32, samples: usize) {
        let xml = format!("<info><sample_count>{samples}</sample_count></info>");
        self.of(6, id, xml.as_bytes());
    }
}
