//! How a value of a package lies, as held against the same value in a framework's order.

use std::fmt;

/// Sizes of a value as frameworks have it: rows, positions (1 where it has none), channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    pub(super) positions: usize,
    pub(super) channels: usize,
}

impl Sizes {
    /// The sizes of a reference's value; `None` for shapes that are neither (rows, positions, channels) nor
    /// (rows, channels).
    pub(super) fn of(shape: &[usize]) -> Option<Self> {
        match *shape {
            [rows, positions, channels] => Some(Self {
                rows,
                positions,
                channels,
            }),
            [rows, channels] => Some(Self {
                rows,
                positions: 1,
                channels,
            }),
            _ => None,
        }
    }

    pub(super) const fn count(self) -> usize {
        self.rows * self.positions * self.channels
    }
}

/// How channels and positions lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Axes {
    /// (rows, positions, channels).
    Same,
    /// (rows, channels, 1, positions), or without the axis between.
    ChannelsFirst,
}

/// How a value lies in a package.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Arrangement {
    axes: Axes,
    /// Heads that lie interleaved: channel j · heads + head for head · width + j.
    heads: Option<usize>,
    /// What it was multiplied by: scores are scaled in either factor.
    scale: f32,
}

impl Arrangement {
    /// Every way a value of `shape` may lie, the plainest first; none when it can't be the same value. `heads` are
    /// numbers of heads the program views channels in, `terms` is how many products a score is the sum of: scores are
    /// divided by √(terms · width).
    pub(super) fn candidates(shape: &[usize], sizes: Sizes, heads: &[usize], terms: usize) -> Vec<Self> {
        let Sizes {
            rows,
            positions,
            channels,
        } = sizes;
        let axes = match *shape {
            [r, s, c] if [r, s, c] == [rows, positions, channels] => Axes::Same,
            [r, c] if positions == 1 && [r, c] == [rows, channels] => Axes::Same,
            [r, c, 1, s] | [r, c, s] if [r, s, c] == [rows, positions, channels] => Axes::ChannelsFirst,
            _ => return Vec::new(),
        };
        let plain = Self {
            axes,
            heads: None,
            scale: 1.0,
        };
        let mut all = vec![plain];
        for heads in heads.iter().filter(|heads| channels % **heads == 0) {
            #[allow(clippy::cast_precision_loss)] // a few heads' width
            let scale = ((terms * channels / heads) as f32).sqrt().recip();
            let interleaved = Self {
                heads: Some(*heads),
                ..plain
            };
            all.push(interleaved);
            all.extend([plain, interleaved].map(|form| Self { scale, ..form }));
        }
        all
    }

    /// Where element (row, position, channel) lies.
    fn place(self, sizes: Sizes, row: usize, position: usize, channel: usize) -> usize {
        let Sizes {
            positions, channels, ..
        } = sizes;
        let channel = match self.heads {
            Some(heads) => {
                let width = channels / heads;
                channel % width * heads + channel / width
            }
            None => channel,
        };
        match self.axes {
            Axes::Same => (row * positions + position) * channels + channel,
            Axes::ChannelsFirst => (row * channels + channel) * positions + position,
        }
    }

    /// The package's value in the framework's order. There are as many elements as `sizes` says.
    pub(super) fn to_reference(self, package: &[f32], sizes: Sizes) -> Vec<f32> {
        let mut ordered = vec![0.0; sizes.count()];
        self.each(sizes, |plain, place| ordered[plain] = package[place] / self.scale);
        ordered
    }

    /// The reference's value as it would lie in the package.
    pub(super) fn to_package(self, reference: &[f32], sizes: Sizes) -> Vec<f32> {
        let mut arranged = vec![0.0; sizes.count()];
        self.each(sizes, |plain, place| {
            arranged[place] = reference[plain] * self.scale;
        });
        arranged
    }

    /// Shows the index of every element on both sides.
    fn each(self, sizes: Sizes, mut show: impl FnMut(usize, usize)) {
        let mut plain = 0;
        for row in 0..sizes.rows {
            for position in 0..sizes.positions {
                for channel in 0..sizes.channels {
                    show(plain, self.place(sizes, row, position, channel));
                    plain += 1;
                }
            }
        }
    }
}

impl fmt::Display for Arrangement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.axes {
            Axes::Same => write!(f, "same")?,
            Axes::ChannelsFirst => write!(f, "channels first")?,
        }
        if let Some(heads) = self.heads {
            write!(f, ", {heads} heads interleaved")?;
        }
        if self.scale != 1.0 {
            write!(f, ", times {}", self.scale)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes {
        rows: 1,
        positions: 2,
        channels: 4,
    };

    #[test]
    fn heads_interleaved_and_channels_first_by_hand() {
        let candidates = Arrangement::candidates(&[1, 4, 1, 2], SIZES, &[2], 1);
        let names: Vec<String> = candidates.iter().map(ToString::to_string).collect();
        assert_eq!(
            names[..2],
            ["channels first", "channels first, 2 heads interleaved"]
        );
        // Channels of position 0: 10 11 | 12 13 (two heads of two), of position 1: 20 21 | 22 23.
        let reference = [10.0, 11.0, 12.0, 13.0, 20.0, 21.0, 22.0, 23.0];
        let package = candidates[1].to_package(&reference, SIZES);
        assert_eq!(package, [10.0, 20.0, 12.0, 22.0, 11.0, 21.0, 13.0, 23.0]);
        for candidate in candidates {
            let there = candidate.to_package(&reference, SIZES);
            let back = candidate.to_reference(&there, SIZES);
            for (back, wanted) in back.iter().zip(reference) {
                assert!((back - wanted).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn other_shapes_are_other_values() {
        assert!(Arrangement::candidates(&[1, 4, 2, 2], SIZES, &[], 1).is_empty());
        assert!(Arrangement::candidates(&[2, 2, 4], SIZES, &[], 1).is_empty());
        assert_eq!(Sizes::of(&[1, 2, 3, 4]), None);
    }
}
