// SPDX-License-Identifier: MPL-2.0
//! Finding and following faces from frame to frame.

use super::detector::{self, Detection, sigmoid};
use super::geometry::{Rect, Roi};
use super::image::ImageView;
use super::networks::{CROP, Mesh, Networks};
use super::orientation::Orientation;
use super::sample::Border;
use super::{BLENDSHAPE_LANDMARKS, BLENDSHAPES, LANDMARKS};
use onnx::Error;

/// Side of a crop, as a multiple of the longer side of the face.
const CROP_MARGIN: f32 = 1.5;
/// Landmarks at the outer corners of the eyes; a crop is turned so that they are level.
const EYE_CORNERS: (usize, usize) = (33, 263);
/// Two boxes whose intersection over union is above this are one face.
const SAME_FACE: f32 = 0.3;
/// A detection with at least this score counts at once; one with a lower score has to be found
/// in two analyses in a row.
const SURE: f32 = 0.75;
/// Detections in one frame in which Face Mesh may find no face before the rest is left out.
/// With a low `min_confidence` there may be hundreds, and each costs as much as a face.
const MAX_IN_VAIN: usize = 4;
/// Number of analyses within which a lost face that comes back at its place keeps its id.
const REMEMBERED: u64 = 10;

/// What an [`Analyzer`] looks for. The default is one face with a confidence of 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Lowest score of a detection, and lowest presence of a face, 0–1.
    pub min_confidence: f32,
    /// Most faces that are followed at a time; the cost grows with each.
    pub max_faces: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            min_confidence: 0.5,
            max_faces: 1,
        }
    }
}

/// One face in one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Face {
    /// Stays the same while the face is followed, and is not used for another face of this
    /// [`Analyzer`].
    pub track_id: u64,
    /// Presence of a face, 0–1, as Face Mesh gives it.
    pub confidence: f32,
    /// The box around all landmarks, pixels of the frame in memory; may reach beyond the frame.
    pub rect: Rect,
    /// [`LANDMARKS`] points x, y, z in pixels of the frame in memory. z is the depth relative to the
    /// head's centre, negative towards the viewer.
    pub landmarks: Vec<[f32; 3]>,
    /// Face units, 0–1, in the order of [`BLENDSHAPES`]. Left and right are those of the person in
    /// the image as it is shown ([`ImageView::oriented`]).
    pub blendshapes: [f32; BLENDSHAPES.len()],
}

/// A face that is followed. Places are those in the image as it is shown.
struct Track {
    /// `None` for a weak detection that has not been confirmed.
    id: Option<u64>,
    presence: f32,
    rect: Rect,
    landmarks: Vec<[f32; 3]>,
    /// The crop for the next frame.
    next: Roi,
}

/// A place where there may be a face.
struct Candidate {
    rect: Rect,
    crop: Roi,
    /// Whether it counts at once.
    sure: bool,
}

impl From<&Detection> for Candidate {
    fn from(detection: &Detection) -> Self {
        let eyes = (detection.points[0], detection.points[1]);
        Self {
            rect: detection.rect,
            crop: Roi::around_face(&detection.rect, eyes, CROP_MARGIN),
            sure: detection.score >= SURE,
        }
    }
}

/// A face that was followed and is not there any more.
struct Lost {
    id: u64,
    rect: Rect,
    /// Number of the analysis that lost it.
    since: u64,
}

/// Finds faces in the frames of one video and follows them.
///
/// Faces are only compared with those of the frames before, so one analyzer is needed for each
/// video, and [`Analyzer::reset`] after a cut or a seek.
pub struct Analyzer<N> {
    networks: N,
    options: Options,
    anchors: Vec<(f32, f32)>,
    tracks: Vec<Track>,
    lost: Vec<Lost>,
    ids: u64,
    analyses: u64,
    detector_runs: u64,
    /// Of the last frame, in memory.
    size: (usize, usize),
    orientation: Orientation,
    /// Input of a network.
    pixels: Vec<f32>,
}

impl<N: Networks> Analyzer<N> {
    /// An analyzer that knows no face yet.
    pub fn new(networks: N, options: Options) -> Self {
        Self {
            networks,
            options,
            anchors: detector::anchors(),
            tracks: Vec::new(),
            lost: Vec::new(),
            ids: 0,
            analyses: 0,
            detector_runs: 0,
            size: (0, 0),
            orientation: Orientation::Identity,
            pixels: Vec::new(),
        }
    }

