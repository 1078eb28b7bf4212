// SPDX-License-Identifier: MPL-2.0
//! `condition` and `units`: one recording from standard input onto its grid.

use crate::error::Failure;
use crate::options::{Format, Options};
use crate::records::Records;
use conditioning::{Conditioner, Counts, UnitsGrid};
use mvp::InputSpecs;
use std::io::Write;

/// Grid rows of `width` values; a row that was not put is NaN.
struct Rows {
    width: usize,
    values: Vec<f32>,
}

impl Rows {
    fn put(&mut self, k: u64, row: &[f32]) {
        let at = k as usize * self.width;
        if self.values.len() < at + self.width {
            self.values.resize(at + self.width, f32::NAN);
        }
        self.values[at..][..self.width].copy_from_slice(row);
    }

    fn write(&self) -> Result<(), Failure> {
        let bytes: Vec<u8> = self.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut out = std::io::stdout().lock();
        out.write_all(&bytes)
            .and_then(|()| out.flush())
            .map_err(Failure::io("standard output"))
    }
}

/// Conditions one signal.
pub(crate) fn condition(options: Options) -> Result<(), Failure> {
    let specs = InputSpecs::read(&options.model)?;
    let (name, rate) = match &options.signals[..] {
        [one] => one,
        _ => return Err(Failure::Usage("expected one --signal NAME".into())),
    };
    let rate = rate
        .or(options.rate)
        .ok_or_else(|| Failure::Usage("expected --rate HZ, 0 for a sender without one".into()))?;
    let spec = specs.signals.iter().find(|s| s.name == *name);
    let spec = spec.ok_or_else(|| {
        let known: Vec<_> = specs.signals.iter().map(|s| s.name.as_str()).collect();
        Failure::Input(format!(
            "{}: expected a [[signal]] '{name}', found {}",
            options.model.display(),
            if known.is_empty() {
                "none".into()
            } else {
                known.join(", ")
            },
        ))
    })?;
    let format = options.formats.get(name).cloned().unwrap_or_default();
    let conversion = format.conversion(spec.modality())?;
    let Format {
        full_scale, cuts, ..
    } = format;
    let full_scale = conversion.full_scale(full_scale);
    let records = Records::read(std::io::stdin().lock(), "standard input", 1)?;

    let mut conditioner = Conditioner::new(spec.clone(), rate, full_scale);
    let mut rows = Rows {
        width: 1,
        values: Vec::new(),
    };
    let mut cuts = cuts.into_iter().peekable();
    for (time, value) in records.iter() {
        while cuts.next_if(|c| *c <= time).is_some() {
            conditioner.cut();
        }
        conditioner.push(time, conversion.apply(value[0]), |p| {
            rows.put(p.k, &[p.value.unwrap_or(f32::NAN)]);
        });
    }
    if let Some(last) = records.last() {
        // With the grid point at the time of the last sample, if there is one.
        conditioner.close(last + 1, |p| {
            rows.put(p.k, &[p.value.unwrap_or(f32::NAN)]);
        });
    }
    rows.write()?;
    let Counts {
        received,
        not_finite,
        flat,
        saturated,
        late,
        detached,
        outliers,
        poor,
    } = conditioner.counts();
    let valid = rows.values.iter().filter(|v| v.is_finite()).count();
    options.tell(&serde_json::json!({
        "signal": name, "rate": spec.rate, "points": rows.values.len(), "valid": valid,
        "received": received, "not-finite": not_finite, "flat": flat,
        "saturated": saturated, "late": late, "detached": detached, "outliers": outliers, "poor": poor,
    }))
}

/// Puts face units onto their grid.
pub(crate) fn units(options: Options) -> Result<(), Failure> {
    let spec = InputSpecs::read(&options.model)?.video.ok_or_else(|| {
        Failure::Input(format!(
            "{}: expected a [video] table with rate, max-gap, min-confidence and units, found none",
            options.model.display()
        ))
    })?;
    let width = spec.units.len();
    let records = Records::read(std::io::stdin().lock(), "standard input", width + 1)?;
    let mut rows = Rows {
        width,
        values: Vec::new(),
    };
    let mut row = vec![f32::NAN; width];
    let mut valid = 0u64;
    let mut put = |k: u64, values: Option<&[f64]>| {
        row.fill(f32::NAN);
        for (to, from) in row.iter_mut().zip(values.into_iter().flatten()) {
            *to = *from as f32;
        }
        valid += u64::from(values.is_some());
        rows.put(k, &row);
    };
    let rate = spec.rate;
    let mut grid = UnitsGrid::new(spec);
    let (mut received, mut bad) = (0u64, 0u64);
    for (time, record) in records.iter() {
        received += 1;
        bad += u64::from(!grid.push(time, record[0], &record[1..], &mut put));
    }
    if let Some(last) = records.last() {
        grid.close(last + 1, &mut put);
    }
    rows.write()?;
    options.tell(&serde_json::json!({
        "rate": rate, "units": width, "points": rows.values.len() / width, "valid": valid,
        "received": received, "bad": bad,
    }))
}
