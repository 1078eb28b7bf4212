// SPDX-License-Identifier: MPL-2.0
//! The type of the physiology pads: what a user may say of what comes to one.

use crate::physio::Wish;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_common::lock;
use std::sync::{LazyLock, Mutex};

/// Devices whose makers publish how raw counts become a unit.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstMvpFusionDevice")]
pub enum Device {
    #[default]
    #[enum_value(name = "The values are no raw counts", nick = "none")]
    None,
    #[enum_value(
        name = "BITalino of 2013: EDA by resistance, ECG; 10 bits",
        nick = "bitalino"
    )]
    Bitalino,
    #[enum_value(
        name = "BITalino (r)evolution: EDA, ECG; 10 bits",
        nick = "bitalino-revolution"
    )]
    BitalinoRevolution,
    #[enum_value(
        name = "biosignalsplux: EDA, ECG, PPG; 16 bits",
        nick = "biosignalsplux"
    )]
    Biosignalsplux,
}

impl Device {
    fn published(self) -> Option<conditioning::Device> {
        Some(match self {
            Self::None => return None,
            Self::Bitalino => conditioning::Device::Bitalino,
            Self::BitalinoRevolution => conditioning::Device::BitalinoRevolution,
            Self::Biosignalsplux => conditioning::Device::Biosignalsplux,
        })
    }

    fn of(device: Option<conditioning::Device>) -> Self {
        let all = [
            Self::Bitalino,
            Self::BitalinoRevolution,
            Self::Biosignalsplux,
        ];
        let found = all.into_iter().find(|d| d.published() == device);
        found.unwrap_or_default()
    }
}

#[derive(Default)]
pub struct RequestPad {
    wish: Mutex<Wish>,
}

impl RequestPad {
    pub(super) fn wish(&self) -> Wish {
        lock(&self.wish).clone()
    }
}

#[glib::object_subclass]
impl ObjectSubclass for RequestPad {
    const NAME: &'static str = "GstMvpFusionPad";
    type Type = super::MvpFusionPad;
    type ParentType = gst::Pad;
}

impl ObjectImpl for RequestPad {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("channel")
                    .nick("Channel")
                    .blurb("Label or index (from 0) of the channel that is the signal, in a stream of several; unset: the only channel whose label names the signal. Counts from the next caps on")
                    .build(),
                glib::ParamSpecBoolean::builder("force")
                    .nick("Force")
                    .blurb("Take the stream as the signal even if its type, its label, its unit or its values are those of another, or it is sound. Counts from the next caps on")
                    .build(),
                glib::ParamSpecString::builder("unit")
                    .nick("Unit")
                    .blurb("Unit of the values (after scale and offset), such as uS, nS, kOhm, mV; unset: the one that the stream declares. Values are converted to uS (eda) and mV (ecg). Counts from the next caps on")
                    .build(),
                glib::ParamSpecDouble::builder("scale")
                    .nick("Scale")
                    .blurb("Factor of the stream's values, before unit. Counts from the next caps on")
                    .default_value(1.0)
                    .build(),
                glib::ParamSpecDouble::builder("offset")
                    .nick("Offset")
                    .blurb("Added to the values after scale. Counts from the next caps on")
                    .default_value(0.0)
                    .build(),
                glib::ParamSpecUInt::builder("adc-bits")
                    .nick("Bits of the converter")
                    .blurb("The values are raw counts from 0 to 2^n - 1: they are divided by 2^n before scale, and the two ends are saturated (0: no raw counts, or as device has it). Counts from the next caps on")
                    .maximum(32)
                    .default_value(0)
                    .build(),
                glib::ParamSpecEnum::builder::<Device>("device")
                    .nick("Device")
                    .blurb("The values are raw counts of this device: the maker's formula gives the unit. Counts from the next caps on")
                    .build(),
            ]
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut wish = lock(&self.wish);
        match pspec.name() {
            "channel" => {
                let text: Option<String> = value.get().expect("type checked upstream");
                wish.channel = text.filter(|t| !t.trim().is_empty());
            }
            "force" => wish.force = value.get().expect("type checked upstream"),
            "unit" => {
                let text: Option<String> = value.get().expect("type checked upstream");
                wish.values.unit = text.filter(|t| !t.trim().is_empty());
            }
            "scale" => {
                let scale: f64 = value.get().expect("type checked upstream");
                wish.values.scale = Some(scale).filter(|s| *s != 1.0);
            }
            "offset" => {
                let offset: f64 = value.get().expect("type checked upstream");
                wish.values.offset = Some(offset).filter(|o| *o != 0.0);
            }
            "adc-bits" => {
                let bits: u32 = value.get().expect("type checked upstream");
                wish.values.adc_bits = Some(bits).filter(|b| *b > 0);
            }
            "device" => {
                let device: Device = value.get().expect("type checked upstream");
                wish.values.device = device.published();
            }
            _ => unimplemented!(),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let wish = lock(&self.wish);
        match pspec.name() {
            "channel" => wish.channel.to_value(),
            "force" => wish.force.to_value(),
            "unit" => wish.values.unit.to_value(),
            "scale" => wish.values.scale.unwrap_or(1.0).to_value(),
            "offset" => wish.values.offset.unwrap_or(0.0).to_value(),
            "adc-bits" => wish.values.adc_bits.unwrap_or(0).to_value(),
            "device" => Device::of(wish.values.device).to_value(),
            _ => unimplemented!(),
        }
    }
}

impl GstObjectImpl for RequestPad {}

impl PadImpl for RequestPad {}