    /// The networks that it runs.
    pub fn networks(&self) -> &N {
        &self.networks
    }

    /// Changes the options from the next analysis on.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// How often the detector has run.
    pub fn detector_runs(&self) -> u64 {
        self.detector_runs
    }

    /// Drops all faces, because the next frame does not continue the last one. Their ids are not
    /// used again.
    pub fn reset(&mut self) {
        self.tracks.clear();
        self.lost.clear();
    }

    /// The faces in `image`, those that have been followed longest first, at most
    /// [`Options::max_faces`].
    ///
    /// `regions` are boxes of faces, in pixels of the frame in memory, that another detector has
    /// found. If there are any, the detector of this crate does not run. A frame of another size
    /// or orientation than the last one begins anew, as after [`Analyzer::reset`].
    ///
    /// # Errors
    /// Those of the networks; faces are then no longer followed.
    pub fn analyze(&mut self, image: &ImageView<'_>, regions: &[Rect]) -> Result<Vec<Face>, Error> {
        let seen_as = (image.size(), image.orientation());
        if seen_as != (self.size, self.orientation) {
            self.reset();
            (self.size, self.orientation) = seen_as;
        }
        self.analyses += 1;
        let now = self.analyses;
        self.lost.retain(|l| now - l.since <= REMEMBERED);
        let tracks = std::mem::take(&mut self.tracks);
        let mut tracks = self.follow(image, tracks)?;
        if tracks.len() < self.options.max_faces || tracks.iter().any(|t| t.id.is_none()) {
            self.find(image, regions, &mut tracks)?;
        }

        let mut faces = Vec::with_capacity(tracks.len());
        for track in &tracks {
            if let Some(id) = track.id {
                faces.push(self.face(id, track)?);
            }
        }
        self.tracks = tracks;
        Ok(faces)
    }

    /// Runs Face Mesh for each known face at the place of its last landmarks.
    fn follow(&mut self, image: &ImageView<'_>, tracks: Vec<Track>) -> Result<Vec<Track>, Error> {
        let mut kept: Vec<Track> = Vec::with_capacity(tracks.len());
        for old in tracks {
            let seen = self.look(image, &old.next)?;
            match seen {
                Some(seen)
                    if kept.len() < self.options.max_faces
                        && kept.iter().all(|k| k.rect.overlap(&seen.rect) <= SAME_FACE) =>
                {
                    kept.push(Track { id: old.id, ..seen });
                }
                _ => self.lost.extend(old.id.map(|id| Lost {
                    id,
                    rect: old.rect,
                    since: self.analyses,
                })),
            }
        }
        Ok(kept)
    }

    /// Runs the detector (or takes `regions`), adds the faces that are new and drops weak ones
    /// that are not found again.
    fn find(
        &mut self,
        image: &ImageView<'_>,
        regions: &[Rect],
        tracks: &mut Vec<Track>,
    ) -> Result<(), Error> {
        let mut confirmed = vec![false; tracks.len()];
        let mut in_vain = 0;
        let candidates = match regions {
            [] => self.detect(image)?.iter().map(Candidate::from).collect(),
            regions => self.level(image, regions)?,
        };
        for detection in candidates {
            let known = tracks
                .iter()
                .position(|t| t.rect.overlap(&detection.rect) > SAME_FACE);
            if let Some(known) = known {
                if let Some(c) = confirmed.get_mut(known) {
                    *c = true;
                }
                continue;
            }
            if tracks.len() >= self.options.max_faces || in_vain == MAX_IN_VAIN {
                continue;
            }
            let Some(seen) = self.look(image, &detection.crop)? else {
                in_vain += 1;
                continue;
            };
            // Face Mesh may have found the landmarks of a neighbouring face.
            if tracks
                .iter()
                .any(|t| t.rect.overlap(&seen.rect) > SAME_FACE)
            {
                continue;
            }
            let id = detection.sure.then(|| self.identify(&seen.rect));
            tracks.push(Track { id, ..seen });
        }
        let old = confirmed.len();
        for (track, confirmed) in tracks.iter_mut().zip(&confirmed) {
            if track.id.is_none() && *confirmed {
                track.id = Some(self.identify(&track.rect));
            }
        }
        let mut index = 0;
        tracks.retain(|t| {
            index += 1;
            t.id.is_some() || index > old
        });
        Ok(())
    }

