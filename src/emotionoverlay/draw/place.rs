// SPDX-License-Identifier: MPL-2.0
//! Where the panel and the traces stand, so that no face is covered.

/// How long (ns) a face must be covered before the panel moves, and how long it then stays.
const LASTING: u64 = 700_000_000;
const STAY: u64 = 2_000_000_000;
/// Share of a face that may be covered without a move, that a move must uncover, and that
/// smaller text must.
const TOLERATED: f64 = 0.02;
const WORTH: f64 = 0.05;
const SMALLER: f64 = 0.002;
/// Sizes of the text where there is no room beside a face.
const SIZES: [f64; 3] = [1.0, 0.85, 0.7];

/// A corner of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Corner {
    TopLeft,
    TopRight,
    BottomLeft,
    BottomRight,
}

impl Corner {
    /// In the order in which they are tried.
    const ALL: [Self; 4] = [
        Self::TopLeft,
        Self::TopRight,
        Self::BottomLeft,
        Self::BottomRight,
    ];

    fn is_top(self) -> bool {
        matches!(self, Self::TopLeft | Self::TopRight)
    }

    fn is_left(self) -> bool {
        matches!(self, Self::TopLeft | Self::BottomLeft)
    }

    /// At the other edge, above or below.
    pub(in super::super) fn across(self) -> Self {
        match self.is_top() {
            true => Self::BottomLeft,
            false => Self::TopLeft,
        }
    }
}

/// A box in pixels: x, y, width, height.
pub(in super::super) type Area = (u32, u32, u32, u32);

/// What is to be placed, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Sizes {
    pub(in super::super) frame: (u32, u32),
    /// Margins to the left or right, and above or below.
    pub(in super::super) margin: (u32, u32),
    /// The panel, with text of the usual size; (0, 0) where there is none.
    pub(in super::super) panel: (u32, u32),
    /// The traces, whose width is that of the frame at any size of the text.
    pub(in super::super) traces: (u32, u32),
    /// Smallest size of the text, 0–1, at which it can be read.
    pub(in super::super) smallest: f64,
}

/// A place for the panel: the traces are at the edge that it is not at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Place {
    pub(in super::super) corner: Corner,
    /// Of the text, 0–1.
    pub(in super::super) size: f64,
}

impl Place {
    pub(in super::super) const DEFAULT: Self = Self {
        corner: Corner::TopLeft,
        size: 1.0,
    };
}

fn overlap(a: Area, b: Area) -> f64 {
    let along = |p: u32, l: u32, q: u32, m: u32| {
        let end = u64::from(p.saturating_add(l).min(q.saturating_add(m)));
        end.saturating_sub(u64::from(p.max(q))) as f64
    };
    along(a.0, a.2, b.0, b.2) * along(a.1, a.3, b.1, b.3)
}

impl Sizes {
    /// The top left corner of something `width` × `height` at a corner of the frame.
    pub(in super::super) fn corner(
        &self,
        corner: Corner,
        (width, height): (u32, u32),
    ) -> (u32, u32) {
        let (frame, margin) = (self.frame, self.margin);
        let far =
            |frame: u32, size: u32, margin: u32| frame.saturating_sub(size).saturating_sub(margin);
        let x = match corner.is_left() {
            true => margin.0,
            false => far(frame.0, width, margin.0),
        };
        let y = match corner.is_top() {
            true => margin.1,
            false => far(frame.1, height, margin.1),
        };
        // Even, so that the picture falls on whole chroma samples.
        (x & !1, y & !1)
    }

    /// Largest share of one of `faces` that is covered at `place`.
    fn covered(&self, place: Place, faces: &[Area]) -> f64 {
        let scaled = |v: u32| (f64::from(v) * place.size).ceil() as u32;
        let panel = (scaled(self.panel.0), scaled(self.panel.1));
        let traces = (self.traces.0, scaled(self.traces.1));
        let boxes = [(place.corner, panel), (place.corner.across(), traces)];
        let of = |face: &Area| {
            let covered = boxes.iter().map(|(corner, size)| {
                let (x, y) = self.corner(*corner, *size);
                overlap((x, y, size.0, size.1), *face)
            });
            covered.sum::<f64>() / (f64::from(face.2) * f64::from(face.3)).max(1.0)
        };
        faces.iter().map(of).fold(0.0, f64::max)
    }

    /// The place that covers least; of equal ones the largest, then the first corner.
    fn best(&self, faces: &[Area]) -> Place {
        let mut best = (f64::INFINITY, Place::DEFAULT);
        for size in SIZES.into_iter().filter(|s| *s >= self.smallest) {
            for corner in Corner::ALL {
                let place = Place { corner, size };
                let covered = self.covered(place, faces);
                let cost = if size < best.1.size { SMALLER } else { 0.0 };
                if covered + cost < best.0 {
                    best = (covered, place);
                }
            }
            if best.0 == 0.0 {
                break;
            }
        }
        best.1
    }
}

/// Chooses the place, and leaves it only for a reason that lasts.
#[derive(Debug, Default)]
pub(in super::super) struct Placer {
    place: Option<Place>,
    /// When (ns) a face was first covered, and when the panel moved last.
    covered_since: Option<u64>,
    moved: Option<u64>,
}

