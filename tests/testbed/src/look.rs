//! What a page looks like, coarsely enough that another font or another smoothing of edges is no difference, and a part
//! that moved, came or went is one.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::process::output;

const WIDTH: usize = 64;
const HEIGHT: usize = 48;
/// Of 255, on average.
const MOST_MEAN: f64 = 5.0;
/// A cell that differs by more than this has changed.
const CELL: u8 = 48;
/// Of a hundred cells.
const MOST_CHANGED_PERCENT: f64 = 1.5;

/// A picture in 64 by 48 shades of grey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look(Vec<u8>);

/// How far two looks are from each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    pub mean: f64,
    pub changed_percent: f64,
}

impl Difference {
    /// Small enough to be the fonts' and not the page's.
    #[must_use]
    pub fn is_small(self) -> bool {
        self.mean <= MOST_MEAN && self.changed_percent <= MOST_CHANGED_PERCENT
    }
}

impl Look {
    /// Of a PNG of any size.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(picture: &Path) -> anyhow::Result<Self> {
        let mut convert = Command::new("convert");
        convert.arg(picture).args(["-alpha", "off", "-colorspace", "Gray", "-resize"]);
        let done = convert.arg(format!("{WIDTH}x{HEIGHT}!")).args(["-depth", "8", "gray:-"]).output()?;
        ensure!(done.status.success(), "{}: {}", picture.display(), String::from_utf8_lossy(&done.stderr));
        ensure!(done.stdout.len() == WIDTH * HEIGHT, "{} is no picture", picture.display());
        Ok(Self(done.stdout))
    }

    #[must_use]
    pub fn difference(&self, other: &Self) -> Difference {
        let apart: Vec<u8> = self.0.iter().zip(&other.0).map(|(a, b)| a.abs_diff(*b)).collect();
        let cells = (WIDTH * HEIGHT) as f64;
        let changed = apart.iter().filter(|cell| **cell > CELL).count();
        Difference {
            mean: apart.iter().map(|cell| f64::from(*cell)).sum::<f64>() / cells,
            changed_percent: changed as f64 * 100.0 / cells,
        }
    }
}

/// Writes the look of `picture` as a small PNG, to compare with later.
///
/// # Errors
/// When it cannot be made.
pub fn keep(picture: &Path, into: &Path) -> anyhow::Result<()> {
    let mut convert = Command::new("convert");
    convert.arg(picture).args(["-alpha", "off", "-colorspace", "Gray", "-resize"]);
    convert.arg(format!("{WIDTH}x{HEIGHT}!")).args(["-depth", "8", "-strip"]).arg(into);
    output(&mut convert).map(drop).with_context(|| format!("{} cannot be made", into.display()))
}

/// Writes `picture` in few enough colours to be small, for a page of the guide.
///
/// # Errors
/// When it cannot be made.
pub fn print(picture: &Path, into: &Path) -> anyhow::Result<()> {
    let mut convert = Command::new("convert");
    convert.arg(picture).args(["-alpha", "off", "+dither", "-colors", "96", "-strip"]);
    convert.args(["-define", "png:compression-level=9"]).arg(format!("PNG8:{}", into.display()));
    output(&mut convert).map(drop).with_context(|| format!("{} cannot be made", into.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(edit: impl Fn(usize, usize, u8) -> u8) -> Look {
        let shade = |x: usize, y: usize| if y.is_multiple_of(6) || x < 12 { 40 } else { 220 };
        Look(
            (0..WIDTH * HEIGHT)
                .map(|at| edit(at % WIDTH, at / WIDTH, shade(at % WIDTH, at / WIDTH)))
                .collect(),
        )
    }

    #[test]
    fn another_font_is_small_and_a_part_that_went_is_not() {
        let before = page(|_, _, shade| shade);
        assert!(before.difference(&before).is_small());
        // Every edge a little lighter.
        assert!(before.difference(&page(|_, _, shade| shade.saturating_add(4))).is_small());
        // A panel of a tenth of the page is gone.
        let gone = page(|x, y, shade| if x > 20 && (10..18).contains(&y) { 40 } else { shade });
        assert!(!before.difference(&gone).is_small());
        // All of it moved down by a line.
        let moved = page(|x, y, _| if (y + 5).is_multiple_of(6) || x < 12 { 40 } else { 220 });
        assert!(!before.difference(&moved).is_small());
        // The other theme.
        assert!(!before.difference(&page(|_, _, shade| 255 - shade)).is_small());
    }
}