    /// The id of a face that was lost at this place shortly before, else a new one.
    fn identify(&mut self, rect: &Rect) -> u64 {
        if let Some(i) = self
            .lost
            .iter()
            .position(|l| l.rect.overlap(rect) > SAME_FACE)
        {
            return self.lost.remove(i).id;
        }
        self.ids += 1;
        self.ids
    }

    /// Candidates for regions whose eyes are not known: Face Mesh runs on the upright region,
    /// and its landmarks give a crop in which the eyes are level.
    fn level(&mut self, image: &ImageView<'_>, regions: &[Rect]) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::new();
        for rect in regions.iter().take(self.options.max_faces) {
            let rect = self.orientation.rect_shown(self.size, rect);
            let upright = ((rect.x, rect.y), (rect.x + 1.0, rect.y));
            let roi = Roi::around_face(&rect, upright, CROP_MARGIN);
            candidates.extend(self.look(image, &roi)?.map(|seen| Candidate {
                rect: seen.rect,
                crop: seen.next,
                sure: true,
            }));
        }
        Ok(candidates)
    }

    /// Runs the detector on the whole frame.
    fn detect(&mut self, image: &ImageView<'_>) -> Result<Vec<Detection>, Error> {
        let roi = Roi::letterbox(self.orientation.shown_size(self.size));
        image.warp(
            &roi.map(detector::INPUT),
            detector::INPUT,
            Border::Black,
            (2.0, -1.0),
            &mut self.pixels,
        );
        self.detector_runs += 1;
        let (regressors, logits) = self.networks.detect(&self.pixels)?;
        Ok(detector::decode(
            &regressors,
            &logits,
            &self.anchors,
            self.options.min_confidence,
            &roi,
        ))
    }

    /// Runs Face Mesh on `roi` and gives the face there, without an id; `None` if there is
    /// none.
    fn look(&mut self, image: &ImageView<'_>, roi: &Roi) -> Result<Option<Track>, Error> {
        image.warp(
            &roi.map(CROP),
            CROP,
            Border::Replicate,
            (1.0, 0.0),
            &mut self.pixels,
        );
        let Mesh {
            landmarks,
            presence,
        } = self.networks.mesh(&self.pixels)?;
        let presence = sigmoid(presence);
        let landmarks: Vec<[f32; 3]> = landmarks
            .chunks_exact(3)
            .map(|p| {
                let (x, y) = roi.point(p[0] / CROP as f32, p[1] / CROP as f32);
                [x, y, p[2] / CROP as f32 * roi.side]
            })
            .collect();
        let sound =
            landmarks.len() == LANDMARKS && landmarks.iter().flatten().all(|v| v.is_finite());
        if !(sound && presence >= self.options.min_confidence) {
            return Ok(None);
        }
        let Some(rect) = Rect::around(landmarks.iter().map(|p| (p[0], p[1]))) else {
            return Ok(None);
        };
        let point = |i: usize| (landmarks[i][0], landmarks[i][1]);
        let eyes = (point(EYE_CORNERS.0), point(EYE_CORNERS.1));
        Ok(Some(Track {
            id: None,
            presence,
            rect,
            next: Roi::around_face(&rect, eyes, CROP_MARGIN),
            landmarks,
        }))
    }

