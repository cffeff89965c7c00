//! What is on the screen of a desktop, read from the X server: for who must know when something was drawn.

use anyhow::ensure;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ConnectionExt as _, ImageFormat};
use x11rb::rust_connection::RustConnection;

/// Rows that are looked at: one in so many.
const EVERY_ROW: usize = 4;
/// Two neighbours that differ by more are an edge, such as letters have.
const STEP: u8 = 40;
const BYTES_A_PIXEL: usize = 4;

/// An eye on one display.
pub struct Screen {
    connection: RustConnection,
    root: u32,
    width: u16,
    height: u16,
}

impl Screen {
    /// # Errors
    /// When there is no such display, or not one of 32 bits a pixel.
    pub fn connect(display: &str) -> anyhow::Result<Self> {
        let (connection, number) = RustConnection::connect(Some(display))?;
        let screen = &connection.setup().roots[number];
        ensure!(screen.root_depth == 24, "the screen has {} bits of colour, not 24", screen.root_depth);
        let (root, width, height) = (screen.root, screen.width_in_pixels, screen.height_in_pixels);
        Ok(Self { connection, root, width, height })
    }

    /// How many edges there are: next to none on an empty screen, hundreds a line of text.
    ///
    /// # Errors
    /// When the X server is gone.
    pub fn edges(&self) -> anyhow::Result<usize> {
        let (width, height) = (self.width, self.height);
        let image =
            self.connection.get_image(ImageFormat::Z_PIXMAP, self.root, 0, 0, width, height, u32::MAX)?;
        let data = image.reply()?.data;
        let row = usize::from(width) * BYTES_A_PIXEL;
        let rows = data.chunks_exact(row).step_by(EVERY_ROW);
        Ok(rows.map(edges_of).sum())
    }
}

/// By the middle one of three colours, which weighs most to the eye.
fn edges_of(row: &[u8]) -> usize {
    let green: Vec<u8> = row.iter().skip(1).step_by(BYTES_A_PIXEL).copied().collect();
    green.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) > STEP).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_edges_and_a_gradient_has_none() {
        let row = |shade: fn(u8) -> u8| (0..100).flat_map(|x| [0, shade(x), 0, 0]).collect::<Vec<u8>>();
        assert_eq!(edges_of(&row(|x| x)), 0);
        assert_eq!(edges_of(&row(|x| if x % 10 < 5 { 0 } else { 255 })), 19);
    }
}
