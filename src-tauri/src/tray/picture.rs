//! The icon's pictures.

use nightjar_core::host::HostState;

/// Red, green, blue and alpha, a byte each, row by row; as wide as high.
pub(super) struct Picture {
    pub side: u32,
    pub rgba: Vec<u8>,
}

/// The icon of a state in every size that there is, the smallest first: a panel takes the one that fits its screen. Its
/// shape differs by state and not its colour alone.
///
/// # Errors
/// When a picture that is built in cannot be read.
pub(super) fn pictures(state: HostState) -> anyhow::Result<Vec<Picture>> {
    macro_rules! sizes {
        ($name:literal) => {
            [
                include_bytes!(concat!("../../../icons/tray/", $name, "-22.png")).as_slice(),
                include_bytes!(concat!("../../../icons/tray/", $name, "-32.png")),
                include_bytes!(concat!("../../../icons/tray/", $name, "-48.png")),
                include_bytes!(concat!("../../../icons/tray/", $name, "-64.png")),
            ]
        };
    }
    let files = match state {
        HostState::Earning => sizes!("earning"),
        HostState::Waiting => sizes!("waiting"),
        HostState::Yours => sizes!("yours"),
        HostState::Trouble => sizes!("trouble"),
    };
    files.into_iter().map(read).collect()
}

fn read(file: &[u8]) -> anyhow::Result<Picture> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
    let mut reader = decoder.read_info()?;
    let size = reader.output_buffer_size().unwrap_or_default();
    let mut rgba = vec![0; size];
    let frame = reader.next_frame(&mut rgba)?;
    anyhow::ensure!(
        frame.color_type == png::ColorType::Rgba && frame.width == frame.height,
        "a tray picture is no square in colours: {:?}, {} × {}",
        frame.color_type,
        frame.width,
        frame.height
    );
    rgba.truncate(frame.buffer_size());
    Ok(Picture { side: frame.width, rgba })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [HostState; 4] =
        [HostState::Earning, HostState::Waiting, HostState::Yours, HostState::Trouble];

    #[test]
    fn every_state_has_a_picture_of_its_own_in_every_size() {
        for place in 0..4 {
            let of_all: Vec<Vec<u8>> =
                ALL.iter().map(|state| pictures(*state).unwrap().swap_remove(place).rgba).collect();
            for (index, picture) in of_all.iter().enumerate() {
                assert!(!of_all[..index].contains(picture), "{:?} looks like another", ALL[index]);
            }
        }
        for state in ALL {
            let sides: Vec<u32> = pictures(state).unwrap().iter().map(|picture| picture.side).collect();
            assert_eq!(sides, [22, 32, 48, 64], "{state:?}");
        }
    }

    /// The icon has no outline that a panel could swallow: its colour stands out from a dark panel and from a light one.
    #[test]
    fn every_picture_is_seen_on_dark_and_on_light_panels() {
        let luminance = |rgb: [f64; 3]| {
            let part = |value: f64| {
                if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(rgb[0]) + 0.7152 * part(rgb[1]) + 0.0722 * part(rgb[2])
        };
        for state in ALL {
            for picture in pictures(state).unwrap() {
                let side = picture.side;
                let solid: Vec<&[u8]> = picture.rgba.chunks(4).filter(|pixel| pixel[3] == 255).collect();
                assert!(solid.len() * 20 > (side * side) as usize, "{state:?} at {side} is nearly empty");
                for pixel in solid {
                    let own = luminance([pixel[0], pixel[1], pixel[2]].map(|part| f64::from(part) / 255.0));
                    for panel in [luminance([0.1, 0.1, 0.1]), luminance([0.94, 0.94, 0.94])] {
                        let (low, high) = if own < panel { (own, panel) } else { (panel, own) };
                        let contrast = (high + 0.05) / (low + 0.05);
                        assert!(contrast >= 3.0, "{state:?} at {side}: {pixel:?} has {contrast:.1}:1");
                    }
                }
            }
        }
    }
}