    /// Runs the blendshape network for a track.
    fn face(&mut self, track_id: u64, track: &Track) -> Result<Face, Error> {
        let points: Vec<f32> = BLENDSHAPE_LANDMARKS
            .iter()
            .flat_map(|i| [track.landmarks[*i][0], track.landmarks[*i][1]])
            .collect();
        let values = self.networks.blendshapes(&points)?;
        let mut blendshapes = [0.0; BLENDSHAPES.len()];
        for (to, from) in blendshapes.iter_mut().zip(values) {
            *to = match from.is_nan() {
                true => 0.0,
                false => from.clamp(0.0, 1.0),
            };
        }
        let (shown, size) = (self.orientation, self.size);
        let landmarks = track.landmarks.iter().map(|[x, y, z]| {
            let (x, y) = shown.in_memory(size, (*x, *y));
            [x, y, *z]
        });
        Ok(Face {
            track_id,
            confidence: track.presence,
            rect: shown.rect_in_memory(size, &track.rect),
            landmarks: landmarks.collect(),
            blendshapes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{PixelFormat, Plane, YuvToRgb};
    use std::collections::VecDeque;

    const SIZE: usize = 256;

    /// Networks with given outputs.
    #[derive(Default)]
    struct Script {
        /// Per run of the detector: faces as centre (of 128) and logit.
        detections: VecDeque<Vec<(f32, f32, f32)>>,
        /// Presence logits, one per look; afterwards "certain".
        presence: VecDeque<f32>,
        /// Value for the first landmark's x.
        poison: Option<f32>,
        meshes: usize,
    }

    impl Networks for Script {
        fn detect(&mut self, image: &[f32]) -> Result<(Vec<f32>, Vec<f32>), Error> {
            assert_eq!(image.len(), 128 * 128 * 3);
            let mut regressors = vec![0.0; detector::ANCHORS * detector::VALUES];
            let mut logits = vec![-50.0; detector::ANCHORS];
            let faces = self.detections.pop_front().unwrap_or_default();
            for (i, (x, y, logit)) in faces.into_iter().enumerate() {
                let anchor = detector::anchors()[i];
                let (x, y) = (x - anchor.0 * 128.0, y - anchor.1 * 128.0);
                let eyes = [x - 5.0, y, x + 5.0, y];
                let values = &mut regressors[i * detector::VALUES..];
                values[..4].copy_from_slice(&[x, y, 20.0, 20.0]);
                values[4..8].copy_from_slice(&eyes);
                logits[i] = logit;
            }
            Ok((regressors, logits))
        }

        /// A face that fills two thirds of the crop: it stays where it was.
        fn mesh(&mut self, crop: &[f32]) -> Result<Mesh, Error> {
            assert_eq!(crop.len(), CROP * CROP * 3);
            self.meshes += 1;
            let (low, high) = (CROP as f32 / 6.0, CROP as f32 * 5.0 / 6.0);
            let mut landmarks = [128.0, 128.0, 0.0].repeat(LANDMARKS);
            let mut set = |i: usize, x: f32, y: f32| {
                landmarks[i * 3] = x;
                landmarks[i * 3 + 1] = y;
            };
            set(0, low, low);
            set(1, high, high);
            set(EYE_CORNERS.0, 100.0, 100.0);
            set(EYE_CORNERS.1, 156.0, 100.0);
            if let Some(poison) = self.poison {
                landmarks[0] = poison;
            }
            Ok(Mesh {
                landmarks,
                presence: self.presence.pop_front().unwrap_or(9.0),
            })
        }

        fn blendshapes(&mut self, points: &[f32]) -> Result<Vec<f32>, Error> {
            assert_eq!(points.len(), 146 * 2);
            let mut values = vec![0.5; 52];
            values[..3].copy_from_slice(&[-0.5, 1.5, f32::NAN]);
            Ok(values)
        }
    }

    const SURE_LOGIT: f32 = 3.0;
    /// Above the least confidence, below [`SURE`].
    const WEAK_LOGIT: f32 = 0.5;

    fn analyzer(script: Script, max_faces: usize) -> Analyzer<Script> {
        Analyzer::new(
            script,
            Options {
                max_faces,
                ..Options::default()
            },
        )
    }

    fn analyze_size(analyzer: &mut Analyzer<Script>, size: usize) -> Vec<Face> {
        let data = vec![0; size * size];
        let plane = Plane {
            data: &data,
            stride: size,
        };
        let image = ImageView::new(PixelFormat::Gray8, size, size, &[plane], YuvToRgb::bt601())
            .expect("image");
        analyzer.analyze(&image, &[]).expect("analysis")
    }

    fn ids(analyzer: &mut Analyzer<Script>) -> Vec<u64> {
        let faces = analyze_size(analyzer, SIZE);
        faces.iter().map(|f| f.track_id).collect()
    }

    #[test]
    fn the_detector_does_not_run_while_the_face_is_followed() {
        let mut a = analyzer(
            Script {
                detections: [vec![(64.0, 64.0, SURE_LOGIT)]].into(),
                ..Script::default()
            },
            1,
        );
        let face = &analyze_size(&mut a, SIZE)[0];
        // 20 of 128 is 40 of 256; the crop is 60 and the face two thirds of it.
        assert_eq!(face.rect.center(), (128.0, 128.0));
        assert!((face.rect.width - 40.0).abs() < 0.01, "{:?}", face.rect);
        assert!(face.confidence > 0.99);
        assert_eq!(face.blendshapes[..4], [0.0, 1.0, 0.0, 0.5]);
        for _ in 0..5 {
            assert_eq!(ids(&mut a), [1]);
        }
        assert_eq!((a.detector_runs(), a.networks().meshes), (1, 6));
    }

    #[test]
    fn a_weak_detection_counts_when_it_is_found_again() {
        let weak = || vec![(64.0, 64.0, WEAK_LOGIT)];
        let mut a = analyzer(
            Script {
                detections: [weak(), vec![], weak(), weak()].into(),
                ..Script::default()
            },
            1,
        );
        assert!(ids(&mut a).is_empty(), "seen for the first time");
        assert!(ids(&mut a).is_empty(), "not found again");
        assert!(ids(&mut a).is_empty());
        assert_eq!(ids(&mut a), [1]);
        assert_eq!(ids(&mut a), [1]);
        assert_eq!(a.detector_runs(), 4);
    }

    #[test]
    fn a_detection_without_presence_is_no_face() {
        let mut a = analyzer(
            Script {
                detections: vec![vec![(64.0, 64.0, SURE_LOGIT)]; 3].into(),
                presence: [-1.0, f32::NAN, -0.1].into(),
                ..Script::default()
            },
            1,
        );
        for _ in 0..3 {
            assert!(ids(&mut a).is_empty());
        }
    }

    #[test]
    fn many_false_detections_cost_few_runs_of_the_mesh() {
        let everywhere: Vec<_> = (0..49)
            .map(|i| {
                (
                    10.0 + (i % 7) as f32 * 18.0,
                    10.0 + (i / 7) as f32 * 18.0,
                    SURE_LOGIT,
                )
            })
            .collect();
        let mut a = analyzer(
            Script {
                detections: [everywhere].into(),
                presence: vec![-9.0; 49].into(),
                ..Script::default()
            },
            1,
        );
        assert!(ids(&mut a).is_empty());
        assert_eq!(a.networks().meshes, MAX_IN_VAIN);
    }

    #[test]
    fn a_lost_face_comes_back_under_its_id_for_a_while() {
        let here = || vec![(64.0, 64.0, SURE_LOGIT)];
        let mut a = analyzer(
            Script {
                // Found; lost and not found again; found.
                detections: [here(), vec![], here()].into(),
                presence: [9.0, -9.0, 9.0].into(),
                ..Script::default()
            },
            1,
        );
        assert_eq!(ids(&mut a), [1]);
        assert!(ids(&mut a).is_empty());
        assert_eq!(ids(&mut a), [1]);
        // Lost once more; long after, a face at this place may be another one.
        a.networks.presence = [-9.0].into();
        for _ in 0..=REMEMBERED {
            assert!(ids(&mut a).is_empty());
        }
        a.networks.detections = [here()].into();
        assert_eq!(ids(&mut a), [2]);
    }

    #[test]
    fn a_face_found_in_the_same_frame_is_followed() {
        let mut a = analyzer(
            Script {
                detections: [
                    vec![(30.0, 64.0, SURE_LOGIT)],
                    vec![(34.0, 64.0, SURE_LOGIT)],
                ]
                .into(),
                presence: [9.0, -9.0, 9.0].into(),
                ..Script::default()
            },
            1,
        );
        assert_eq!(ids(&mut a), [1]);
        assert_eq!(ids(&mut a), [1], "moved out of its crop");
        assert_eq!(a.detector_runs(), 2);
    }

    #[test]
    fn two_faces_are_followed_apart_and_one_is_not_doubled() {
        let two = vec![
            (30.0, 30.0, SURE_LOGIT),
            (90.0, 90.0, SURE_LOGIT),
            // The first once more.
            (31.0, 30.0, SURE_LOGIT - 1.0),
        ];
        let mut a = analyzer(
            Script {
                detections: vec![two.clone(); 3].into(),
                ..Script::default()
            },
            3,
        );
        assert_eq!(ids(&mut a), [1, 2]);
        assert_eq!(ids(&mut a), [1, 2]);
        // Fewer wanted: the longest known stays.
        a.set_options(Options {
            max_faces: 1,
            ..Options::default()
        });
        assert_eq!(ids(&mut a), [1]);
    }

    #[test]
    fn another_size_or_a_reset_drops_the_faces() {
        let here = || vec![(64.0, 64.0, SURE_LOGIT)];
        let mut a = analyzer(
            Script {
                detections: vec![here(); 3].into(),
                ..Script::default()
            },
            1,
        );
        assert_eq!(ids(&mut a), [1]);
        assert_eq!(analyze_size(&mut a, 100)[0].track_id, 2);
        a.reset();
        assert_eq!(analyze_size(&mut a, 100)[0].track_id, 3);
    }

    #[test]
    fn landmarks_that_are_not_finite_are_no_face() {
        for poison in [f32::NAN, f32::INFINITY] {
            let mut a = analyzer(
                Script {
                    detections: [vec![(64.0, 64.0, SURE_LOGIT)]].into(),
                    poison: Some(poison),
                    ..Script::default()
                },
                1,
            );
            assert!(ids(&mut a).is_empty());
        }
    }

    #[test]
    fn a_region_from_elsewhere_replaces_the_detector() {
        let mut a = analyzer(Script::default(), 1);
        let data = vec![0; SIZE * SIZE];
        let plane = Plane {
            data: &data,
            stride: SIZE,
        };
        let image = ImageView::new(PixelFormat::Gray8, SIZE, SIZE, &[plane], YuvToRgb::bt601())
            .expect("image");
        let region = Rect {
            x: 50.0,
            y: 60.0,
            width: 40.0,
            height: 30.0,
        };
        let faces = a.analyze(&image, &[region]).expect("analysis");
        assert_eq!(faces[0].rect.center(), region.center());
        assert_eq!(a.detector_runs(), 0);
    }

    #[test]
    fn a_face_is_looked_for_as_it_is_shown_and_told_where_it_is_in_memory() {
        let data = vec![0; 256 * 128];
        let plane = Plane {
            data: &data,
            stride: 256,
        };
        let lying = ImageView::new(PixelFormat::Gray8, 256, 128, &[plane], YuvToRgb::bt601())
            .expect("image");
        let image = lying.oriented(Orientation::Right90);
        // Shown it is 128x256, with the face at (64, 50): 64 pixels of bars left and right.
        let shown = || vec![(64.0, 25.0, SURE_LOGIT)];
        let script = Script {
            detections: [shown(), shown()].into(),
            ..Script::default()
        };
        let mut a = analyzer(script, 1);
        let near = |face: &Face, x: f32, y: f32| {
            let center = face.rect.center();
            assert!(
                (center.0 - x).abs() < 1e-3 && (center.1 - y).abs() < 1e-3,
                "{center:?}"
            );
        };
        let faces = a.analyze(&image, &[]).expect("analysis");
        near(&faces[0], 50.0, 127.0 - 64.0);
        // A quarter turn: the left edge of the crop is the lower one in memory.
        let (corner, opposite) = (faces[0].landmarks[0], faces[0].landmarks[1]);
        assert!(corner[0] < opposite[0] && corner[1] > opposite[1]);
        let again = a.analyze(&image, &[]).expect("analysis");
        assert_eq!(again[0].track_id, faces[0].track_id);
        near(&again[0], 50.0, 63.0);
        assert_eq!(a.detector_runs(), 1);

        // Shown another way it is another picture.
        let turned = lying.oriented(Orientation::Left90);
        let faces = a.analyze(&turned, &[]).expect("analysis");
        assert_eq!(a.detector_runs(), 2);
        near(&faces[0], 255.0 - 50.0, 64.0);

        // A region from elsewhere is one in memory.
        let region = Rect {
            x: 50.0,
            y: 60.0,
            width: 40.0,
            height: 30.0,
        };
        a.reset();
        let faces = a.analyze(&image, &[region]).expect("analysis");
        near(&faces[0], 70.0, 75.0);
    }
}