impl Placer {
    /// The place on a frame of time `time` (ns). Without faces it stays where it is.
    pub(in super::super) fn place(
        &mut self,
        sizes: &Sizes,
        faces: &[Area],
        time: Option<u64>,
    ) -> Place {
        let Some(place) = self.place else {
            // Nothing has been drawn that could jump.
            if faces.is_empty() {
                return Place::DEFAULT;
            }
            return *self.place.insert(sizes.best(faces));
        };
        let covered = sizes.covered(place, faces);
        if covered <= TOLERATED {
            self.covered_since = None;
            return place;
        }
        let best = sizes.best(faces);
        if best == place || sizes.covered(best, faces) + WORTH > covered {
            return place;
        }
        if let Some(time) = time {
            // After a seek backwards times of the future mean nothing.
            let before = |t: u64| Some(t).filter(|t| *t <= time);
            let since = self.covered_since.and_then(before);
            let since = *self.covered_since.insert(since.unwrap_or(time));
            let moved = self.moved.and_then(before);
            if time - since < LASTING || moved.is_some_and(|m| time - m < STAY) {
                return place;
            }
            self.moved = Some(time);
        }
        self.covered_since = None;
        *self.place.insert(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES_480: Sizes = Sizes {
        frame: (640, 480),
        margin: (10, 10),
        panel: (240, 150),
        traces: (620, 130),
        smallest: 0.7,
    };

    fn ms(milliseconds: u64) -> Option<u64> {
        Some(milliseconds * 1_000_000)
    }

    #[test]
    fn a_face_in_any_corner_is_left_alone() {
        for (x, y) in [(10, 10), (480, 10), (10, 300), (480, 300), (250, 160)] {
            let faces = [(x, y, 140, 160)];
            let place = Placer::default().place(&SIZES_480, &faces, ms(0));
            assert_eq!(SIZES_480.covered(place, &faces), 0.0, "{x},{y}: {place:?}");
        }
        // Where nothing is in the way the panel is where it always was.
        let faces = [(480, 200, 100, 120)];
        let place = Placer::default().place(&SIZES_480, &faces, ms(0));
        assert_eq!(place, Place::DEFAULT);
        assert_eq!(
            Placer::default().place(&SIZES_480, &[], ms(0)),
            Place::DEFAULT
        );
    }

    #[test]
    fn a_large_face_gets_a_smaller_panel() {
        let faces = [(215, 60, 210, 270)];
        let place = Placer::default().place(&SIZES_480, &faces, ms(0));
        assert!(place.size < 1.0, "{place:?}");
        assert_eq!(SIZES_480.covered(place, &faces), 0.0);
        // The strip below is smaller as well.
        let sizes = Sizes {
            frame: (1280, 720),
            margin: (16, 16),
            panel: (360, 235),
            traces: (1249, 248),
            smallest: 0.5,
        };
        let faces = [(460, 43, 333, 417)];
        let place = Placer::default().place(&sizes, &faces, ms(0));
        assert_eq!(sizes.covered(place, &faces), 0.0, "{place:?}");
        // Not smaller than can be read.
        let readable = Sizes {
            smallest: 1.0,
            ..SIZES_480
        };
        assert_eq!(Placer::default().place(&readable, &faces, ms(0)).size, 1.0);
    }

    #[test]
    fn it_does_not_jump() {
        let mut placer = Placer::default();
        let (left, right) = ([(60, 40, 140, 160)], [(440, 40, 140, 160)]);
        let mut places = Vec::new();
        // The face goes from side to side every half second, for ten seconds.
        for i in 0..300 {
            let faces = if i / 15 % 2 == 0 { right } else { left };
            let place = placer.place(&SIZES_480, &faces, ms(i * 1000 / 30));
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
        assert_eq!(places.len(), 1, "{places:?}");
        // It stays to the left: the panel goes, once, and does not come back by itself.
        for i in 300..600 {
            let faces: &[Area] = if i < 450 { &left } else { &[] };
            let place = placer.place(&SIZES_480, faces, ms(i * 1000 / 30));
            if places.last() != Some(&place) {
                places.push(place);
                // It has been there since frame 285.
                assert!(i >= 306, "{i}");
            }
        }
        assert_eq!(places.len(), 2, "{places:?}");
        // Trembling at the edge of the panel moves nothing.
        let mut placer = Placer::default();
        let first = placer.place(&SIZES_480, &[(252, 40, 140, 160)], ms(0));
        for i in 1..300 {
            let x = if i % 2 == 0 { 245 } else { 252 };
            let faces = [(x, 40, 140, 160)];
            assert_eq!(placer.place(&SIZES_480, &faces, ms(i * 33)), first);
        }
    }

    #[test]
    fn a_seek_backwards_does_not_hold_it() {
        let mut placer = Placer::default();
        placer.place(&SIZES_480, &[(440, 40, 140, 160)], ms(90_000));
        let left = [(60, 40, 140, 160)];
        let last = (0..60).map(|i| placer.place(&SIZES_480, &left, ms(i * 33)));
        assert_ne!(last.last(), Some(Place::DEFAULT));
    }
}
