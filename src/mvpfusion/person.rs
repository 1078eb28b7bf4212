// SPDX-License-Identifier: MPL-2.0
//! Which of the faces in the picture is the person whose answers are given.

/// How long (ns) a face may be out of sight before another one takes its place. `facetrack`
/// gives a face that comes back within this time its old track id.
const PATIENCE: u64 = 2_000_000_000;

/// The face that is followed.
#[derive(Debug, Default)]
pub(super) struct Person {
    /// Track id, and when (ns) it was seen last.
    followed: Option<(u64, u64)>,
}

/// A face to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) index: usize,
    /// It takes the place of another one.
    pub(super) changed: bool,
}

impl Person {
    /// Of `faces`, each a track id and a time (ns), the one that is followed; else, once that
    /// has been gone for [`PATIENCE`], the one with the lowest id: it has been there longest.
    pub(super) fn choose(&mut self, faces: &[(u64, u64)]) -> Option<Choice> {
        let newest = |id: u64| {
            let own = faces.iter().enumerate().filter(|(_, f)| f.0 == id);
            own.max_by_key(|(_, f)| f.1).map(|(i, f)| (i, f.1))
        };
        if let Some((id, seen)) = self.followed {
            if let Some((index, time)) = newest(id) {
                self.followed = Some((id, seen.max(time)));
                return Some(Choice {
                    index,
                    changed: false,
                });
            }
            if faces.iter().all(|f| f.1 < seen.saturating_add(PATIENCE)) {
                return None;
            }
        }
        let first = faces.iter().map(|f| f.0).min()?;
        let (index, time) = newest(first)?;
        let changed = self.followed.replace((first, time)).is_some();
        Some(Choice { index, changed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_face_is_followed_until_it_has_gone() {
        let second = 1_000_000_000;
        let mut person = Person::default();
        let kept = |index| {
            Some(Choice {
                index,
                changed: false,
            })
        };
        assert_eq!(person.choose(&[]), None);
        assert_eq!(person.choose(&[(4, 0), (3, 0)]), kept(1));
        assert_eq!(person.choose(&[(3, second), (4, second)]), kept(0));
        // An older track is not a reason to change.
        assert_eq!(person.choose(&[(1, 2 * second), (3, 2 * second)]), kept(1));
        assert_eq!(person.choose(&[(4, 3 * second)]), None);
        assert_eq!(person.choose(&[(3, 3 * second)]), kept(0));
        let other = person.choose(&[(9, 5 * second), (4, 5 * second)]);
        assert_eq!(
            other,
            Some(Choice {
                index: 1,
                changed: true
            })
        );
        assert_eq!(person.choose(&[(3, 6 * second), (4, 6 * second)]), kept(1));
    }
}
