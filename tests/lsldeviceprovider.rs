// SPDX-License-Identifier: MPL-2.0
//! `lsldeviceprovider`: streams come and go as devices, and a device's element works.

mod lsl_support;

use gst::prelude::*;
use lsl::NewStream;
use lsl_support::{
    hand::{Hand, Says},
    hermetic, outlet, skip, stream,
};
use std::{
    process::Command,
    time::{Duration, Instant},
};
use stream_info::Format;

const CLASS: &str = "Source/Physio";

fn name_of(device: &gst::Device) -> String {
    let properties = device.properties().expect("properties");
    properties.get("name").expect("name")
}

fn named(devices: impl IntoIterator<Item = gst::Device>, name: &str) -> Option<gst::Device> {
    devices.into_iter().find(|d| name_of(d) == name)
}

fn ecg(name: &str) -> NewStream<'_> {
    NewStream {
        stream_type: "ECG",
        source_id: "it's \"h10\"",
        channels: 2,
        ..stream(name, 130.0, Format::F32)
    }
}

#[test]
fn streams_come_and_go() {
    let Some(library) = hermetic() else { return };
    let first = outlet(library, &ecg("first"));
    let monitor = gst::DeviceMonitor::new();
    monitor.add_filter(Some(CLASS), None);
    let bus = monitor.bus();
    monitor.start().expect("start");
    // There as soon as the monitor runs.
    let device = named(monitor.devices(), "first").expect("the device");
    assert_eq!(device.device_class(), CLASS);
    assert_eq!(device.display_name(), "first");
    let p = device.properties().expect("properties");
    assert_eq!(p.get("type"), Ok("ECG"));
    assert_eq!(p.get("source-id"), Ok("it's \"h10\""));
    assert_eq!(p.get("channels"), Ok(2));
    assert_eq!(p.get("rate"), Ok(gst::Fraction::new(130, 1)));
    assert_eq!(p.get("format"), Ok("float32"));
    assert_eq!(p.get("hostname"), Ok(gst::glib::host_name().as_str()));
    assert!(p.get::<&str>("uid").is_ok_and(|uid| !uid.is_empty()));
    let caps = device.caps().expect("caps");
    let s = caps.structure(0).expect("structure");
    assert_eq!(s.name(), "application/x-lsl");
    assert_eq!(s.get("channels"), Ok(2));
    assert_eq!(s.get("rate"), Ok(gst::Fraction::new(130, 1)));

    let told = |what: &str, name: &str| {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            let Some(m) = bus.timed_pop(gst::ClockTime::from_mseconds(100)) else {
                continue;
            };
            let device = match m.view() {
                gst::MessageView::DeviceAdded(d) if what == "added" => d.device(),
                gst::MessageView::DeviceRemoved(d) if what == "removed" => d.device(),
                _ => continue,
            };
            if name_of(&device) == name {
                return;
            }
        }
        panic!("{name} was not {what}");
    };
    told("added", "first");
    let second = outlet(library, &ecg("second"));
    told("added", "second");
    drop(first);
    told("removed", "first");
    assert!(named(monitor.devices(), "first").is_none());
    assert!(named(monitor.devices(), "second").is_some());
    drop(second);
    monitor.stop();
    // And again.
    monitor.start().expect("start again");
    monitor.stop();
}

#[test]
fn a_device_makes_an_element_of_its_own_stream() {
    let Some(library) = hermetic() else { return };
    // Same type and source id, as some devices do; the name tells them apart.
    let one = outlet(library, &ecg("chest \"one\""));
    let _other = outlet(library, &ecg("chest two"));
    let provider = gst::DeviceProviderFactory::by_name("lsldeviceprovider").expect("registered");
    let devices = provider.devices();
    let device = named(devices, "chest \"one\"").expect("found by a probe");
    let src = device.create_element(Some("sensor")).expect("element");
    assert_eq!(src.name(), "sensor");
    assert_eq!(src.factory().expect("factory").name(), "lslsrc");
    assert_eq!(src.property::<String>("stream-type"), "ECG");

    let pipeline = gst::Pipeline::new();
    let sink = gst_app::AppSink::builder().sync(false).build();
    pipeline.add_many([&src, sink.upcast_ref()]).expect("add");
    src.link(&sink).expect("link");
    pipeline.set_state(gst::State::Playing).expect("playing");
    one.wait();
    let t0 = one.now();
    one.play(t0, 0, 130, 13, |n, c| n as f32 + c as f32 / 8.0);
    let sample = sink
        .try_pull_sample(gst::ClockTime::from_seconds(10))
        .expect("samples");
    let buffer = sample.buffer().expect("buffer");
    let data = buffer.map_readable().expect("readable");
    assert_eq!(data[..4], 0f32.to_le_bytes());
    assert_eq!(data[4..8], 0.125f32.to_le_bytes());
    pipeline.set_state(gst::State::Null).expect("null");
}

#[test]
fn the_command_line_lists_them() {
    let Some(library) = hermetic() else { return };
    let Some(plugin) = std::env::current_exe().ok().and_then(|exe| {
        let deps = exe.parent()?;
        [
            deps.join("libgstmvp.so"),
            deps.parent()?.join("libgstmvp.so"),
        ]
        .into_iter()
        .find(|p| p.exists())
    }) else {
        return skip("the plugin was not built as a shared object");
    };
    let _stream = outlet(library, &ecg("on the command line"));
    let dir = tempfile::tempdir().expect("directory");
    let out = Command::new("gst-device-monitor-1.0")
        .arg(CLASS)
        .env("GST_PLUGIN_PATH", plugin.parent().expect("directory"))
        .env("GST_REGISTRY", dir.path().join("registry"))
        .output();
    let Ok(out) = out else {
        return skip("no gst-device-monitor-1.0");
    };
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}");
    for part in [
        "on the command line",
        CLASS,
        "application/x-lsl",
        "type = ECG",
        "channels = 2",
        "gst-launch-1.0 lslsrc",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// What a stream says of itself is held against the limits before anything is made of it.
#[test]
fn what_cannot_be_is_no_device() {
    let Some(library) = hermetic() else { return };
    let label = "<desc><channels><channel><label>x</label></channel></channels></desc>";
    let sane = || Says::sane("no device", "EDA");
    let spoilt = [
        Says {
            channels: "2147483647".into(),
            desc: label.into(),
            ..sane()
        },
        Says {
            channels: "0".into(),
            ..sane()
        },
        Says {
            channels: "x".into(),
            ..sane()
        },
        Says {
            rate: "1e300".into(),
            ..sane()
        },
        Says {
            name: "no device".repeat(1000),
            ..sane()
        },
    ];
    let _peer = Hand::new(spoilt.to_vec(), sane());
    let _good = outlet(library, &ecg("a device"));
    let provider = gst::DeviceProviderFactory::by_name("lsldeviceprovider").expect("registered");
    // The other tests share this provider: it may be watching already.
    let look = || {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let devices: Vec<_> = provider.devices().into_iter().collect();
            if named(devices.clone(), "a device").is_some() || Instant::now() > end {
                return devices;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let probed = look();
    provider.start().expect("start");
    let watched = look();
    provider.stop();
    for devices in [probed, watched] {
        assert!(named(devices.clone(), "a device").is_some());
        let names: Vec<_> = devices.iter().map(name_of).collect();
        assert!(
            names.iter().all(|n| !n.starts_with("no device")),
            "{names:?}"
        );
        assert!(names.iter().all(|n| !n.contains("invalid")), "{names:?}");
    }
}
