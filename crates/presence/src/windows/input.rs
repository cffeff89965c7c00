//! The one question that Windows answers about input.
#![expect(unsafe_code, reason = "calls into user32 and kernel32")]

use std::time::Duration;

use windows_sys::Win32::System::SystemInformation::GetTickCount;
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{GetLastInputInfo, LASTINPUTINFO};

/// How long ago this session saw its last input. Right for pauses of up to 49 days, at which the tick count wraps.
pub(super) fn since_last() -> std::io::Result<Duration> {
    let size = u32::try_from(size_of::<LASTINPUTINFO>()).map_err(std::io::Error::other)?;
    let mut last = LASTINPUTINFO { cbSize: size, dwTime: 0 };
    // SAFETY: `last` is of the size that it states and lives through the call, which writes to nothing else.
    if unsafe { GetLastInputInfo(&raw mut last) } == 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: takes and changes nothing.
    let now = unsafe { GetTickCount() };
    Ok(Duration::from_millis(u64::from(now.wrapping_sub(last.dwTime))))
}
